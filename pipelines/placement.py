"""Where and how exactly a model computes: device, precision, attention, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.errors import UnavailableError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
MEMORY = ("high", "low", "lowest")
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_ALIASES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Runtime:
    """Device, precision, attention and memory by name; ``auto`` becomes what suits the machine.

    The defaults: CUDA where there is one, else the CPU. fp32 on CPU and MPS; on CUDA bf16 where
    the hardware has it, else fp16. ``Runtime()`` is the best choice for this machine.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16". The CPU is fp32 only: half precision there
            is hundreds of times slower and saves no time anywhere.
        attention: "auto" or a name from :mod:`studio.pipelines.attention`.
        memory: "auto", "high", "low" or "lowest" (see :mod:`studio.pipelines.offload`); "auto" is
            settled for each model when it loads, by what it needs and what is free.

    Raises:
        UnavailableError: something asked for by name cannot run on this machine.
    """

    device: str = AUTO
    precision: str = AUTO
    attention: str = AUTO
    memory: str = AUTO

    def __post_init__(self) -> None:
        from studio.pipelines import attention

        device = _device(self.device)
        precision = _precision(self.precision, device)
        object.__setattr__(self, "device", device)
        object.__setattr__(self, "precision", precision)
        name = attention.resolve(self.attention, device, self.dtype)
        object.__setattr__(self, "attention", name)
        if self.memory not in (AUTO, *MEMORY):
            raise UnavailableError(
                f"memory = {self.memory!r}: unknown.", valid=", ".join([AUTO, *MEMORY])
            )

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's and text encoder's type. Latents stay fp32 between the calls."""
        import torch

        dtype: torch.dtype = getattr(torch, _DTYPES[self.precision])
        return dtype

    @property
    def vae_dtype(self) -> torch.dtype:
        """The decoder's type: never fp16, whose range some decoders leave (NaN, black picture)."""
        import torch

        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def batch_size(self) -> int:
        """Images that share one U-Net call by default.

        One on the CPU, where larger batches save no time: so a picture is bit for bit the same,
        alone or among others.
        """
        return 8 if self.device.startswith("cuda") else 1

    @property
    def threads(self) -> int | None:
        """Of the CPU, where it draws: their number decides in which order it adds up."""
        import torch

        return torch.get_num_threads() if self.device == "cpu" else None

    def wait(self) -> None:
        """Returns once the device has done all it was told, so that timings mean something."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


def _device(name: str) -> str:
    import torch

    if name == AUTO:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if name == "cpu":
        return name
    if name == "mps" and torch.backends.mps.is_available():
        return name
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (index or "0").isdecimal() and int(index or 0) < count:
        return f"cuda:{int(index or 0)}"
    valid = ["auto", "cpu", *(f"cuda:{i}" for i in range(count))]
    if torch.backends.mps.is_available():
        valid.append("mps")
    raise UnavailableError(
        f"device = {name!r}: torch finds no such device here.", valid=", ".join(valid)
    )


def _precision(name: str, device: str) -> str:
    import torch

    name = _ALIASES.get(name, name)
    on_gpu = device.startswith("cuda")
    if name == AUTO:
        if not on_gpu:
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name not in _DTYPES:
        raise UnavailableError(f"precision = {name!r}: unknown.", valid=", ".join([AUTO, *_DTYPES]))
    if device == "cpu" and name != "fp32":
        raise UnavailableError(
            f"precision = {name!r}: half precision on the CPU is hundreds of times slower.",
            valid="auto, fp32",
        )
    return name

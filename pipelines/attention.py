"""Attention backends by name. The one module that may import ``xformers``.

All of them compute softmax(Q K^T / sqrt(d)) V (https://arxiv.org/abs/1706.03762); they differ in
speed, memory and rounding only.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.errors import UnavailableError

if TYPE_CHECKING:
    import torch

AUTO = "auto"


@dataclass(frozen=True)
class Backend:
    """One way to compute attention.

    Args:
        name: what users type.
        description: one line on what it is good for.
        processor: makes the diffusers attention processor.
        probe: raises where it cannot run on a device in a precision; None runs everywhere.
        aliases: other names that people use for it.
    """

    name: str
    description: str
    processor: Callable[[], Any]
    probe: Callable[[str, torch.dtype], None] | None = None
    aliases: tuple[str, ...] = ()


class _OnKernel:
    """torch's scaled dot product attention held to one of its kernels."""

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self._inner = _processor("AttnProcessor2_0")()

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with _only(self._kernel):
            attended: torch.Tensor = self._inner(*args, **kwargs)
            return attended


def _only(kernel: str) -> Any:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(getattr(SDPBackend, kernel))


def _processor(name: str, *args: Any) -> Callable[[], Any]:
    def make() -> Any:
        from diffusers.models import attention_processor

        return getattr(attention_processor, name)(*args)

    return make


def _kernel(name: str, kernel: str, description: str, *aliases: str) -> Backend:
    def probe(device: str, dtype: torch.dtype) -> None:
        import warnings

        import torch

        query = torch.zeros(1, 2, 16, 32, device=device, dtype=dtype)
        with warnings.catch_warnings(), _only(kernel):
            warnings.simplefilter("ignore")  # torch warns why each kernel is passed over
            torch.nn.functional.scaled_dot_product_attention(query, query, query)

    return Backend(name, description, lambda: _OnKernel(kernel), probe, aliases)


def _probe_xformers(device: str, dtype: torch.dtype) -> None:
    import torch
    import xformers.ops  # type: ignore[import-not-found, unused-ignore]

    query = torch.zeros(1, 16, 2, 32, device=device, dtype=dtype)
    xformers.ops.memory_efficient_attention(query, query, query)


BACKENDS = (
    Backend(
        "sdpa",
        "torch's scaled dot product attention, which picks its own kernel",
        _processor("AttnProcessor2_0"),
        aliases=("native",),
    ),
    Backend(
        "xformers",
        "xformers' memory-efficient attention, CUDA only",
        _processor("XFormersAttnProcessor"),
        _probe_xformers,
    ),
    Backend(
        "sliced",
        "one head of one image at a time: least memory, slow",
        _processor("SlicedAttnProcessor", 1),
    ),
    Backend(
        "eager",
        "the formula in plain tensor operations",
        _processor("AttnProcessor"),
        aliases=("vanilla",),
    ),
    _kernel("flash", "FLASH_ATTENTION", "torch's FlashAttention kernel", "_native_flash"),
    _kernel(
        "efficient", "EFFICIENT_ATTENTION", "torch's memory-efficient kernel", "_native_efficient"
    ),
    _kernel("cudnn", "CUDNN_ATTENTION", "cuDNN's fused kernel", "_native_cudnn"),
    _kernel("math", "MATH", "torch's reference kernel", "_native_math"),
)


def resolve(name: str, device: str, dtype: torch.dtype) -> str:
    """The canonical name of a backend that runs on ``device`` in ``dtype``.

    ``auto`` is ``sdpa``: it picks the fastest of torch's kernels for each shape.

    Raises:
        UnavailableError: unknown name, or it cannot run here; says why and what can.
    """
    if name == AUTO:
        return "sdpa"
    backend = _named(name)
    reason = _why_not(backend, device, dtype)
    if reason:
        raise UnavailableError(
            f"attention = {name!r} cannot run on {device} in {_short(dtype)}: {reason}.",
            valid=", ".join(available(device, dtype)),
        )
    return backend.name


def available(device: str, dtype: torch.dtype) -> tuple[str, ...]:
    """Names of the backends that run on ``device`` in ``dtype``, ``auto`` first."""
    return (AUTO, *(b.name for b in BACKENDS if not _why_not(b, device, dtype)))


def apply(name: str, unet: Any, vae: Any) -> None:
    """Makes the U-Net compute attention by the backend ``name``.

    The decoder's single wide head fits no fused kernel; it follows ``sliced`` and ``eager`` only.
    """
    unet.set_attn_processor(processor(name))
    if hasattr(vae, "set_attn_processor"):  # AutoencoderDC has no attention to set
        vae.set_attn_processor(_named(name if name in ("sliced", "eager") else "sdpa").processor())


def processor(name: str) -> Any:
    """A diffusers attention processor of the backend ``name``, as :func:`resolve` gave it."""
    return _named(name).processor()


def _named(name: str) -> Backend:
    by_name = {n: backend for backend in BACKENDS for n in (backend.name, *backend.aliases)}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnavailableError(
            f"attention = {name!r}: unknown.{hint}",
            valid=", ".join([AUTO, *(b.name for b in BACKENDS)]),
        )
    return by_name[name]


def _why_not(backend: Backend, device: str, dtype: torch.dtype) -> str:
    """Empty where the backend runs; found by trying it, which no table of rules can get wrong."""
    if backend.probe is None:
        return ""
    try:
        backend.probe(device, dtype)
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed"
    except Exception as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return ""


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

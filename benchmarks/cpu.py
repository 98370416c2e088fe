"""U-Net step and VAE decode on the CPU: ours beside what else runs the same weights.

    python -m benchmarks.cpu --model mini --rounds 20 [--skip compile openvino]

The candidates take turns in one process, so that what slows one slows the others: diffusers eager,
diffusers with channels last, torch.compile with frozen weights, OpenVINO, and ours. A step is the
pair of guidance. What counts is the median of each round's ratio to eager, in CPU time, which a
busy machine disturbs less; beside it stand the least seconds by the clock and the largest
difference to eager. Making a candidate (compiling, converting) is timed apart.
"""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command_line import command_line
from studio.pipelines.acceleration import accelerated
from studio.pipelines.components import Components, load
from studio.pipelines.placement import Runtime

Run = Callable[[], Tensor]


class Step(nn.Module):
    """A U-Net with plain tensors in and out, for tracing."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Prediction [N, C, h, w]."""
        output: Tensor = self.unet(x, t, encoder_hidden_states=text, return_dict=False)[0]
        return output


class Decode(nn.Module):
    """The decoder of a VAE, likewise."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: Tensor) -> Tensor:
        """Pictures [N, 3, H, W]."""
        output: Tensor = self.vae.decode(z, return_dict=False)[0]
        return output


@dataclass
class Candidate:
    """One way to run a module.

    Args:
        name: as printed.
        run: one evaluation.
        made_s: seconds that it took to make it.
        wall_s: seconds of each round by the clock.
        cpu_s: seconds of each round that all threads computed.
    """

    name: str
    run: Run
    made_s: float
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def eager(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """diffusers as it comes."""
    return lambda: module(*inputs)


def channels_last(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """diffusers with weights and latents in channels-last layout."""
    placed: Any = copy.deepcopy(module)
    placed = placed.to(memory_format=torch.channels_last)
    first = inputs[0].contiguous(memory_format=torch.channels_last)
    return lambda: placed(first, *inputs[1:])


def compiled(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """torch.compile with frozen weights."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    fast: Any = torch.compile(copy.deepcopy(module), dynamic=False)
    return lambda: fast(*inputs)


def openvino(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """OpenVINO, static shapes, fp32."""
    import openvino as ov  # type: ignore[import-untyped, import-not-found, unused-ignore]

    converted = ov.convert_model(module, example_input=tuple(inputs))
    for port, tensor in zip(converted.inputs, inputs, strict=True):
        port.get_node().set_partial_shape(ov.PartialShape(list(tensor.shape)))
    converted.validate_nodes_and_infer_types()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = ov.Core().compile_model(converted, "CPU", options).create_infer_request()
    arrays = [tensor.numpy() for tensor in inputs]

    def run() -> Tensor:
        request.infer(arrays)
        return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return run


def ours(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    """What the studio does; put on once, as for a walk."""
    put_on = ExitStack()
    put_on.enter_context(accelerated(module))

    def run(_: ExitStack = put_on) -> Tensor:  # for as long as the candidate lives
        output: Tensor = module(*inputs)
        return output

    return run


KINDS = {
    "eager": eager,
    "channels_last": channels_last,
    "compile": compiled,
    "openvino": openvino,
    "ours": ours,
}


def candidates(
    module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str]
) -> Iterator[Candidate]:
    """Makes them, each on weights of its own, and runs them once."""
    for name in names:
        began = time.perf_counter()
        run = KINDS[name](copy.deepcopy(module), inputs)
        run()
        yield Candidate(name, run, time.perf_counter() - began)


def measure(title: str, module: nn.Module, inputs: Sequence[Tensor], options: Any) -> None:
    """Prints a line a candidate."""
    names = [name for name in KINDS if name not in options.skip]
    made = list(candidates(module, inputs, names))
    expected = made[0].run()
    for turn in range(options.rounds):
        for candidate in made if turn % 2 else reversed(made):
            began, busy = time.perf_counter(), time.process_time()
            candidate.run()
            candidate.wall_s.append(time.perf_counter() - began)
            candidate.cpu_s.append(time.process_time() - busy)
    print(f"{title}: {tuple(inputs[0].shape)}, {options.rounds} rounds")
    print(f"{'':16}{'least ms':>9}{'CPU ms':>11}{'x eager':>9}{'differs':>10}{'made in s':>11}")
    for candidate in made:
        ratio = statistics.median(
            a / b for a, b in zip(made[0].cpu_s, candidate.cpu_s, strict=True)
        )
        error = float((candidate.run() - expected).abs().max())
        least, usual = 1000 * min(candidate.wall_s), 1000 * statistics.median(candidate.cpu_s)
        print(
            f"{candidate.name:16}{least:9.1f}{usual:11.1f}{ratio:9.2f}{error:10.1e}"
            f"{candidate.made_s:11.1f}",
            flush=True,
        )


def modules(parts: Components, edge: int) -> Iterator[tuple[str, nn.Module, list[Tensor]]]:
    """What is measured: (title, module, inputs) for pictures of ``edge`` pixels."""
    generator = torch.Generator().manual_seed(0)
    channels, height, width = parts.latent_shape(edge, edge)
    x = torch.randn(2, channels, height, width, generator=generator)
    features = parts.unet.config.cross_attention_dim
    text = torch.randn(2, 77, features, generator=generator)
    yield "U-Net step", Step(parts.unet), [x, torch.tensor(500), text]
    yield "VAE decode", Decode(parts.vae), [x[:1].clone()]


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracers warn about every shape that they take for fixed
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = command_line("cpu", __doc__, model=True)
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds (20)")
    parser.add_argument("--skip", nargs="*", default=[], choices=[*KINDS][1:], help="leave out")
    options = parser.parse_args(arguments)
    parts = load(options.model, Runtime(device="cpu"))
    print(f"{parts.name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with _quietly():
        for title, module, inputs in modules(parts, parts.card.defaults.width):
            measure(title, module, inputs, options)


if __name__ == "__main__":
    main()

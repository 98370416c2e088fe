"""An artist that paints plain squares at once, or step by step as a test lets it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from studio.errors import Cancelled, RunError
from studio.inputs import Inputs
from studio.jobs.service import Service
from studio.metadata import Recipe, Versions, pixel_sha256
from studio.picture import Picture
from studio.pipelines.request import Defaults, Request

DEFAULTS = Defaults("Euler", "Automatic", 3, 4.0, 64, 64)
FAILS = "a picture that fails"
BREAKS = "a picture that breaks the program"


@dataclass(frozen=True)
class Step:
    """Stands for :class:`studio.pipelines.stages.Step`, whose module loads torch."""

    index: int
    total: int
    requests: tuple[Request, ...]
    preview: Callable[[], list[Image.Image]]


class Gate:
    """Lets the drawing thread go on step by step; open from the start unless told otherwise."""

    def __init__(self, *, shut: bool = False) -> None:
        self._steps = threading.Semaphore(0)
        self._open = threading.Event()
        self.at_step = threading.Semaphore(0)
        if not shut:
            self.open()

    def open(self) -> None:
        """Nothing is held back any more."""
        self._open.set()
        self._steps.release()

    def let(self, steps: int = 1) -> None:
        """Lets so many more steps pass."""
        self._steps.release(steps)

    def pass_through(self) -> None:
        """Called by the artist before each step."""
        self.at_step.release()
        if not self._open.is_set():
            self._steps.acquire()
            if self._open.is_set():
                self._steps.release()


class Artist:
    """Stands for :class:`studio.facade.Studio`; each picture is one colour that tells its seed."""

    def __init__(self, model: str, gate: Gate, seen: list[str], inputs: Inputs | None) -> None:
        self._model, self._gate, self._seen = model, gate, seen
        self._inputs = inputs or Inputs()

    def load(self) -> None:
        """Notes that the weights were loaded."""
        self._seen.append(f"load {self._model}")

    def resolve(self, prompt: Request, /) -> Request:
        """As the real one does."""
        if prompt.init_image:
            self._inputs.get(prompt.init_image)
        return prompt.resolve(DEFAULTS)

    def generate(
        self,
        prompt: Request,
        /,
        *,
        on_step: Callable[[Any], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Picture]:
        """Paints."""
        self.load()
        for single in prompt.singles():
            total = single.steps or 1
            for index in range(1, total + 1):
                self._gate.pass_through()
                if cancel and cancel():
                    raise Cancelled("Stopped.")
                if single.prompt == FAILS:
                    raise RunError("The brush broke.", valid="another brush")
                if single.prompt == BREAKS:
                    raise ZeroDivisionError
                if on_step:
                    on_step(Step(index, total, (single,), lambda: [Image.new("RGB", (64, 64))]))
            self._seen.append(f"draw {single.prompt} {single.seed}")
            yield painted(single)


def painted(request: Request) -> Picture:
    """The picture that the artist paints for a resolved request of one picture."""
    size = request.width or 64, request.height or 64
    image = Image.new("RGB", size, ((request.seed or 0) % 256, 90, 40))
    recipe = Recipe(
        request=request,
        model=request.model,
        weights_sha256="0" * 64,
        versions=Versions.current(),
        device="cpu",
        precision="fp32",
        attention="sdpa",
        pixel_sha256=pixel_sha256(image),
    )
    return Picture(image, request, recipe)


def stub_service(
    folder: Path, gate: Gate | None = None, *, seen: list[str] | None = None, queue_size: int = 100
) -> Service:
    """A service whose pictures are painted, not drawn."""
    gate, notes = gate or Gate(), seen if seen is not None else []
    inputs = Inputs(folder / "inputs")
    return Service(
        folder,
        queue_size=queue_size,
        artist=lambda model: Artist(model, gate, notes, inputs),
    )

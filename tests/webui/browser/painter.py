"""Draws in place of a model: at once, or step by step as a test lets it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from studio.errors import Cancelled
from studio.facade import Studio
from studio.inputs import Inputs
from studio.metadata import Recipe, Versions, pixel_sha256
from studio.picture import Picture
from studio.pipelines.request import Request

_VERSIONS = Versions(latent_studio="0", python="3", torch="2", diffusers="0", transformers="5")


class Gate:
    """Lets steps pass: all of them, or as many as a test allows."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._allowed: float = float("inf")

    def shut(self) -> None:
        """No further step passes."""
        with self._condition:
            self._allowed = 0

    def let(self, steps: float) -> None:
        """So many more steps pass."""
        with self._condition:
            self._allowed += steps
            self._condition.notify_all()

    def open(self) -> None:
        """All steps pass."""
        self.let(float("inf"))

    def wait(self, cancel: Callable[[], bool]) -> None:
        """Until one step may pass.

        Raises:
            Cancelled: ``cancel`` answered yes meanwhile.
        """
        with self._condition:
            while self._allowed < 1:
                if cancel():
                    raise Cancelled("Cancelled between two steps.")
                self._condition.wait(0.02)
            self._allowed -= 1


class Painter:
    """Stands in for :class:`studio.facade.Studio` in a service.

    Args:
        model: name of a card.
        gate: what its steps wait at.
        inputs: where the pictures of requests are kept.
    """

    def __init__(self, model: str, gate: Gate, inputs: Inputs) -> None:
        self._studio = Studio(model, inputs=inputs)
        self._gate = gate
        self.resolve: Callable[[Request], Request] = self._studio.resolve

    def load(self) -> object:
        return None

    def generate(
        self,
        prompt: Request,
        /,
        *,
        on_step: Callable[[Any], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Picture]:
        for single in prompt.singles():
            image, steps = _scene(single), single.steps or 1
            for step in range(1, steps + 1):
                self._gate.wait(cancel or (lambda: False))
                if on_step is not None:
                    blur = ImageFilter.GaussianBlur(image.width / 8 * (1 - step / steps))
                    preview = image.filter(blur)
                    on_step(
                        SimpleNamespace(
                            requests=[single],
                            index=step,
                            total=steps,
                            preview=lambda p=preview: [p],
                        )
                    )
            yield Picture(image, single, _recipe(single, image))


def _recipe(request: Request, image: Image.Image) -> Recipe:
    return Recipe(
        request=request,
        model=request.model,
        weights_sha256="0" * 64,
        versions=_VERSIONS,
        device="cpu",
        precision="fp32",
        attention="sdpa",
        pixel_sha256=pixel_sha256(image),
    )


def _scene(request: Request) -> Image.Image:
    """A hill under a sky, in colours of the prompt and the seed."""
    width, height = request.width or 64, request.height or 64
    digest = hashlib.sha256(f"{request.prompt} {request.seed}".encode()).digest()
    sky, ground, sun = (tuple(90 + byte // 2 for byte in digest[i : i + 3]) for i in (0, 3, 6))
    image = Image.new("RGB", (width, height), sky)
    pen = ImageDraw.Draw(image)
    x, r = digest[9] * width // 256, width // 8
    pen.ellipse((x - r, height // 4 - r, x + r, height // 4 + r), fill=sun)
    pen.ellipse((-width // 2, height * 5 // 8, width * 3 // 2, height * 2), fill=ground)
    return image

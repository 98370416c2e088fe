"""The Python way in: one model, and pictures from it.

>>> from studio import Studio
>>> for picture in Studio().generate("a cat", seed=1, count=4):
...     picture.save("outputs")
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from studio.errors import RequestError
from studio.inputs import PICTURES, Inputs
from studio.metadata import Recipe, Versions, pixel_sha256
from studio.picture import Picture
from studio.pipelines.adapter_files import Asked
from studio.pipelines.components import ModelCard, card, load, refined
from studio.pipelines.inputs import extended_size, natural_size
from studio.pipelines.request import Defaults, Request

if TYPE_CHECKING:
    from studio.batch.job import Result
    from studio.pipelines.components import Components
    from studio.pipelines.drawing import Result as Drawn
    from studio.pipelines.drawing import Step


class Studio:
    """One model, its weights loaded once and kept.

    Several threads may draw with one studio: they take turns, picture by picture (batch by batch).

    Args:
        model: name of a model card (see ``studio models``), a folder of weights in the diffusers
            layout, a single ``.safetensors`` file, or a hub id with its revision.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        attention: ``auto`` or the name of a backend in :mod:`studio.pipelines.attention`.
        memory: ``auto``, ``high``, ``low`` or ``lowest`` (:mod:`studio.pipelines.offload`).
        inputs: keeps the pictures that requests start from.
        allow_download: whether a model of the hub that is not here may be fetched.

    Raises:
        ModelError: there is no such model.
    """

    def __init__(
        self,
        model: str = "mini",
        *,
        device: str = "auto",
        precision: str = "auto",
        attention: str = "auto",
        memory: str = "auto",
        inputs: Inputs | None = None,
        allow_download: bool = False,
    ) -> None:
        self.card: ModelCard = card(model, allow_download=allow_download)
        self.inputs = inputs or Inputs()
        self._model = model
        self._runtime = (device, precision, attention, memory)
        self._components: Components | None = None
        self._refiners: dict[str, Components] = {}
        self._adapted: dict[Asked, Components] = {}
        self._lock = threading.RLock()

    @property
    def model(self) -> str:
        """The model as it was named."""
        return self._model

    def resolve(self, prompt: str | Request, **fields: object) -> Request:
        """The request as it will run: checked, and every open field filled. Loads no weights.

        Args:
            prompt: what to draw, or a whole request.
            fields: other fields of :class:`Request`; they replace those of a whole request.
                ``init_image``, ``mask``, ``control_image`` and ``ip_adapter_image`` may be pictures
                in memory as well as paths.

        Returns:
            A request that gives the same pictures whenever it is drawn: its seed is set, and the
            pictures that it starts from are named by the hash of their pixels.

        Raises:
            RequestError: a field cannot be used; also a request for another model.
            PictureError: a picture in memory cannot be used.
        """
        if isinstance(prompt, Request):
            fields = {**prompt.model_dump(include=prompt.model_fields_set), **fields}
        else:
            fields = {**fields, "prompt": prompt}
        fields.setdefault("model", self._model)
        for name in PICTURES:
            value = fields.get(name)
            if isinstance(value, Image.Image):
                fields[name] = self.inputs.add(value)
            elif isinstance(value, os.PathLike):
                fields[name] = os.fspath(value)
        request = Request.of(**fields)
        if request.model != self._model:
            raise RequestError(
                "model",
                request.model,
                f"this studio draws with {self._model!r}",
                valid=f"{self._model!r}, or another Studio for the other model",
            )
        request = self.inputs.resolved(request)
        sources = self.inputs.sources(request)
        image = sources.init_image or sources.control_image
        request = request.resolve(_sized(self.card.defaults, request, image))
        self.card.check(request)
        return request

    def generate(
        self,
        prompt: str | Request,
        *,
        on_step: Callable[[Step], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        batch_size: int | None = None,
        **fields: object,
    ) -> Iterator[Picture]:
        """Draws the pictures of a request, each given as soon as it is there.

        The request is checked here and now; weights load when the first picture is asked for.

        Args:
            prompt: what to draw, or a whole request.
            on_step: called after each denoising step of a batch, with its number and a way to
                preview the pictures: RGB, ``width`` x ``height`` pixels.
            cancel: asked between steps; what it answers with true ends in ``Cancelled``.
            batch_size: pictures drawn at once, at least 1; ``None`` is what suits the device.
            fields: other fields of :class:`Request`: ``seed=1, count=4, steps=20, ...``.

        Returns:
            ``count`` pictures, picture i with seed + i.

        Raises:
            RequestError: a field cannot be used.
            ModelError: the weights are missing or broken (at the first picture).
            UnavailableError: device, precision or attention is not to be had (likewise).
            Cancelled: ``cancel`` said so.
            RunError: drawing failed.
        """
        if batch_size is not None and batch_size < 1:
            raise RequestError("batch_size", batch_size, "out of range", valid="1 or more")
        request = self.resolve(prompt, **fields)
        return self._drawn(request.singles(), on_step, cancel, batch_size)

    def draw(
        self,
        requests: Sequence[Request],
        *,
        on_step: Callable[[Step], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        batch_size: int | None = None,
    ) -> Iterator[Picture]:
        """Draws one picture for each of several requests, as :meth:`generate` does.

        Args:
            requests: resolved, ``count`` 1, alike but for prompts and seeds; at least one.
            on_step: see :meth:`generate`; likewise the others and what is raised.
            cancel: see there.
            batch_size: see there.
        """
        return self._drawn(requests, on_step, cancel, batch_size)

    def batch(
        self,
        requests: Iterable[str | Request | Mapping[str, object]],
        *,
        out: str | Path,
        name: str | None = None,
    ) -> Iterator[Result]:
        """Draws many pictures into a folder; what is there already is not drawn again.

        Whatever ends it (a kill, a power loss, a full disk), the same call goes on where it was.
        See :mod:`studio.batch`.

        Args:
            requests: prompts, whole requests or their fields. An open seed follows from the other
                fields, so that the same call means the same pictures.
            out: the folder.
            name: template of the file names, such as ``{index}_{seed}_{prompt:40}``.

        Returns:
            What came of each picture, in the order in which they are finished; those that were
            there already come first. A picture that fails is one of them, not an error.

        Raises:
            RequestError: at the call: one of the requests cannot be used.
            OutputError: the folder cannot be written to, or is full.
            ModelError, UnavailableError: nothing can be drawn.
        """
        from studio.batch.of_requests import batch_of_requests

        return batch_of_requests(self, requests, Path(out), name)

    def load(self) -> Components:
        """Loads the weights unless they are there, and returns them."""
        with self._lock:
            if self._components is None:
                from studio.pipelines.placement import Runtime

                self._components = load(self._model, Runtime(*self._runtime))
            return self._components

    def _prepared(self, request: Request) -> Components:
        """The model with the files and the refiner that the request asks for."""
        asked, refiner = Asked.by(request), request.refiner
        with self._lock:
            model = self.load()
            if asked:
                if asked not in self._adapted:
                    from studio.pipelines.adapters import adapted

                    self._adapted.clear()  # the last is kept only: it may be as large as the model
                    self._adapted[asked] = adapted(model, asked)
                model = self._adapted[asked]
            if refiner is None:
                return model
            if refiner not in self._refiners:
                self._refiners[refiner] = load(refiner, model.runtime)
            return refined(model, self._refiners[refiner])

    def _drawn(
        self,
        requests: Sequence[Request],
        on_step: Callable[[Step], None] | None,
        cancel: Callable[[], bool] | None,
        batch_size: int | None,
    ) -> Iterator[Picture]:
        from studio.pipelines.drawing import draw

        sources = self.inputs.sources(requests[0])
        components = self._prepared(requests[0])
        results = draw(
            components,
            requests,
            sources,
            on_step=on_step,
            cancel=cancel,
            batch_size=batch_size,
        )
        while True:
            with self._lock:  # held while drawing, free while the caller has the picture
                result = next(results, None)
            if result is None:
                return
            yield _picture(result, components)


def _sized(defaults: Defaults, request: Request, image: Image.Image | None) -> Defaults:
    """The model's defaults, with the proportions of the picture to start from."""
    if image is None:
        return defaults
    sides = request.extend_left + request.extend_right, request.extend_top + request.extend_bottom
    if any(sides):
        width, height = extended_size(image.size, sides)
    else:
        width, height = natural_size(image.size, defaults)
    return replace(defaults, width=width, height=height)


def _picture(result: Drawn, components: Components) -> Picture:
    runtime = components.runtime
    recipe = Recipe(
        request=result.request,
        model=components.name,
        weights_sha256=components.weights_sha256,
        other_weights=_other_weights(result.request, components),
        adapters=components.adapters,
        versions=Versions.current(),
        device=runtime.device.partition(":")[0],
        precision=runtime.precision,
        attention=runtime.attention,
        threads=runtime.threads,
        pixel_sha256=pixel_sha256(result.image),
        timings=result.timings,
        recovery=result.recovery,
    )
    return Picture(image=result.image, request=result.request, recipe=recipe)


def _other_weights(request: Request, components: Components) -> dict[str, str]:
    hashes = {}
    if components.refiner is not None:
        hashes["refiner"] = components.refiner.weights_sha256
    if request.hires_scale > 1 and request.hires_upscaler not in ("latent", "lanczos"):
        hashes["hires_upscaler"] = components.other(request.hires_upscaler).weights_sha256
    for field in ("control", "ip_adapter"):
        if getattr(request, field) is not None:
            hashes[field] = components.beside[field][0]
    return hashes

"""Upscalers of pixels: ESRGAN and its kin, in whatever architecture spandrel knows, and Lanczos."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from studio.errors import Cancelled, ModelError, NotANumberError, OutOfMemoryError, RequestError
from studio.pipelines import recovery, stages
from studio.pipelines.fitting import opaque
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.stages import Step
from studio.pipelines.tiling import over_tiles, spans
from studio.pipelines.timings import Timings
from studio.pipelines.weights import check, fingerprint

if TYPE_CHECKING:
    from studio.pipelines.cards import ModelCard
    from studio.pipelines.components import Components
    from studio.pipelines.placement import Runtime

_EDGE, _OVERLAP, _SMALLEST = 256, 32, 64  # pixels of the small picture
_SUPPORT = 16  # pixels beyond an edge that Lanczos may look at
_MOST_PIXELS = 2**26  # as many as are opened again


def load(card: ModelCard, runtime: Runtime) -> dict[str, Any]:
    """The net of an upscaler: the fields of ``Components`` that such a model has.

    Raises:
        ModelError: broken or unsafe weights, or of no architecture that enlarges pictures.
    """
    nothing = {"tokenizer": None, "text_encoder": None, "unet": None, "vae": None}
    if card.family == "lanczos":
        return {**nothing, "weights_sha256": "0" * 64}
    from safetensors.torch import load_file
    from spandrel import ImageModelDescriptor, ModelLoader
    from spandrel.__helpers.canonicalize import canonicalize_state_dict

    check(card.path)
    valid = "ESRGAN, SwinIR, HAT, DAT, SPAN or another upscaler of spandrel's, as .safetensors"
    try:
        net = ModelLoader().load_from_state_dict(canonicalize_state_dict(load_file(card.path)))
    except Exception as error:  # whatever a library raises, the user sees one line
        raise ModelError(f"{card.path} holds no upscaler that is known.", valid=valid) from error
    channels = net.input_channels, net.output_channels
    if not isinstance(net, ImageModelDescriptor) or channels not in ((1, 1), (3, 3)):
        raise ModelError(
            f"{card.path} makes {channels[1]} channels of {channels[0]}: no upscaler of pictures.",
            valid=valid,
        )
    halves = {torch.bfloat16: net.supports_bfloat16, torch.float16: net.supports_half}
    dtype = runtime.dtype if halves.get(runtime.dtype, True) else torch.float32
    net.model.requires_grad_(False)
    net.eval().to(torch.device(runtime.device), dtype)
    return {
        **nothing,
        "upscaler": net,
        "weights_sha256": fingerprint(card.path.parent, [card.path]),
    }


def upscale(
    components: Components,
    requests: Sequence[Request],
    sources: Sources,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[Result]:
    """Enlarges the init image, once per request: a net draws nothing at random.

    Args:
        components: as :func:`load` gave them.
        requests: resolved, ``count`` 1, with ``upscale``.
        sources: the init image; what is transparent in it shows white.
        on_step: called after each tile.
        cancel: asked before each tile.

    Raises:
        RequestError: at the call: the result would have too many pixels.
        Cancelled, OutOfMemoryError, NotANumberError: while drawing.
    """
    assert sources.init_image is not None
    image, scale = opaque(sources.init_image), requests[0].upscale or 1
    if image.width * image.height * scale**2 > _MOST_PIXELS:
        raise RequestError(
            "upscale",
            scale,
            f"makes {image.width * scale} x {image.height * scale} pixels",
            valid=f"what makes at most {_MOST_PIXELS:,} pixels",
        )
    return (_result(components, request, image, on_step, cancel) for request in requests)


def _result(
    components: Components,
    request: Request,
    image: Image.Image,
    on_step: Callable[[Step], None] | None,
    cancel: Callable[[], bool] | None,
) -> Result:
    notes: list[str] = []
    began = time.perf_counter()
    times = request.upscale or 1
    size = image.width * times, image.height * times
    steps = count(1)

    def watch(total: int) -> None:
        if cancel is not None and cancel():
            raise Cancelled("Stopped between two tiles.")
        if on_step is not None:
            on_step(Step(min(next(steps), total), total, (request,), lambda: [image.resize(size)]))

    drawn = enlarged(components, image, size, watch, notes, wrap=request.seamless)
    timings = Timings(0.0, time.perf_counter() - began, 0.0)
    return Result(drawn, request, timings, recovery=tuple(notes))


def lanczos(image: Image.Image, size: tuple[int, int], *, wrap: bool = False) -> Image.Image:
    """RGB of (width, height), resampled by Lanczos; around the edges where it is to ``wrap``."""
    if not wrap:
        return image.resize(size, Image.Resampling.LANCZOS)
    beyond = np.pad(np.asarray(image), ((_SUPPORT,) * 2, (_SUPPORT,) * 2, (0, 0)), mode="wrap")
    box = (_SUPPORT, _SUPPORT, _SUPPORT + image.width, _SUPPORT + image.height)
    return Image.fromarray(beyond).resize(size, Image.Resampling.LANCZOS, box=box)


@torch.inference_mode()
@stages.deterministic()
def enlarged(
    components: Components,
    image: Image.Image,
    size: tuple[int, int],
    watch: Callable[[int], None],
    notes: list[str],
    *,
    wrap: bool = False,
) -> Image.Image:
    """RGB of (width, height) by the net, as often as it takes; Lanczos makes up for the rest.

    Args:
        components: with ``upscaler``, or None for Lanczos alone.
        image: RGB.
        size: of the result.
        watch: called before each tile with the number of tiles.
        notes: gets a line for each rung of recovery.
        wrap: whether the picture is seamless, and stays so.

    Raises:
        OutOfMemoryError: not even small tiles fit.
        NotANumberError: the result is not finite.
    """
    net = components.upscaler
    if net is not None:
        image = _through(net, image, watch, notes, wrap=wrap)
        while net.scale > 1 and image.width < size[0]:
            image = _through(net, image, watch, notes, wrap=wrap)
    return image if image.size == size else lanczos(image, size, wrap=wrap)


def _through(
    net: Any, image: Image.Image, watch: Callable[[int], None], notes: list[str], *, wrap: bool
) -> Image.Image:
    picture = (stages.to_tensor(image) + 1) / 2
    around = 2 * _OVERLAP if wrap else 0
    edge = _EDGE

    def run(tile: Tensor) -> Tensor:
        lengths = (length + around for length in picture.shape[-2:])
        watch(math.prod(len(spans(length, edge, _OVERLAP)) for length in lengths))
        tile = tile.to(net.device, net.dtype)
        if net.input_channels == 1:  # a net for grey pictures sees each colour as one
            return net(tile.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]
        return net(tile)  # type: ignore[no-any-return]

    while True:
        over = partial(
            over_tiles, run, picture, edge=edge, overlap=_OVERLAP, scale=net.scale, wrap=wrap
        )
        large = recovery.attempt(over)
        if large is not None:
            break
        if edge == _SMALLEST:
            raise OutOfMemoryError(
                "Memory does not suffice to enlarge a picture, even in small tiles.",
                valid="another device or upscaler",
            )
        edge //= 2
        notes.append(f"out of memory: enlarged in tiles of {edge} px")
    if not large.isfinite().all():
        raise NotANumberError(
            "The enlarged picture is not finite (NaN or infinity).", valid="precision fp32"
        )
    return stages.to_pil(large[0] * 2 - 1)

"""Draws a picture again from its own recipe and says whether it came out the same.

Where it did not, what differs between the recipe and the present is listed as the likely causes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from studio.errors import UnavailableError
from studio.facade import Studio
from studio.inputs import Inputs
from studio.metadata import Recipe, encode_picture, pixel_sha256, read_recipe
from studio.picture import Picture
from studio.picture_files import opened
from studio.pipelines.request import Request


@dataclass(frozen=True)
class Verdict:
    """What came of drawing a picture again.

    Attributes:
        path: the file that was checked.
        exact: whether every pixel is the same.
        psnr_db: peak signal-to-noise ratio in dB (``inf`` where exact), or ``None`` where the
            sizes differ.
        causes: what differs between then and now, the likeliest first; empty where exact.
        then: the recipe in the file.
        now: the recipe of the picture that was drawn again.
    """

    path: Path
    exact: bool
    psnr_db: float | None
    causes: tuple[str, ...]
    then: Recipe
    now: Recipe


def verify(
    path: str | Path,
    *,
    model: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    attention: str = "auto",
    memory: str = "auto",
    init_image: str | Path | Image.Image | None = None,
    mask: str | Path | Image.Image | None = None,
    control_image: str | Path | Image.Image | None = None,
    ip_adapter_image: str | Path | Image.Image | None = None,
) -> Verdict:
    """Draws the picture in ``path`` again and compares the pixels.

    Args:
        path: a picture that the studio saved.
        model: draw with this model instead of the recipe's (where its folder has moved, say).
        device: ``auto`` means the recipe's where it is to be had here; so for the next two.
        precision: number format of the weights.
        attention: attention backend.
        memory: how much may be held (see :class:`~studio.facade.Studio`).
        init_image: what the picture started from, where it started from one; the recipe knows
            its hash only.
        mask: the same for the mask.
        control_image: the same for the control image.
        ip_adapter_image: the same for the IP-Adapter's picture.

    Raises:
        PictureError: no picture, or none with a recipe of ours.
        RequestError: the recipe starts from a picture that was not given.
        ModelError: the weights are not there; name them by ``model``.
    """
    path = Path(path)
    then = read_recipe(path)
    with opened(path) as image:
        stored, kind = image.convert("RGB"), image.format
    inputs = Inputs()
    for picture in (init_image, mask, control_image, ip_adapter_image):
        if picture is not None:
            inputs.add(picture)
    asked = device, precision, attention
    with _threads(then.threads):
        drawn = _draw(then, model or then.request.model, asked, memory, inputs)
    redrawn = drawn.image
    if kind == "JPEG":  # the file never held the very pixels: store the new ones the same way
        redrawn = Image.open(io.BytesIO(encode_picture(redrawn, drawn.recipe, ".jpg")))
    exact = pixel_sha256(redrawn) == pixel_sha256(stored)
    return Verdict(
        path=path,
        exact=exact,
        psnr_db=psnr(stored, redrawn),
        causes=() if exact else causes(then, drawn.recipe),
        then=then,
        now=drawn.recipe,
    )


def psnr(one: Image.Image, other: Image.Image) -> float | None:
    """Peak signal-to-noise ratio of two RGB pictures in dB; ``None`` where their sizes differ."""
    if one.size != other.size:
        return None
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    error = float(np.mean(difference**2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def causes(then: Recipe, now: Recipe) -> tuple[str, ...]:
    """What may have made two drawings of one request differ, the likeliest first."""
    if then.pixel_sha256 == now.pixel_sha256:
        return ("the file was changed after it was drawn: the drawing itself is bit-exact",)
    found = []
    if then.weights_sha256 != now.weights_sha256:
        hashes = f"{then.weights_sha256[:10]} then, {now.weights_sha256[:10]} now"
        found.append(f"other weights of {now.model}: {hashes}")
    for field in sorted({*then.other_weights, *now.other_weights}):
        before, after = (r.other_weights.get(field, "none") for r in (then, now))
        if before != after:
            found.append(f"other weights of {field}: {before[:10]} then, {after[:10]} now")
    if then.adapters != now.adapters:
        files = [", ".join(f"{one.kind} {one.name} {one.sha256[:10]}" for one in recipe.adapters)
                 for recipe in (then, now)]  # fmt: skip
        found.append(f"other files beside the model: {files[0] or 'none'} then, {files[1]} now")
    for name, what in (
        ("device", "device"), ("precision", "precision"), ("attention", "attention"),
        ("threads", "number of threads"),
    ):  # fmt: skip
        before, after = getattr(then, name), getattr(now, name)
        if before != after and before is not None:
            found.append(f"other {what}: {before} then, {after} now")
    for name, before in then.versions:
        after = getattr(now.versions, name)
        if before != after:
            library = name.replace("_", "-")
            found.append(f"other version of {library}: {before} then, {after} now")
    if then.recovery != now.recovery:
        steps = [", ".join(recipe.recovery) or "none" for recipe in (then, now)]
        found.append(f"other steps of recovery: {steps[0]} then, {steps[1]} now")
    if not found:
        found.append(
            "nothing recorded differs: another kind of processor rounds differently, "
            "or the model's configuration files were changed"
        )
    return tuple(found)


def _draw(
    then: Recipe, model: str, asked: tuple[str, str, str], memory: str, inputs: Inputs
) -> Picture:
    """Draws with what was asked for, and for the rest as the recipe did, where that can be had."""
    recorded = (then.device, then.precision, then.attention)
    pairs = zip(asked, recorded, strict=True)
    wanted = [old if name == "auto" else name for name, old in pairs]
    request = then.request.model_copy(update={"model": model})
    try:
        return _drawn(request, wanted, memory, inputs)
    except UnavailableError:
        return _drawn(request, asked, memory, inputs)


def _drawn(request: Request, runtime: Sequence[str], memory: str, inputs: Inputs) -> Picture:
    device, precision, attention = runtime
    studio = Studio(
        request.model,
        device=device,
        precision=precision,
        attention=attention,
        memory=memory,
        inputs=inputs,
    )
    return next(studio.generate(request))


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """As many threads of the CPU as ``count``, where it is known."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)

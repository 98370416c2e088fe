"""A picture carries its whole recipe: as AUTOMATIC1111's text and as one exact JSON object.

PNG: text keys ``parameters`` and ``studio``. JPEG and WebP: EXIF UserComment holds the text,
ImageDescription the JSON after ``studio:``. Nothing that is read here is ever executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Self

from PIL import ExifTags, Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio import __version__
from studio.errors import OutputError, PictureError, RequestError
from studio.parameters import parameters_text
from studio.picture_files import opened
from studio.pipelines.adapter_files import Applied
from studio.pipelines.request import Request
from studio.pipelines.timings import Timings

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What pictures are written as, by the ending of the file name."""

_EXIF_PREFIX = "studio:"
_UNICODE = b"UNICODE\0"  # EXIF's mark of a UserComment in UTF-16


class Versions(BaseModel):
    """What drew the picture."""

    model_config = ConfigDict(frozen=True, strict=True)

    latent_studio: str
    python: str
    torch: str
    diffusers: str
    transformers: str

    @classmethod
    def current(cls) -> Self:
        """The versions in use, read without importing any of the libraries."""
        return cls(
            latent_studio=__version__,
            python=platform.python_version(),
            torch=version("torch"),
            diffusers=version("diffusers"),
            transformers=version("transformers"),
        )


class Recipe(BaseModel):
    """All that is needed to draw a picture again and to know that it is the same one.

    Unknown fields of a recipe are passed over, those of its request refused: only the latter
    change what is drawn.

    Args:
        request: the request as run: resolved, of one picture.
        model: name of the model.
        weights_sha256: hash of its weights, 64 hex digits.
        adapters: the LoRAs, textual inversions and the VAE that took part.
        other_weights: hashes of the refiner's, the hires upscaler's, the ControlNet's and the
            IP-Adapter's, by the request's field.
        versions: of the program and its libraries.
        device: kind of device, such as ``cpu`` or ``cuda``.
        precision: number format of the weights, such as ``fp32``.
        attention: name of the attention backend.
        threads: of the CPU, where it drew: another number adds up in another order.
        pixel_sha256: see :func:`pixel_sha256`; of the picture as drawn, before any lossy format.
        timings: seconds per stage.
        recovery: steps taken to recover on the way (out of memory, NaN), in order.
        template: the prompt before its random choices (wildcards, alternatives), where it had any.
        choices_seed: what those choices follow from.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    request: Request
    model: str
    weights_sha256: str
    versions: Versions
    device: str
    precision: str
    attention: str
    threads: int | None = Field(default=None, ge=1, le=1024)
    pixel_sha256: str
    timings: Timings | None = None
    recovery: tuple[str, ...] = ()
    adapters: tuple[Applied, ...] = ()
    other_weights: dict[str, str] = {}
    template: str | None = None
    choices_seed: int | None = None

    def parameters(self) -> str:
        """The recipe as AUTOMATIC1111's text."""
        return parameters_text(
            self.request,
            model=self.model,
            weights_sha256=self.weights_sha256,
            version=f"latent-studio {self.versions.latent_studio}",
            adapters=self.adapters,
        )


def pixel_sha256(image: Image.Image) -> str:
    """SHA-256, in hex, over the mode, the size and the raw bytes of a picture."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def encode_picture(image: Image.Image, recipe: Recipe, suffix: str = ".png") -> bytes:
    """A picture file in memory, with its recipe in it.

    Args:
        image: RGB pixels.
        recipe: how they were drawn.
        suffix: a key of :data:`FORMATS`. PNG and WebP keep every pixel, JPEG does not.

    Raises:
        OutputError: another suffix, or a recipe longer than the format can hold.
    """
    kind = FORMATS.get(suffix.lower())
    buffer = io.BytesIO()
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("parameters", recipe.parameters())
        info.add_itxt("studio", recipe.model_dump_json())
        image.save(buffer, "PNG", pnginfo=info)
    elif kind == "JPEG":
        exif = _exif(recipe)
        try:
            image.save(buffer, "JPEG", exif=exif, quality=95, subsampling=0)
        except ValueError as error:
            raise OutputError(
                f"The recipe does not fit into a JPEG file: {error}.", valid="PNG or WebP"
            ) from None
    elif kind == "WEBP":
        image.save(buffer, "WEBP", exif=_exif(recipe), lossless=True)
    else:
        raise OutputError(
            f"No picture format is known for {suffix!r}.", valid=f"one of {', '.join(FORMATS)}"
        )
    return buffer.getvalue()


def read_recipe(path: str | Path) -> Recipe:
    """The recipe of a picture that the studio saved, found without decoding its pixels.

    Raises:
        PictureError: not a picture, or one without a recipe of ours; says which and why.
    """
    with opened(path) as image:
        text = _recipe_text(image)
    if text is None:
        raise PictureError(
            f"{path} holds no recipe of this studio.",
            valid="a PNG, JPEG or WebP file as the studio saved it",
        )
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}" if where else first["msg"]
    except RequestError as error:
        reason = f"request.{error.field}: {error.reason}"
    raise PictureError(f"The recipe in {path} cannot be read: {reason}.")


def _recipe_text(image: Image.Image) -> str | None:
    if image.format == "PNG":
        text = image.info.get("studio")
        return str(text) if text is not None else None
    description = image.getexif().get(ExifTags.Base.ImageDescription)
    if isinstance(description, str) and description.startswith(_EXIF_PREFIX):
        return description.removeprefix(_EXIF_PREFIX)
    return None


def _exif(recipe: Recipe) -> Image.Exif:
    exif = Image.Exif()
    # ImageDescription is ASCII by the standard, and JSON can say everything in it.
    exif[ExifTags.Base.ImageDescription] = _EXIF_PREFIX + json.dumps(recipe.model_dump(mode="json"))
    comment = _UNICODE + recipe.parameters().encode("utf-16-be")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif

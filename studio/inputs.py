"""Pictures to start from, known by the hash of their pixels, wherever they came from."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from studio.errors import PictureError, RequestError
from studio.files import write_new
from studio.metadata import pixel_sha256
from studio.picture_files import read_picture, upright
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request

HASHED = "sha256:"
"""How the reference to a picture begins; 64 hex digits follow."""

PICTURES = ("init_image", "mask", "control_image", "ip_adapter_image")
"""The fields of a request that name a picture."""

ALPHA = "alpha"
"""The mask that is the init image's own transparency."""


class Inputs:
    """Keeps pictures by reference, for several threads.

    Args:
        folder: where every added picture is kept as a PNG file, so that it is found again after a
            restart. Without one, files are read again from where they lie, and pictures in memory
            are held there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, Path | Image.Image] = {}

    def add(self, source: str | Path | Image.Image) -> str:
        """Takes in a picture and returns its reference, ``sha256:`` and 64 hex digits.

        Args:
            source: the path of a PNG, JPEG or WebP file, or a picture in memory.

        Raises:
            PictureError: no picture that can be read; nothing is kept.
        """
        image = upright(source) if isinstance(source, Image.Image) else read_picture(source)
        reference = HASHED + pixel_sha256(image)
        with self._lock:
            if self._folder is not None:
                self._known[reference] = self._kept(reference, image)
            elif isinstance(source, Image.Image):
                self._known[reference] = image
            else:
                self._known[reference] = Path(source).absolute()
        return reference

    def get(self, reference: str, field: str = "init_image") -> Image.Image:
        """The upright RGB or RGBA picture that a reference stands for.

        Raises:
            RequestError: names ``field``; the picture is not at hand.
        """
        with self._lock:
            found = self._known.get(reference) or self._file(reference)
        try:
            image = read_picture(found) if isinstance(found, Path) else found
        except PictureError:
            image = None
        if image is None or reference != HASHED + pixel_sha256(image):
            raise RequestError(
                field, reference, "this picture is not at hand", valid="the path of the picture"
            )
        return image

    def resolved(self, request: Request) -> Request:
        """``request`` with each path of a picture replaced by the picture's reference.

        Raises:
            RequestError: a picture that cannot be read; names the field.
        """
        found: dict[str, str] = {}
        for field in PICTURES:
            name = getattr(request, field)
            if name is None or name.startswith(HASHED) or (field, name) == ("mask", ALPHA):
                continue
            try:
                found[field] = self.add(name)
            except PictureError as error:
                raise RequestError(field, name, error.what.rstrip("."), valid=error.valid) from None
        return request.model_copy(update=found) if found else request

    def sources(self, request: Request) -> Sources:
        """The pictures of a request.

        Raises:
            RequestError: one is not at hand, or the mask and the init image differ in size.
        """
        names = {field: getattr(request, field) for field in PICTURES[2:]}
        beside: dict[str, Any] = {
            field: self.get(name, field) for field, name in names.items() if name is not None
        }
        if request.init_image is None:
            return Sources(**beside)
        image = self.get(request.init_image)
        frames = image.info.get("frames")
        notices = (f"init image: the first of its {frames} frames",) if frames else ()
        if request.mask is None:
            return Sources(image, notices=notices, **beside)
        if request.mask == ALPHA:
            if image.mode != "RGBA":
                raise RequestError(
                    "mask", ALPHA, "the init image has no transparency", valid="a mask picture"
                )
            mask = image.getchannel("A").point(lambda alpha: 255 - alpha)
        else:
            mask = self.get(request.mask, "mask").convert("L")
        if mask.size != image.size:
            size = "{} x {}".format(*image.size)
            raise RequestError(
                "mask",
                "{} x {}".format(*mask.size),
                "another size than the init image",
                valid=f"a mask of {size} pixels",
            )
        return Sources(image, mask, notices, **beside)

    def _file(self, reference: str) -> Path | None:
        digits = reference.removeprefix(HASHED)
        if self._folder is None or not (len(digits) == 64 and digits.isalnum()):
            return None
        return self._folder / f"{digits}.png"

    def _kept(self, reference: str, image: Image.Image) -> Path:
        assert self._folder is not None
        path = self._folder / f"{reference.removeprefix(HASHED)}.png"
        if path.exists():
            return path
        buffer = io.BytesIO()
        frames = PngImagePlugin.PngInfo()
        for key, text in image.info.items():  # how many frames an animation had, see upright
            frames.add_text(str(key), str(text))
        image.save(buffer, "PNG", pnginfo=frames)
        return write_new(self._folder, path.stem, path.suffix, buffer.getvalue())

"""A batch's picture files: their bytes follow from the job alone.

So a resumed batch leaves the same folder as one that was never stopped, and a finished picture is
known again by what it holds.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from studio.batch.identity import job_id
from studio.batch.job import Job
from studio.errors import PictureError
from studio.metadata import Recipe, encode_picture, pixel_sha256, read_recipe
from studio.picture_files import read_pixels


def encoded(image: Image.Image, recipe: Recipe, job: Job) -> bytes:
    """The file of a job's picture: without the time that it took, which differs from run to run."""
    update: dict[str, object] = {"timings": None}
    if job.template is not None:
        update |= {"template": job.template, "choices_seed": job.choices_seed}
    recipe = recipe.model_copy(update=update)
    return encode_picture(image, recipe, Path(job.name).suffix)


def holds(path: Path, job: str) -> bool:
    """Whether a file is the whole picture of the job with this id, every pixel as drawn."""
    if path.is_symlink():  # what it points to is not in this folder
        return False
    try:
        recipe = read_recipe(path)
        if job_id(recipe.request, recipe.weights_sha256) != job:
            return False
        image = read_pixels(path)
    except PictureError:
        return False
    # JPEG never holds the very pixels; that it decodes has to do.
    return path.suffix in (".jpg", ".jpeg") or pixel_sha256(image) == recipe.pixel_sha256


def decodes(path: Path) -> bool:
    """Whether a file is a whole picture."""
    try:
        read_pixels(path)
    except PictureError:
        return False
    return True

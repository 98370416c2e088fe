"""Drawing a picture again from its own recipe."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from studio import Picture, Studio
from studio.errors import ModelError, PictureError
from studio.metadata import Recipe, encode_picture, pixel_sha256
from studio.verify import causes, psnr, verify
from tests.tiny import tiny_components


@pytest.fixture(scope="module")
def picture() -> Picture:
    studio = Studio(str(tiny_components("v_prediction", zero_snr=True)), device="cpu")
    return next(studio.generate("a cat", steps=2, seed=7))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_an_untouched_picture_is_bit_exact(picture: Picture, suffix: str, tmp_path: Path) -> None:
    verdict = verify(picture.save(tmp_path / f"cat{suffix}"))
    assert verdict.exact
    assert verdict.psnr_db == math.inf
    assert verdict.causes == ()


def test_a_file_with_changed_pixels_is_found_out(picture: Picture, tmp_path: Path) -> None:
    image = picture.image.copy()
    image.putpixel((3, 5), (1, 2, 3))
    path = tmp_path / "changed.png"
    path.write_bytes(encode_picture(image, picture.recipe))
    verdict = verify(path)
    assert not verdict.exact
    assert verdict.psnr_db is not None
    assert 20 < verdict.psnr_db < math.inf
    assert verdict.causes == (
        "the file was changed after it was drawn: the drawing itself is bit-exact",
    )


def test_other_weights_are_named_as_the_cause(picture: Picture, tmp_path: Path) -> None:
    other = tiny_components("v_prediction", tmp_path, zero_snr=True)
    weights = other / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: 0.9 * one for name, one in load_file(weights).items()}, weights)
    verdict = verify(picture.save(tmp_path), model=str(other))
    assert not verdict.exact
    assert verdict.psnr_db is not None
    (cause,) = verdict.causes
    assert cause.startswith("other weights of tiny-v_prediction")


def test_a_device_of_the_recipe_that_is_not_here_is_replaced(
    picture: Picture, tmp_path: Path
) -> None:
    recipe = picture.recipe.model_copy(update={"device": "cuda:99"})
    path = tmp_path / "cat.png"
    path.write_bytes(encode_picture(picture.image, recipe))
    assert verify(path, device="auto").now.device != "cuda:99"


def test_it_draws_with_as_many_threads_as_then(picture: Picture, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    assert picture.recipe.threads == before
    recipe = picture.recipe.model_copy(update={"threads": before + 1})
    path = tmp_path / "cat.png"
    path.write_bytes(encode_picture(picture.image, recipe))
    assert verify(path).now.threads == before + 1
    assert torch.get_num_threads() == before


def test_missing_weights_and_missing_recipes_are_told(picture: Picture, tmp_path: Path) -> None:
    request = picture.request.model_copy(update={"model": "gone"})
    path = tmp_path / "gone.png"
    path.write_bytes(
        encode_picture(picture.image, picture.recipe.model_copy(update={"request": request}))
    )
    with pytest.raises(ModelError, match="gone"):
        verify(path)
    picture.image.save(tmp_path / "plain.png")
    with pytest.raises(PictureError, match="no recipe"):
        verify(tmp_path / "plain.png")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("weights_sha256", "0" * 64, "other weights"),
        ("device", "cuda", "other device: cuda then, cpu now"),
        ("precision", "bf16", "other precision: bf16 then, fp32 now"),
        ("attention", "flash", "other attention: flash then, sdpa now"),
        ("threads", 64, "other number of threads: 64 then"),
        ("recovery", ("decoded in tiles",), "other steps of recovery: decoded in tiles then"),
        (
            "other_weights",
            {"refiner": "ab" * 32},
            "other weights of refiner: ababababab then, none now",
        ),
    ],
)
def test_each_difference_is_a_cause(field: str, value: object, says: str, picture: Picture) -> None:
    then = _otherwise(picture.recipe, **{field: value})
    (cause,) = causes(then, picture.recipe)
    assert says in cause


def test_versions_are_a_cause_and_the_processor_is_the_last_resort(picture: Picture) -> None:
    now = picture.recipe
    older = now.versions.model_copy(update={"torch": "1.0"})
    (cause,) = causes(_otherwise(now, versions=older), now)
    assert cause == f"other version of torch: 1.0 then, {now.versions.torch} now"
    (cause,) = causes(_otherwise(now), now)
    assert cause.startswith("nothing recorded differs")


def test_psnr() -> None:
    black, grey = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (51, 51, 51))
    assert psnr(black, black) == math.inf
    # 255 / 51 = 5, and 20 log10(5) = 13.979...
    assert psnr(black, grey) == pytest.approx(13.9794, abs=1e-4)
    assert psnr(black, Image.new("RGB", (8, 16))) is None


def _otherwise(recipe: Recipe, **fields: object) -> Recipe:
    """The recipe of a drawing with other pixels."""
    image = Image.new("RGB", (64, 64))
    return recipe.model_copy(update={"pixel_sha256": pixel_sha256(image), **fields})

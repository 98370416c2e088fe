from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from sd_parsers import ParserManager

from studio.errors import OutputError, PictureError
from studio.metadata import encode_picture, pixel_sha256, read_recipe
from studio.parameters import parse_parameters
from tests.studio.recipes import make_image, make_recipe

WILD = {
    "prompt": 'a (red:1.2) 🍎,\n"quoted": עברית \u202eعربي',
    "negative_prompt": "blur: 1, dog",
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_a_saved_picture_holds_its_exact_recipe(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    recipe = make_recipe(**WILD)
    path.write_bytes(encode_picture(make_image(), recipe, suffix))
    assert read_recipe(path) == recipe


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_lossless_formats_keep_every_pixel(suffix: str) -> None:
    with Image.open(io.BytesIO(encode_picture(make_image(), make_recipe(), suffix))) as image:
        assert pixel_sha256(image) == make_recipe().pixel_sha256


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_another_tool_reads_the_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_picture(make_image(), make_recipe(**WILD), suffix))
    found = ParserManager().parse(path)
    assert found is not None
    (sampler,) = found.samplers
    assert sampler.prompts[0].value == WILD["prompt"]
    assert sampler.negative_prompts[0].value == WILD["negative_prompt"]
    assert sampler.name == "Euler a"
    assert sampler.parameters["seed"] == "7"
    assert sampler.parameters["steps"] == "20"


def test_the_text_in_the_file_parses_back_to_the_request() -> None:
    recipe = make_recipe(**WILD)
    with Image.open(io.BytesIO(encode_picture(make_image(), recipe))) as image:
        assert parse_parameters(image.info["parameters"]) == recipe.request


def test_the_longest_prompts_fit_into_png_and_are_refused_for_jpeg(tmp_path: Path) -> None:
    recipe = make_recipe(prompt="\x01🍎" * 50_000, negative_prompt="\x02" * 100_000)
    path = tmp_path / "a.png"
    path.write_bytes(encode_picture(make_image(), recipe))
    assert read_recipe(path) == recipe
    with pytest.raises(OutputError, match="PNG or WebP"):
        encode_picture(make_image(), recipe, ".jpg")


def test_other_formats_are_refused() -> None:
    with pytest.raises(OutputError, match=r"'\.gif'.*\.png"):
        encode_picture(make_image(), make_recipe(), ".gif")


def test_the_pixel_hash_is_of_mode_size_and_pixels() -> None:
    image = make_image()
    other_pixel = image.copy()
    other_pixel.putpixel((3, 3), (0, 0, 0))
    others = [
        other_pixel,
        Image.frombytes("RGB", (72, 64), image.tobytes()),
        Image.frombytes("YCbCr", (64, 72), image.tobytes()),
    ]
    assert pixel_sha256(image) == pixel_sha256(image.copy())
    assert len({pixel_sha256(one) for one in [image, *others]}) == 4


def _png_with(text: str | None) -> bytes:
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_itxt("studio", text)
    buffer = io.BytesIO()
    make_image().save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


GOOD = make_recipe().model_dump_json()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no recipe of this studio"),
        ("{", "Invalid JSON"),
        ("[" * 100_000, "JSON"),
        ("{}", "request: Field required"),
        (GOOD.replace('"steps":20', '"steps":0'), "request.steps"),
        (GOOD.replace('"steps":20', '"steps":20,"magic":1'), "request.magic"),
        (GOOD.replace('"sampler":"Euler a"', '"sampler":"Eulr"'), "request.sampler"),
        (GOOD.replace('"threads":null', '"threads":0'), "threads: Input"),
    ],
)
def test_a_picture_without_a_readable_recipe_says_why(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png_with(text))
    with pytest.raises(PictureError) as refusal:
        read_recipe(path)
    assert reason in str(refusal.value)
    assert "a.png" in str(refusal.value)


def test_fields_that_a_later_version_adds_to_the_recipe_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png_with(GOOD.replace('"device"', '"mood":"good","device"')))
    assert read_recipe(path) == make_recipe()


def test_recipes_are_read_without_torch() -> None:
    code = (
        "import sys, studio.picture\n"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

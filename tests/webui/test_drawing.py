"""The doors draw for real, on a tiny random model that is named by its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webuiapi
from PIL import Image

from studio.facade import Studio
from studio.jobs.service import Service
from studio.metadata import Recipe, pixel_sha256
from tests.tiny import tiny_components
from tests.webui.serving import serving

SMALL: dict[str, Any] = {
    "prompt": "a cat",
    "seed": 3,
    "steps": 2,
    "width": 64,
    "height": 64,
    "sampler_name": "Euler",
}


@pytest.fixture(scope="module")
def model() -> str:
    return str(tiny_components("v_prediction", zero_snr=True))


@pytest.fixture(scope="module")
def api(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    service = Service(tmp_path_factory.mktemp("jobs"), device="cpu", models=[model])
    with serving(service) as port:
        yield webuiapi.WebUIApi(port=port)


def test_a_picture_equals_the_one_drawn_in_python(api: Any, model: str) -> None:
    drawn = api.txt2img(cfg_scale=4.0, batch_size=2, **SMALL)
    studio = Studio(model, device="cpu")
    fields: dict[str, Any] = {"sampler": "Euler", "guidance_scale": 4.0, "steps": 2, "seed": 3}
    expected = studio.generate("a cat", count=2, width=64, height=64, **fields)
    hashes = [pixel_sha256(picture.image) for picture in expected]
    assert [pixel_sha256(image) for image in drawn.images] == hashes
    assert api.util_get_model_names() == [Path(model).name]


def test_a_picture_is_drawn_over_and_under_a_mask(api: Any) -> None:
    source = Image.new("RGB", (64, 64), "green")
    kept = api.img2img(images=[source], denoising_strength=0.5, **SMALL)
    assert kept.image.size == (64, 64)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    part = api.img2img(
        images=[source], mask_image=mask, mask_blur=0, inpaint_full_res=False, **SMALL
    )
    assert pixel_sha256(part.image.crop((40, 0, 64, 64))) == pixel_sha256(
        source.crop((40, 0, 64, 64))
    )
    assert pixel_sha256(part.image) != pixel_sha256(source)
    request = Recipe.model_validate_json(part.image.info["studio"]).request
    assert request.mask_feather == 0

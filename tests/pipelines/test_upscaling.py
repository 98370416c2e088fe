from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from spandrel.architectures.ESRGAN import ESRGAN
from torch import Tensor

from studio.errors import Cancelled, ModelError, RequestError
from studio.pipelines import upscaling
from studio.pipelines.components import Components, card, load
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Request
from studio.pipelines.stages import Step

# Real-ESRGAN's names by those of the first ESRGAN: published files have the one or the other.
REAL = {
    r"^model\.0\.": "conv_first.",
    r"^model\.1\.sub\.1\.": "conv_body.",
    r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.": r"body.\1.rdb\2.conv\3.",
    r"^model\.3\.": "conv_up1.",
    r"^model\.6\.": "conv_up2.",
    r"^model\.8\.": "conv_hr.",
    r"^model\.10\.": "conv_last.",
}


def renamed(name: str) -> str:
    for old, new in REAL.items():
        if re.match(old, name):
            return re.sub(old, new, name)
    raise AssertionError(name)


def saved(path: Path, weights: dict[str, Tensor]) -> Path:
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)
    return path


@pytest.fixture(scope="module", params=["ESRGAN", "Real-ESRGAN"])
def esrgan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small net, under the names of published files."""
    torch.manual_seed(0)
    weights = ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict()
    weights["model.10.weight"] *= 20  # a picture full of contrast, not a grey one
    if request.param == "Real-ESRGAN":
        weights = {renamed(name): weight for name, weight in weights.items()}
    return saved(tmp_path_factory.mktemp("esrgan") / "4x_random.safetensors", weights)


@pytest.fixture
def picture() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((100, 75), Image.Resampling.BICUBIC)


def request(model: Path | str, upscale: int = 4, **fields: Any) -> Request:
    made = Request.of(prompt="", model=str(model), init_image="x", upscale=upscale, **fields)
    return made.resolve(card(str(model)).defaults)


def upscaled(model: Path | str, picture: Image.Image, upscale: int = 4, **fields: Any) -> Any:
    components = load(str(model), Runtime(device="cpu"))
    (single,) = request(model, upscale, **fields).singles()
    return next(draw(components, [single], Sources(picture)))


def whole(components: Components, picture: Image.Image) -> Tensor:
    """What spandrel makes of the whole picture, [H, W, 3] in levels."""
    x = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return (components.upscaler(x)[0].permute(1, 2, 0) * 255).round()  # type: ignore


def test_tiles_are_what_spandrel_makes_of_the_whole(
    esrgan: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscaling, "_EDGE", 64)
    result = upscaled(esrgan, picture)
    assert result.image.size == (400, 300)
    expected = whole(load(str(esrgan), Runtime(device="cpu")), picture)
    difference = torch.from_numpy(np.asarray(result.image).copy()) - expected
    assert difference.abs().max() <= 1
    assert expected.std() > 10


def test_a_net_of_another_architecture_and_scale(tmp_path: Path, picture: Image.Image) -> None:
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=2)
    path = saved(tmp_path / "compact.safetensors", net.state_dict())
    assert upscaled(path, picture, 2).image.size == (200, 150)
    assert upscaled(path, picture, 4).image.size == (400, 300)  # twice through the net
    assert upscaled(path, picture, 3).image.size == (300, 225)  # and back by Lanczos


def test_a_net_that_does_not_enlarge_repairs_the_picture(
    tmp_path: Path, picture: Image.Image
) -> None:
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=1)
    path = saved(tmp_path / "1x.safetensors", net.state_dict())
    result = upscaled(path, picture, 1)
    expected = whole(load(str(path), Runtime(device="cpu")), picture)
    assert abs(np.asarray(result.image) - expected.numpy()).max() <= 1
    assert result.image.tobytes() != picture.tobytes()


def test_lanczos_is_that_of_pillow(picture: Image.Image) -> None:
    result = upscaled("lanczos", picture, 2)
    expected = picture.resize((200, 150), Image.Resampling.LANCZOS)
    assert result.image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["esrgan", "lanczos"])
def test_a_seamless_picture_stays_seamless(kind: str, esrgan: Path, picture: Image.Image) -> None:
    model = esrgan if kind == "esrgan" else "lanczos"
    rolled = Image.fromarray(np.roll(np.asarray(picture), (20, 30), (0, 1)))
    plain = np.asarray(upscaled(model, picture, 4, seamless=True).image).astype(int)
    moved = np.asarray(upscaled(model, rolled, 4, seamless=True).image).astype(int)
    assert abs(np.roll(plain, (80, 120), (0, 1)) - moved).max() <= 1


def test_what_is_transparent_shows_white(esrgan: Path) -> None:
    clear = Image.new("RGBA", (32, 32), (9, 9, 9, 0))
    white = Image.new("RGB", (32, 32), "white")
    assert upscaled(esrgan, clear).image.tobytes() == upscaled(esrgan, white).image.tobytes()


def test_without_memory_the_tiles_get_smaller_and_the_notes_say_so(
    esrgan: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    components = load(str(esrgan), Runtime(device="cpu"))
    expected = upscaled(esrgan, picture).image
    forward = components.upscaler.model.forward

    def fault(x: Tensor) -> Tensor:
        if x.shape[-1] > 64:
            raise torch.OutOfMemoryError
        return forward(x)  # type: ignore[no-any-return]

    monkeypatch.setattr(components.upscaler.model, "forward", fault)
    (single,) = request(esrgan).singles()
    (result,) = draw(components, [single], Sources(picture))
    sizes = (128, 64)
    assert result.recovery == tuple(f"out of memory: enlarged in tiles of {n} px" for n in sizes)
    assert abs(np.asarray(result.image).astype(int) - np.asarray(expected)).max() <= 1


def test_tiles_are_reported_and_can_be_stopped_between(
    esrgan: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscaling, "_EDGE", 64)
    components = load(str(esrgan), Runtime(device="cpu"))
    steps: list[Step] = []
    (single,) = request(esrgan).singles()
    list(draw(components, [single], Sources(picture), on_step=steps.append))
    assert [(step.index, step.total) for step in steps] == [(n, 6) for n in range(1, 7)]
    assert steps[0].preview()[0].size == (400, 300)
    with pytest.raises(Cancelled):
        list(draw(components, [single], Sources(picture), cancel=lambda: True))


def test_a_pickle_is_refused_under_any_name(tmp_path: Path) -> None:
    for name in ("4x.pth", "4x.safetensors"):
        torch.save({"conv_first.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / name)
        with pytest.raises(ModelError, match=r"is a pickle.*as \.safetensors"):
            card(str(tmp_path / name))


def test_what_is_no_upscaler_is_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="holds no upscaler that is known"):
        load(str(tmp_path / "x.safetensors"), Runtime(device="cpu"))


def test_an_upscaler_enlarges_and_a_model_draws(esrgan: Path) -> None:
    with pytest.raises(RequestError, match="enlarges pictures only"):
        card(str(esrgan)).check(Request.of(prompt="a cat"))
    with pytest.raises(RequestError, match="draws pictures, it enlarges none"):
        card("mini").check(Request.of(prompt="", init_image="x", upscale=2))


def test_too_many_pixels_are_refused_before_any_is_made() -> None:
    components = load("lanczos", Runtime(device="cpu"))
    with pytest.raises(RequestError, match=r"upscale = 4: makes 12000 x 12000 pixels"):
        draw(components, [request("lanczos")], Sources(Image.new("RGB", (3000, 3000))))

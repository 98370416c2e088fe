"""Image to image, inpainting, outpainting and colouring: what each promises beside diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.errors import Cancelled, ModelError, NotANumberError, RequestError
from studio.pipelines import components, stages
from studio.pipelines.drawing import Result, Step, draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.schedulers import catalogue
from tests.pipelines.test_oracle_images import disc, photo
from tests.tiny import tiny_model, tiny_requests

# Some of diffusers' schedulers use numpy in a way that numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

EXTENDED = {"extend_left": 16, "extend_bottom": 8}
KINDS: dict[str, dict[str, Any]] = {
    "image to image": {},
    "inpainting": {"mask": "y"},
    "noise filled": {"mask": "y", "mask_fill": "noise"},
    "blur filled": {"mask": "y", "mask_fill": "blur"},
    "only masked": {"mask": "y", "only_masked": True, "only_masked_padding": 4},
    "outpainting": EXTENDED,
}


def asked(count: int = 1, **fields: Any) -> Any:
    usual = {"init_image": "x", "strength": 0.7, "mask_feather": 2}
    if not {"mask", *EXTENDED} & set(fields):
        usual.pop("mask_feather")
    return tiny_requests(count, **{**usual, **fields})


def drawn(requests: Any, *, wide: bool = False, **options: Any) -> list[Result]:
    model = tiny_model(inpainting=wide)
    mask = disc() if requests[0].mask else None
    return list(draw(model, requests, Sources(photo(), mask), **options))


def pixels(image: Image.Image | Result) -> Any:
    return np.asarray(image.image if isinstance(image, Result) else image).astype(int)


def seen_by_the_vae(*, wide: bool = False) -> Any:
    """The photo encoded and decoded, without noise."""
    vae = tiny_model(inpainting=wide).vae
    with torch.inference_mode():
        mode = vae.encode(stages.to_tensor(photo())).latent_dist.mode()
        return pixels(stages.to_pil(vae.decode(mode).sample[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_the_same_alone_and_among_others(kind: str) -> None:
    fields = {**KINDS[kind], "sampler": "Euler a", "seed": 40}
    batch = drawn(asked(3, **fields))
    alone = drawn(asked(1, **{**fields, "seed": 42}))
    assert (pixels(batch[2]) == pixels(alone[0])).all()
    assert abs(pixels(batch[0]) - pixels(batch[2])).max() > 5
    together = drawn(asked(3, **fields), batch_size=3)
    assert all(abs(pixels(a) - pixels(b)).max() <= 1 for a, b in zip(batch, together, strict=True))


@pytest.mark.parametrize("wide", [False, True], ids=["plain", "inpainting"])
def test_strength_0_is_the_picture_as_the_vae_sees_it(*, wide: bool) -> None:
    steps: list[Step] = []
    kind = KINDS["inpainting"] if wide else {}
    (result,) = drawn(asked(strength=0.0, **kind), wide=wide, on_step=steps.append)
    assert not steps
    expected = seen_by_the_vae(wide=wide)
    inside = pixels(disc()) > 0 if wide else np.full((64, 64), fill_value=True)
    assert abs(pixels(result)[inside] - expected[inside]).max() <= 1


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "Heun"])
def test_strength_1_is_text_to_image_with_the_same_noise(sampler: str) -> None:
    (result,) = drawn(asked(strength=1.0, sampler=sampler))
    (plain,) = draw(tiny_model(), tiny_requests(sampler=sampler), Sources())
    assert (pixels(result) == pixels(plain)).all()


def test_more_strength_goes_further() -> None:
    expected = seen_by_the_vae()
    far = [
        abs(pixels(drawn(asked(strength=s, steps=10))[0]) - expected).mean()
        for s in (0.1, 0.4, 0.9)
    ]
    assert far[0] < far[1] < far[2]


@pytest.mark.parametrize("row", catalogue.samplers(), ids=lambda row: row.name)
def test_every_sampler_starts_in_the_middle_and_keeps_what_is_outside(
    row: catalogue.Sampler,
) -> None:
    steps: list[Step] = []
    requests = asked(sampler=row.name, steps=6, guidance_scale=1.0, strength=0.5, mask="y")
    (result,) = drawn(requests, on_step=steps.append)
    assert [step.index for step in steps] == list(range(1, steps[0].total + 1))
    change = abs(pixels(steps[-1].preview()[0]) - pixels(photo())).max(axis=-1)
    assert change[pixels(disc()) > 0].max() > 10
    assert pixels(result).std() > 10


@pytest.mark.parametrize("wide", [False, True], ids=["plain", "inpainting"])
@pytest.mark.parametrize("feather", [0, 1, 6])
def test_pixels_beyond_the_feather_are_the_originals(feather: int, *, wide: bool) -> None:
    (result,) = drawn(asked(mask="y", mask_feather=feather), wide=wide)
    changed = (pixels(result) != pixels(photo())).any(axis=-1)
    y, x = np.mgrid[:64, :64]
    masked = np.argwhere(pixels(disc()) > 0)
    reach = np.abs(masked[:, None, None] - np.stack([y, x], axis=-1)).max(axis=-1).min(axis=0)
    assert not changed[reach > feather].any()
    assert changed[reach == 0].mean() > 0.95


def test_only_masked_keeps_the_original_at_its_full_size() -> None:
    original = photo(160)
    mask = Image.new("L", (160, 160), 0)
    mask.paste(255, (100, 30, 130, 50))
    fields: dict[str, Any] = {"mask": "y", "only_masked": True, "only_masked_padding": 8}
    (result,) = draw(tiny_model(), asked(**fields), Sources(original, mask))
    assert result.image.size == (160, 160)
    changed = (pixels(result) != pixels(original)).any(axis=-1)
    rows, columns = np.where(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (28, 51, 98, 131)


@pytest.mark.parametrize("fill", ["noise", "blur"])
def test_the_fill_matters_inside_and_not_outside(fill: str) -> None:
    plain, other = (
        pixels(drawn(asked(mask="y", mask_fill=f, mask_feather=0))[0]) for f in ("original", fill)
    )
    inside = pixels(disc()) > 0
    assert abs(plain - other)[inside].max() > 5
    assert (plain == other)[~inside].all()


def test_outpainting_keeps_the_picture_and_draws_around_it() -> None:
    (result,) = drawn(asked(width=80, height=72, **EXTENDED))
    assert result.image.size == (80, 72)
    kept = pixels(result)[: 64 - 2, 16 + 2 :]
    assert (kept == pixels(photo())[: 64 - 2, 2:]).all()
    assert pixels(result)[:, :14].std() > 5


def test_colouring_keeps_the_luma_of_every_pixel() -> None:
    (result,) = drawn(asked(keep_luminance=True, strength=1.0))
    luma = [pixels(image.convert("L")) for image in (result.image, photo())]
    assert abs(luma[0] - luma[1]).max() <= 1
    assert abs(pixels(result) - pixels(photo())).mean() > 5


def test_previews_show_the_result_to_be() -> None:
    steps: list[Step] = []
    fields: dict[str, Any] = {"mask": "y", "only_masked": True, "only_masked_padding": 4}
    (result,) = drawn(asked(**fields), on_step=steps.append)
    assert [(step.index, step.total) for step in steps] == [(1, 2), (2, 2)]
    (preview,) = steps[-1].preview()
    assert abs(pixels(preview) - pixels(result)).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_stops_every_kind(kind: str) -> None:
    steps: list[Step] = []
    with pytest.raises(Cancelled):
        drawn(asked(**KINDS[kind]), on_step=steps.append, cancel=lambda: len(steps) == 1)
    assert len(steps) == 1


@pytest.mark.parametrize("wide", [False, True], ids=["plain", "inpainting"])
def test_the_ladder_of_recovery_holds(*, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = drawn(asked(3, mask="y"), wide=wide)
    unet = tiny_model(inpainting=wide).unet
    forward = unet.forward

    def fault(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", fault)
    results = drawn(asked(3, mask="y"), wide=wide, batch_size=3)
    assert {result.recovery for result in results} == {("out of memory: batch of 3 -> 1",)}
    assert all((pixels(a) == pixels(b)).all() for a, b in zip(plain, results, strict=True))


def test_a_broken_picture_is_never_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny_model(inpainting=False).vae
    decode: Callable[..., Any] = vae.decode
    monkeypatch.setattr(vae, "decode", lambda z, **kw: (decode(z, **kw)[0] * float("nan"),))
    with pytest.raises(NotANumberError):
        drawn(asked(mask="y"))


def test_a_mask_without_white_is_refused() -> None:
    with pytest.raises(RequestError, match="black all over"):
        draw(tiny_model(), asked(mask="y"), Sources(photo(), Image.new("L", (64, 64), 90)))


@pytest.mark.parametrize("fields", [{}, {"init_image": None, "strength": None}])
def test_an_inpainting_model_needs_a_mask(fields: dict[str, Any]) -> None:
    requests = asked(**fields)
    sources = Sources(photo()) if requests[0].init_image else Sources()
    with pytest.raises(ModelError, match=r"9 channels.*mask"):
        draw(tiny_model(inpainting=True), requests, sources)


def test_what_the_reading_noticed_stands_with_the_result() -> None:
    sources = Sources(photo(), notices=("init image: the first of its 3 frames",))
    (result,) = draw(tiny_model(), asked(), sources)
    assert result.recovery == sources.notices


@pytest.mark.slow
@pytest.mark.parametrize("colour", [(150, 200, 240), (214, 190, 140), (255, 255, 255)])
def test_mini_continues_a_flat_background_without_a_seam(colour: tuple[int, int, int]) -> None:
    model = components.load("mini", Runtime(device="cpu"))
    flat = Image.new("RGB", (128, 128), colour)
    flat.paste((200, 40, 30), (48, 48, 80, 80))
    fields: dict[str, Any] = {"prompt": "a red square", "sampler": "DPM++ 2M", "steps": 20}
    sides = {"extend_left": 32, "extend_right": 32, "width": 192, "height": 128}
    requests = tiny_requests(init_image="x", strength=0.3, **fields, **sides)
    (result,) = draw(model, requests, Sources(flat))
    jumps = abs(np.diff(pixels(result), axis=1)).mean(axis=(0, 2))
    assert max(jumps[31], jumps[159]) < 2.5

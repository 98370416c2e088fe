"""The estimate before loading, and the memory mode that follows from it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from studio.errors import UnavailableError
from studio.pipelines import families, memory_plan
from studio.pipelines.cards import card
from studio.pipelines.components import Components, load
from studio.pipelines.families import named
from studio.pipelines.memory_plan import Needs
from studio.pipelines.parts import PARTS
from studio.pipelines.placement import Runtime
from studio.pipelines.single_file import empty_part
from tests.compvis import single_file
from tests.tiny import tiny_components
from tests.tiny_families import tiny_family, tiny_folder, tiny_tensors, write

CPU = Runtime("cpu")
GB = 10**9


def weighed(model: Components) -> dict[str, int]:
    parts = {part: getattr(model, part) for part in PARTS}
    return {
        part: sum(parameter.nbytes for parameter in loaded.parameters())
        for part, loaded in parts.items()
        if loaded is not None
    }


@pytest.mark.parametrize("name", ["plain", "sdxl"])
def test_the_header_tells_what_a_folder_weighs(name: str) -> None:
    folder = tiny_components() if name == "plain" else tiny_folder(name)
    needs = Needs.of(card(str(folder)), CPU, (64, 64))
    sizes = weighed(load(str(folder), CPU))
    assert needs.unet == needs.unet_stored == sizes["unet"]
    assert needs.vae == sizes["vae"]
    assert needs.towers == sizes["text_encoder"] + sizes.get("text_encoder_2", 0)


def test_the_header_tells_what_a_single_file_weighs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    family = tiny_family("sdxl")
    halves = {name: tensor.half() for name, tensor in tiny_tensors("sdxl").items()}
    path = write(halves, tmp_path / "model.safetensors")
    monkeypatch.setattr(families, "families", lambda: (family,))
    needs, sizes = Needs.of(card(str(path)), CPU, (64, 64)), weighed(load(str(path), CPU))
    assert needs.unet == 2 * needs.unet_stored == sizes["unet"]
    assert needs.vae == sizes["vae"]
    towers = sizes["text_encoder"] + sizes["text_encoder_2"]
    assert needs.towers == pytest.approx(towers, rel=0.02)  # the file has numbers of its own


def test_stable_diffusion_in_full_size(tmp_path: Path) -> None:
    """Of a file with the true header and holes in place of its numbers."""
    family = named("sd1")
    assert family
    parts = {part: empty_part(part, family) for part in (*family.towers, "unet", "vae")}
    header, end = {}, 0
    for name, tensor in single_file(family, parts).items():
        offsets = [end, end + 2 * tensor.numel()]
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": offsets}
        end = offsets[1]
    raw, path = json.dumps(header).encode(), tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)
    needs = Needs.of(card(str(path)), CPU, (512, 512))
    assert [round(size / GB, 2) for size in (needs.towers, needs.unet, needs.vae)] == [
        0.49,
        3.44,
        0.33,
    ]
    assert needs.unet_stored == needs.unet // 2
    peaks = [needs.peak(mode, "cpu") for mode in ("high", "low", "lowest")]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > 2 * peaks[2]
    assert needs.peak("lowest", "cuda") < 1.2 * GB


@pytest.mark.parametrize(
    ("of_high", "mode"), [(2.0, "high"), (1.0, "low"), (0.2, "lowest"), (0.001, "lowest")]
)
def test_auto_takes_the_first_mode_that_fits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, of_high: float, mode: str
) -> None:
    about = card(str(tiny_folder("sdxl")))
    needs = Needs(4 * GB, 8 * GB, GB, GB, GB, {"high": 2 * GB, "low": GB, "lowest": 0})
    monkeypatch.setattr(Needs, "of", lambda *_: needs)
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: of_high * needs.peak("high", "cpu"))
    with caplog.at_level(logging.WARNING):
        plan = memory_plan.plan(about, CPU)
    assert plan.mode == mode
    assert plan.planned == needs.peak(mode, "cpu")
    said = caplog.text
    assert bool(said) == (mode != "high")
    if said:
        assert f"sdxl needs 15.0 GB, {15 * of_high:.1f} GB free: using {mode}" in said
    assert ("may not suffice" in said) == (of_high < 0.5)


def test_a_mode_asked_for_by_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: 10)
    model = load(str(tiny_components()), Runtime("cpu", memory="high"))
    assert model.memory
    assert model.memory.mode == "high"
    assert model.memory.needed > model.memory.free == 10
    assert not any(parameter.is_meta for parameter in model.unet.parameters())


def test_free_memory_decides_how_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: 10)
    model = load(str(tiny_components()), CPU)
    assert model.memory
    assert model.memory.mode == "lowest"
    assert model.runtime.memory == "auto", "for the models beside it, which are measured anew"
    assert all(parameter.is_meta for parameter in model.unet.parameters())


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UnavailableError, match="memory = 'tiny'") as caught:
        Runtime("cpu", memory="tiny")
    assert caught.value.valid == "auto, high, low, lowest"


def test_the_larger_the_picture_the_more_is_needed() -> None:
    about = card(str(tiny_components()))
    small, large = (Needs.of(about, CPU, (edge, edge)) for edge in (64, 128))
    assert large.unet_work == 4 * small.unet_work
    assert large.vae_work["high"] == 4 * small.vae_work["high"]
    assert large.unet == small.unet

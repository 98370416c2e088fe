"""ControlNets: their files, what is refused, and that they leave no trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from PIL import Image
from safetensors.torch import save_file

from studio.errors import ModelError, RequestError
from studio.facade import Studio
from studio.metadata import read_recipe
from studio.pipelines import control_weights, families
from studio.pipelines.control import Control
from studio.pipelines.drawing import draw
from studio.pipelines.families import named
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Request
from studio.pipelines.weights import Header
from studio.verify import verify
from tests.compvis import control_file
from tests.tiny import tiny_components, tiny_model, tiny_requests
from tests.tiny_adapters import control_folder, control_net
from tests.tiny_families import tiny_family, tiny_folder, write

CPU = Runtime(device="cpu")


def lines(size: int = 64) -> Image.Image:
    y, x = np.mgrid[:size, :size]
    return Image.fromarray((((x + y) % 32 < 3) * 255).astype(np.uint8)).convert("RGB")


def held(**fields: Any) -> dict[str, Any]:
    folder = str(control_folder(tiny_components()))
    return {"control": folder, "control_image": "sha256:" + "0" * 64, **fields}


def drawn(sources: Sources, **fields: Any) -> bytes:
    results = draw(tiny_model(), tiny_requests(width=64, height=64, **fields), sources)
    return b"".join(result.image.tobytes() for result in results)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tuple(tiny_family(name) for name in ("sd1", "sd1-inpaint", "sdxl", "upscaler"))
    monkeypatch.setattr(families, "families", lambda: known)


def four_levels(name: str) -> Any:
    """A ControlNet whose hint has as many levels as the original's."""
    unet = tiny_family(name).unet
    hint = {"conditioning_embedding_out_channels": (4, 8, 8, 16)}
    known = control_net(tiny_folder(name)).config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = ControlNetModel(**{k: v for k, v in unet.items() if k in known}, **hint)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter)
    return net.eval()


def loads_to(path: Path, expected: Mapping[str, torch.Tensor]) -> None:
    net = control_weights.load(path, CPU)
    found = net.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_a_file_in_the_original_names_loads_to_the_same_tensors(
    prefix: str, tmp_path: Path
) -> None:
    net = four_levels("sd1")
    tensors = control_file(tiny_family("sd1"), net)
    renamed = {prefix + name.removeprefix("control_model."): t for name, t in tensors.items()}
    loads_to(write(renamed, tmp_path / "canny.safetensors"), net.state_dict())


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_a_file_in_the_names_of_diffusers_loads_to_the_same_tensors(
    name: str, tmp_path: Path
) -> None:
    net = control_net(tiny_folder(name))
    loads_to(write(net.state_dict(), tmp_path / "canny.safetensors"), net.state_dict())


@pytest.mark.parametrize(("name", "tensors"), [("sd1", 340), ("sd2", 340), ("sdxl", 844)])
def test_published_files_are_known_by_their_names_and_shapes(
    name: str, tensors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = named(name)
    assert family
    known = set(control_net(tiny_folder("sd1")).config)
    with torch.device("meta"):
        net: Any = ControlNetModel(**{k: v for k, v in family.unet.items() if k in known})
    assert len(net.state_dict()) == tensors
    both = [net.state_dict()] + ([control_file(family, net)] if name != "sdxl" else [])
    for state in both:
        shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
        header = Header(shapes, {}, {})
        monkeypatch.setattr(control_weights, "check", lambda _, header=header: header)
        path = tmp_path / "x.safetensors"
        path.touch()
        control_weights.check_goes_with(path, family.unet, family.scale, name)
        config = control_weights.config(path)
        assert all(config.get(key, net.config[key]) == net.config[key] for key in known & {*config})


def test_the_next_picture_is_as_if_there_had_been_no_control() -> None:
    before = drawn(Sources())
    controlled = drawn(Sources(control_image=lines()), **held())
    assert controlled != before
    assert drawn(Sources()) == before
    assert drawn(Sources(control_image=lines()), **held()) == controlled


def test_no_strength_and_no_steps_change_nothing() -> None:
    before = drawn(Sources())
    sources = Sources(control_image=lines())
    assert drawn(sources, **held(control_strength=0.0)) == before
    assert drawn(sources, **held(control_start=0.9)) == before  # of three steps none begins there


def test_an_interval_acts_on_the_steps_inside_it() -> None:
    control = Control(None, lines(), "crop", "none", 1.0, 0.25, 0.75)
    assert [control.acts(i, 8) for i in range(8)] == [False, False, True, True, True, True] + [
        False
    ] * 2


def test_a_control_image_of_other_proportions_is_fitted() -> None:
    control = Control(control_net(tiny_components()), lines(80), "crop", "invert", 1, 0, 1)
    hint = control.hint((64, 48))
    assert hint.shape == (1, 3, 48, 64)
    assert (hint.min().item(), hint.max().item()) == (0, 1)


@pytest.mark.parametrize(
    "fields",
    [{"hires_scale": 1.5, "hires_steps": 2}, {"seamless": True}, {"count": 2}],
    ids=lambda fields: next(iter(fields)),
)
def test_control_goes_with(fields: dict[str, Any]) -> None:
    free = drawn(Sources(), **fields)
    sources = Sources(control_image=lines())
    controlled = drawn(sources, **fields, **held())
    assert controlled != free
    assert len(controlled) == len(free)
    assert drawn(sources, **fields, **held()) == controlled


def test_a_recipe_names_the_control_and_draws_the_picture_again(tmp_path: Path) -> None:
    lines(256).crop((0, 0, 64, 256)).save(tmp_path / "lines.png")
    studio = Studio(str(tiny_components()), device="cpu")
    fields = held(control_image=tmp_path / "lines.png", control_preprocessor="invert", seed=3)
    (picture,) = studio.generate("a cat", steps=2, **fields)
    assert picture.image.size == (64, 128), "the model's area, the control image's proportions"
    path = picture.save(tmp_path)
    recipe = read_recipe(path)
    assert recipe.request.control_image is not None
    assert recipe.request.control_image.startswith("sha256:")
    assert set(recipe.other_weights) == {"control"}
    assert 'ControlNet 0: "Module: invert' in recipe.parameters()
    assert verify(path, device="cpu", control_image=tmp_path / "lines.png").exact
    with pytest.raises(RequestError, match=r"control_image = .*not at hand"):
        verify(path, device="cpu")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"control": "x"}, "control = 'x': has no effect without control_image"),
        ({"control_image": "x"}, "control_image = 'x': has no effect without control"),
        ({"control_strength": 0.5}, r"control_strength = 0\.5: has no effect without control"),
        (held(control_start=0.6, control_end=0.5), r"control_start = 0\.6: lies after control_end"),
        (held(control_strength=2.1), r"control_strength = 2\.1: out of range"),
        (held(control_preprocessor="hed"), "none, canny, scribble, invert"),
        (held(init_image="x", mask="y", only_masked=True), "follows the whole picture"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Request.of(prompt="", **fields)


def test_broken_and_foreign_files_are_refused_before_weights_load(tmp_path: Path) -> None:
    lines().save(tmp_path / "lines.png")
    studio = Studio(str(tiny_components()), device="cpu")

    def refused(path: Path, says: str) -> None:
        with pytest.raises(ModelError, match=says):
            studio.resolve("x", control=str(path), control_image=tmp_path / "lines.png")

    refused(tmp_path / "nothing.safetensors", "There is no ControlNet at .*nothing")
    pickle = tmp_path / "pickle.safetensors"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    refused(pickle, "is a pickle")
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}, lora)
    refused(lora, "holds a LoRA")
    refused(control_folder(tiny_folder("sdxl")), "another architecture .*: layers_per_block is 2")
    folder = Path(shutil.copytree(control_folder(tiny_components()), tmp_path / "union"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "global_pool_conditions": True}))
    refused(folder, "pools what it sees")
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": "ControlNetUnion"}))
    refused(folder, "is a ControlNetUnion. Valid: a ControlNetModel")
    assert studio._components is None


@pytest.mark.usefixtures("tiny")
def test_a_file_that_lacks_tensors_names_them(tmp_path: Path) -> None:
    state = control_net(tiny_folder("sd1")).state_dict()
    del state["controlnet_mid_block.bias"]
    path = write(state, tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match="lacks 1 tensors of its controlnet: controlnet_mid_block"):
        control_weights.load(path, CPU)


def test_upscalers_take_no_control() -> None:
    with pytest.raises(RequestError, match=r"control = .*lanczos enlarges pictures only"):
        Studio("lanczos").resolve("", init_image=lines(), upscale=2, **held(control_image=lines()))


def test_half_precision_on_disk_computes_as_the_u_net_does(tmp_path: Path) -> None:
    net = ControlNetModel.from_pretrained(control_folder(tiny_components())).half()
    net.save_pretrained(tmp_path, variant="fp16")
    assert control_weights.load(tmp_path, CPU).dtype == torch.float32

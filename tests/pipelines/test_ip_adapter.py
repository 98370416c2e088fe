"""IP-Adapters: their files, what is refused, and that they leave no trace."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from studio.errors import ModelError, RequestError
from studio.facade import Studio
from studio.metadata import read_recipe
from studio.pipelines import attention, ip_adapter_weights
from studio.pipelines.components import load
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Request
from studio.verify import verify
from tests.tiny import tiny_components, tiny_model, tiny_requests
from tests.tiny_adapters import adapter_file
from tests.tiny_families import tiny_folder


def photo(seed: int = 3) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def shown(**fields: Any) -> dict[str, Any]:
    file = str(adapter_file(tiny_components()))
    return {"ip_adapter": file, "ip_adapter_image": "sha256:" + "0" * 64, **fields}


def drawn(seen: Image.Image | None = None, **fields: Any) -> bytes:
    sources = Sources(ip_adapter_image=seen)
    results = draw(tiny_model(), tiny_requests(width=64, height=64, **fields), sources)
    return b"".join(result.image.tobytes() for result in results)


def test_the_next_picture_is_as_if_there_had_been_no_adapter() -> None:
    unet = tiny_model().unet
    before, processors, names = drawn(), unet.attn_processors, {*unet.state_dict()}
    prompted = drawn(photo(), **shown())
    assert prompted != before
    assert drawn() == before
    assert drawn(photo(), **shown()) == prompted
    assert drawn(photo(4), **shown()) != prompted
    assert unet.attn_processors == processors
    assert {*unet.state_dict()} == names
    assert unet.config.encoder_hid_dim_type is None


def test_an_adapter_of_no_scale_changes_nothing() -> None:
    assert drawn(photo(), **shown(ip_adapter_scale=0.0)) == drawn()


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 2, "guidance_end": 0.5},
        {"hires_scale": 1.5, "hires_steps": 2},
        {"guidance_scale": 1.0},
        {"prompt": "[a cat:a dog:2] BREAK a bird"},
    ],
    ids=["guidance ends", "hires", "no guidance", "a prompt that changes"],
)
def test_an_adapter_goes_with(fields: dict[str, Any]) -> None:
    prompted = drawn(photo(), **fields, **shown())
    assert prompted != drawn(**fields)
    assert len(prompted) == len(drawn(**fields))


def test_other_attention_backends_come_back_afterwards() -> None:
    model = load(str(tiny_components()), Runtime(device="cpu", attention="sliced"))
    before = model.unet.attn_processors
    requests = tiny_requests(width=64, height=64, **shown())
    list(draw(model, requests, Sources(ip_adapter_image=photo())))
    assert model.unet.attn_processors == before
    assert {type(each) for each in before.values()} == {type(attention.processor("sliced"))}


def test_a_recipe_names_the_adapter_and_draws_the_picture_again(tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.png")
    studio = Studio(str(tiny_components()), device="cpu")
    fields = shown(ip_adapter_image=tmp_path / "photo.png", steps=2, seed=3)
    (picture,) = studio.generate("a cat", **fields)
    path = picture.save(tmp_path)
    assert set(read_recipe(path).other_weights) == {"ip_adapter"}
    assert verify(path, device="cpu", ip_adapter_image=photo()).exact


def test_the_hash_is_of_what_the_files_hold_wherever_they_lie(tmp_path: Path) -> None:
    file = adapter_file(tiny_components())
    moved = Path(shutil.copytree(file.parent, tmp_path / "elsewhere"))
    found = [ip_adapter_weights.find(path).weights_sha256() for path in (file, moved)]
    assert found[0] == found[1]
    other = ip_adapter_weights.find(adapter_file(tiny_components(), "plus"))
    assert other.weights_sha256() != found[0]


def test_the_encoder_is_chosen_by_its_features(tmp_path: Path) -> None:
    """As the published adapters lie: ``sdxl_models`` read ``models/image_encoder`` as well."""
    file = adapter_file(tiny_components())
    (tmp_path / "sdxl_models").mkdir()
    moved = tmp_path / "sdxl_models" / file.name
    shutil.copy(file, moved)
    with pytest.raises(ModelError, match="projection_dim is 24, and none lies beside it"):
        ip_adapter_weights.find(moved)
    beside = Path(shutil.copytree(file.parent / "image_encoder", moved.parent / "image_encoder"))
    assert ip_adapter_weights.find(moved).encoder == beside
    config = beside / "config.json"
    config.write_text(config.read_text().replace('"projection_dim": 24', '"projection_dim": 99'))
    shutil.copytree(file.parent / "image_encoder", tmp_path / "models" / "image_encoder")
    assert ip_adapter_weights.find(moved).encoder == tmp_path / "models" / "image_encoder"


def test_broken_and_foreign_files_are_refused_before_weights_load(tmp_path: Path) -> None:
    studio = Studio(str(tiny_components()), device="cpu")

    def refused(path: Path, says: str) -> None:
        with pytest.raises(ModelError, match=says):
            studio.resolve("x", ip_adapter=str(path), ip_adapter_image=photo())

    refused(tmp_path / "nothing", "There is no IP-Adapter at .*nothing")
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}, lora)
    refused(lora, "holds a LoRA")
    face = tmp_path / "face.safetensors"
    keys = {"image_proj.norm.weight": torch.zeros(1), "ip_adapter.1.to_k_ip.weight": torch.zeros(1)}
    save_file(keys, face)
    refused(face, "sees faces by another network")
    refused(tmp_path, r"several adapters\. Valid: one of face.safetensors, lora.safetensors")
    refused(adapter_file(tiny_folder("sdxl")), "another architecture .*64 features, not 32")
    assert studio._components is None


def test_an_adapter_that_lacks_tensors_names_one(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapter_file(tiny_components()).parent, tmp_path / "cut"))
    state = load_file(folder / "adapter.safetensors")
    save_file({n: t for n, t in state.items() if n != "ip_adapter.3.to_v_ip.weight"},
              folder / "adapter.safetensors")  # fmt: skip
    with pytest.raises(ModelError, match=r"cannot be loaded: '3\.to_v_ip\.weight'"):
        drawn(photo(), **shown(ip_adapter=str(folder)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ip_adapter": "x"}, "ip_adapter = 'x': has no effect without ip_adapter_image"),
        ({"ip_adapter_image": "x"}, "ip_adapter_image = 'x': has no effect without ip_adapter"),
        ({"ip_adapter_scale": 0.5}, "has no effect without ip_adapter"),
        (shown(ip_adapter_scale=-1.0), "out of range"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Request.of(prompt="", **fields)

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.errors import ModelError, RequestError
from studio.pipelines.components import card, load, models
from studio.pipelines.placement import Runtime
from tests.tiny import tiny_components, tiny_model, tiny_requests

CPU = Runtime(device="cpu")
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_components("epsilon", tmp_path)


def test_a_model_loads_with_every_socket_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    components = load(str(tiny_components()), CPU)
    assert components.name == "tiny-epsilon"
    assert components.latent_shape(64, 128) == (4, 32, 16)
    assert components.scheduler_config["beta_end"] == 0.012
    assert not components.unet.training
    assert len(components.weights_sha256) == 64


def test_loading_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    load(str(tiny_components()), CPU)
    assert capfd.readouterr() == ("", "")


def test_the_fingerprint_follows_the_weights(folder: Path) -> None:
    before = load(str(folder), CPU).weights_sha256
    assert before == tiny_model().weights_sha256
    weights = load_file(folder / UNET)
    weights["conv_in.bias"] += 1
    save_file(weights, folder / UNET)
    assert load(str(folder), CPU).weights_sha256 != before


def test_half_precision_on_disk_computes_in_fp32(folder: Path) -> None:
    weights = {name: tensor.half() for name, tensor in load_file(folder / UNET).items()}
    (folder / UNET).unlink()
    save_file(weights, folder / "unet/diffusion_pytorch_model.fp16.safetensors")
    unet = load(str(folder), CPU).unet
    assert {p.dtype for p in unet.parameters()} == {torch.float32}
    assert torch.equal(unet.conv_in.weight, weights["conv_in.weight"].float())


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="minni") as caught:
        load("minni", CPU)
    assert "mini" in caught.value.valid


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model_index\.json"):
        load(str(tmp_path), CPU)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_pickle_in_any_part_is_refused_before_a_library_opens_it(
    folder: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next((folder / part).glob("*.safetensors"))
    torch.save({"weight": torch.ones(1)}, path)
    monkeypatch.setattr("studio.pipelines.diffusers_folder.model_class", None)
    with pytest.raises(ModelError, match=f"{path.name}.* is a pickle"):
        load(str(folder), CPU)


def test_missing_weights_are_refused_not_drawn_at_random(folder: Path) -> None:
    weights = load_file(folder / UNET)
    del weights["conv_in.bias"]
    save_file(weights, folder / UNET)
    with pytest.raises(ModelError, match=r"unet lacks 1 weights.*conv_in\.bias"):
        load(str(folder), CPU)


def test_weights_of_another_shape_are_refused_in_one_line(folder: Path) -> None:
    weights = load_file(folder / UNET)
    weights["conv_in.bias"] = torch.zeros(7)
    save_file(weights, folder / UNET)
    with pytest.raises(ModelError, match="unet cannot be loaded") as caught:
        load(str(folder), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "vae/config.json", "unet/config.json", "scheduler/scheduler_config.json"],
)
def test_a_missing_or_broken_config_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError):
        load(str(folder), CPU)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=Path(name).name):
        load(str(folder), CPU)


def test_a_missing_tokenizer_is_refused(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    with pytest.raises(ModelError, match="no CLIP tokenizer"):
        load(str(folder), CPU)


def test_another_family_is_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "FluxPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="FluxPipeline"):
        load(str(folder), CPU)


def test_mini_has_a_card_whose_defaults_resolve_a_request() -> None:
    mini = card("mini")
    assert mini in models()
    assert mini.licence == "Apache-2.0"
    request = tiny_requests(sampler=None, steps=None, width=None, height=None)[0]
    assert request.resolve(mini.defaults).width


def test_a_folder_gets_its_native_size_as_default() -> None:
    made = card(str(tiny_components()))
    assert (made.defaults.width, made.defaults.height, made.scale) == (64, 64, 4)


def test_a_size_between_two_latents_is_refused_with_the_nearest(folder: Path) -> None:
    config = json.loads((folder / "vae/config.json").read_text())
    config["block_out_channels"] = [8, 8, 8, 8, 8]
    (folder / "vae/config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match="width = 72") as caught:
        card(str(folder)).check(tiny_requests(width=72)[0])
    assert caught.value.valid == "64 or 80"


def test_cards_are_read_without_torch() -> None:
    code = (
        "import sys; from studio.pipelines.components import models; assert models();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_loaded_under_inference_mode_can_be_changed_outside_it() -> None:
    with torch.inference_mode():
        model = load(str(tiny_components()), Runtime(device="cpu"))
    assert not any(weight.is_inference() for weight in model.unet.parameters())

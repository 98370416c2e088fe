"""Single files against the same random model as a folder: tensor for tensor."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from studio.errors import ModelError
from studio.pipelines import families
from studio.pipelines.clip_tokenizer import clip_tokenizer
from studio.pipelines.components import Components, card, load
from studio.pipelines.parts import PARTS
from studio.pipelines.placement import Runtime
from tests.tiny_families import tiny_family, tiny_folder, tiny_tensors, write

CPU = Runtime(device="cpu")
NAMES = ["sd1", "sd1-inpaint", "sd2", "sdxl", "sdxl-refiner", "upscaler"]
UNET = "model.diffusion_model."


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tuple(tiny_family(name) for name in NAMES)
    monkeypatch.setattr(families, "families", lambda: known)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def equal(one: Components, other: Components) -> None:
    for part in PARTS:
        a, b = getattr(one, part), getattr(other, part)
        assert (a is None) == (b is None), part
        if a is not None:
            ours, theirs = a.state_dict(), b.state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), part
            assert not any(tensor.is_meta for tensor in [*a.buffers(), *a.parameters()])
            assert not a.training
    for part in ("tokenizer", "tokenizer_2"):
        a, b = getattr(one, part), getattr(other, part)
        text = "a (Photo) of 3 cats, it's ünï 🐈"
        assert (a and a(text).input_ids) == (b and b(text).input_ids)
        assert (a and a.pad_token_id) == (b and b.pad_token_id)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_file_loads_to_the_tensors_of_its_folder(name: str, tmp_path: Path) -> None:
    path = write(tiny_tensors(name), tmp_path / "any name.safetensors")
    one, folder = load(str(path), CPU), load(str(tiny_folder(name)), CPU)
    equal(one, folder)
    assert one.family == folder.family == name
    assert one.name == "any name"
    assert (one.card.scale, one.card.defaults.width) == (4, 32)
    assert one.scheduler_config == folder.scheduler_config
    assert one.low_res_scheduler_config == folder.low_res_scheduler_config
    assert (one.card.defaults.upscale == 4) == (name == "upscaler")
    for flag in ("force_zeros_for_empty_prompt", "requires_aesthetics_score"):
        assert getattr(one, flag) == getattr(folder, flag)
    texts = one.prompt_encoder.schedule("a cat", "").at(0)
    for ours, theirs in zip(texts, folder.prompt_encoder.schedule("a cat", "").at(0), strict=True):
        assert torch.equal(ours.embeds, theirs.embeds)
        assert (ours.pooled is not None) == ("sdxl" in name)


def test_half_precision_on_disk_computes_in_fp32(tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in tiny_tensors("sd1").items()}
    model = load(str(write(tensors, tmp_path / "half.safetensors")), CPU)
    for part in (model.unet, model.vae, model.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
    name = "output_blocks.0.0.in_layers.2.weight"
    halved = tensors[UNET + name].float()
    assert torch.equal(model.unet.up_blocks[0].resnets[0].conv1.weight, halved)


def flat(name: str) -> str:
    return f"model_ema.{name.removeprefix('model.').replace('.', '')}"


def _with_more(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    ema = {flat(name): tensor + 1 for name, tensor in tensors.items() if UNET in name}
    tower = "cond_stage_model.transformer.text_model."
    return (
        tensors
        | ema
        | {
            "betas": torch.ones(1000),
            "alphas_cumprod": torch.ones(1000),
            "model_ema.decay": torch.tensor(0.9),
            "model_ema.num_updates": torch.tensor(3),
            f"{tower}embeddings.position_ids": torch.arange(77)[None],
        }
    )


def _averages_only(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {flat(name) if UNET in name else name: tensor for name, tensor in tensors.items()}


def _old_text(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Files of 2022 lack a level in the names of the text encoder."""
    return {name.replace("text_model.", ""): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("change", [_with_more, _averages_only, _old_text])
def test_what_old_and_training_files_hold_besides_changes_nothing(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path
) -> None:
    path = write(change(tiny_tensors("sd1")), tmp_path / "model.safetensors")
    equal(load(str(path), CPU), load(str(tiny_folder("sd1")), CPU))


def test_the_last_layer_that_stability_left_unused_is_left_out(tmp_path: Path) -> None:
    tensors = tiny_tensors("sd2")
    resblocks = "cond_stage_model.model.transformer.resblocks."
    more = {k.replace(f"{resblocks}2", f"{resblocks}3"): v for k, v in tensors.items()}
    extra = {"cond_stage_model.model.text_projection": torch.ones(48, 48)}
    path = write(tensors | more | extra, tmp_path / "model.safetensors")
    equal(load(str(path), CPU), load(str(tiny_folder("sd2")), CPU))


@pytest.mark.parametrize(
    ("drop", "part"),
    [
        (f"{UNET}middle_block.0.in_layers.2.bias", "unet: mid_block.resnets.0.conv1.bias"),
        ("first_stage_model.", "248|vae"),
        ("conditioner.embedders.1.", "text_encoder_2"),
        (f"{UNET}label_emb.0.2", "unet: label_emb.0.2.weight"),
    ],
)
def test_missing_tensors_are_named(drop: str, part: str, tmp_path: Path) -> None:
    kept = {k: v for k, v in tiny_tensors("sdxl").items() if not k.startswith(drop)}
    path = write(kept, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=part) as caught:
        load(str(path), CPU)
    assert f"{path} ({path.stat().st_size:,} bytes) lacks" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    tensors = tiny_tensors("sd1") | {f"{UNET}out.2.bias": torch.ones(5)}
    path = write(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"unet\.conv_out\.bias has the shape \(5,\)") as caught:
        load(str(path), CPU)
    assert caught.value.valid == "(4,)"


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.png"])
def test_a_pickle_under_any_name_is_refused(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.ones(1)}}, tmp_path / name)
    with pytest.raises(ModelError, match=rf"{name} \([\d,]+ bytes\) is a pickle"):
        card(str(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"\(0 bytes\) is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"<!doctype html>", "web page"),
    ],
)
def test_what_is_no_weights_is_refused_before_loading(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=problem):
        card(str(path))


def test_a_file_that_was_cut_off_is_refused_before_loading(tmp_path: Path) -> None:
    path = write(tiny_tensors("sd1"), tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"is cut off: .* bytes are needed") as caught:
        card(str(path))
    assert "again" in caught.value.valid


def test_a_lora_is_no_model(tmp_path: Path) -> None:
    weight = {"lora_unet_mid_block_attentions_0.lora_down.weight": torch.ones(2, 2)}
    path = write(weight, tmp_path / "style.safetensors")
    with pytest.raises(ModelError, match="holds a LoRA") as caught:
        card(str(path))
    assert "sdxl" in caught.value.valid


def test_a_unet_that_takes_guidance_as_an_input_is_refused(tmp_path: Path) -> None:
    more = {f"{UNET}time_embed.cond_proj.weight": torch.ones(32, 256)}
    path = write(tiny_tensors("sd1") | more, tmp_path / "lcm.safetensors")
    with pytest.raises(ModelError, match="consistency model"):
        card(str(path))


def _spread(width: float) -> dict[str, Tensor]:
    name = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    return {name: torch.linspace(-width, width, 320)}


@pytest.mark.parametrize(
    ("extra", "metadata", "prediction", "size"),
    [
        ({}, {}, "epsilon", 32),
        (_spread(0.01), {}, "epsilon", 32),
        (_spread(0.9), {}, "v_prediction", 768),
        (_spread(0.9), {"modelspec.prediction_type": "epsilon"}, "epsilon", 32),
        ({}, {"modelspec.prediction_type": "v"}, "v_prediction", 768),
        ({"v_pred": torch.ones(1)}, {}, "v_prediction", 768),
    ],
)
def test_stable_diffusion_2_predicts_what_the_file_says_or_shows(
    extra: dict[str, Tensor], metadata: dict[str, str], prediction: str, size: int, tmp_path: Path
) -> None:
    path = write(tiny_tensors("sd2") | extra, tmp_path / "model.safetensors", **metadata)
    about = card(str(path))
    assert about.scheduler_config["prediction_type"] == prediction
    assert about.defaults.width == size


def test_zero_terminal_snr_is_read_from_kohyas_mark(tmp_path: Path) -> None:
    marks = {"v_pred": torch.ones(1), "ztsnr": torch.ones(1)}
    path = write(tiny_tensors("sdxl") | marks, tmp_path / "model.safetensors")
    config = card(str(path)).scheduler_config
    assert config["prediction_type"] == "v_prediction"
    assert config["rescale_betas_zero_snr"]
    assert config["timestep_spacing"] == "trailing"


def test_clips_vocabulary_is_the_published_one() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.pad_token_id == 49407
    assert clip_tokenizer("!").pad_token_id == 0


def test_clips_vocabulary_reads_as_open_clip_does() -> None:
    import open_clip  # type: ignore[import-untyped]

    theirs, ours = open_clip.SimpleTokenizer(), clip_tokenizer()
    for text in ("a photo of a cat", "Ünïcode 猫 🐈 naïve", "1234 it's we'll -- !?", "x" * 50):
        assert ours(text, add_special_tokens=False).input_ids == theirs.encode(text)

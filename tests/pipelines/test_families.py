"""The full-size architectures, on the meta device: names and shapes without the gigabytes."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from diffusers.loaders.single_file_utils import infer_diffusers_model_type
from torch import Tensor

from studio.pipelines.checkpoint_names import PREFIXES, named_shapes, renamed
from studio.pipelines.families import families, named, recognise, what_it_is
from studio.pipelines.single_file import empty_part
from tests.compvis import single_file

NAMES = [family.name for family in families()]
UNET = "model.diffusion_model."

# Tensors in the published files, EMA copies and buffers left out; parameters in millions.
COUNTS = {
    "sd1": {"unet": (686, 859.52), "vae": (248, 83.65), "text_encoder": (196, 123.06)},
    "sd2": {"unet": (686, 865.91), "vae": (248, 83.65), "text_encoder": (372, 340.39)},
    "sdxl": {"unet": (1680, 2567.46), "vae": (248, 83.65), "text_encoder_2": (517, 694.66)},
    "sdxl-refiner": {"unet": (1220, 2259.53), "text_encoder_2": (517, 694.66)},
    "upscaler": {"unet": (687, 473.40)},
}
# Written down from the published files.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "sd1": {
        f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{UNET}input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        f"{UNET}output_blocks.11.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        f"{UNET}output_blocks.8.2.conv.weight": (640, 640, 3, 3),
        "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
        "first_stage_model.decoder.up.1.block.0.nin_shortcut.weight": (256, 512, 1, 1),
        "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc2.weight": (768, 3072),
    },
    "sd1-inpaint": {f"{UNET}input_blocks.0.0.weight": (320, 9, 3, 3)},
    "sd2": {
        f"{UNET}input_blocks.1.1.proj_in.weight": (320, 320),
        "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_weight": (3072, 1024),
        "cond_stage_model.model.positional_embedding": (77, 1024),
    },
    "sdxl": {
        f"{UNET}label_emb.0.0.weight": (1280, 2816),
        f"{UNET}middle_block.1.transformer_blocks.9.attn2.to_v.weight": (1280, 2048),
        f"{UNET}output_blocks.2.2.conv.weight": (1280, 1280, 3, 3),
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": (768,),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
        "conditioner.embedders.1.model.transformer.resblocks.31.mlp.c_fc.weight": (5120, 1280),
    },
    "sdxl-refiner": {
        f"{UNET}label_emb.0.0.weight": (1536, 2560),
        f"{UNET}input_blocks.0.0.weight": (384, 4, 3, 3),
        "conditioner.embedders.0.model.ln_final.weight": (1280,),
    },
    "upscaler": {
        f"{UNET}input_blocks.0.0.weight": (256, 7, 3, 3),
        f"{UNET}label_emb.weight": (1000, 1024),
    },
}
IN_DIFFUSERS = {
    "sd1": "v1",
    "sd1-inpaint": "inpainting",
    "sd2": "v2",
    "sd2-inpaint": "inpainting_v2",
    "sdxl": "xl_base",
    "sdxl-inpaint": "xl_inpaint",
    "sdxl-refiner": "xl_refiner",
    "upscaler": "upscale",
}


@cache
def parts(name: str) -> dict[str, Any]:
    family = named(name)
    assert family
    return {part: empty_part(part, family) for part in (*family.towers, "unet", "vae")}


@cache
def tensors(name: str) -> dict[str, Tensor]:
    family = named(name)
    assert family
    return single_file(family, parts(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_published_sizes_are_met(name: str) -> None:
    for part, (count, millions) in COUNTS.get(name, {}).items():
        state = parts(name)[part].state_dict()
        assert len(state) == count
        numbers = sum(tensor.numel() for tensor in state.values())
        assert round(numbers / 1e6, 2) == millions
    for key, shape in SHAPES.get(name, {}).items():
        assert tuple(tensors(name)[key].shape) == shape


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_recognised_from_names_and_shapes_in_both_layouts(name: str) -> None:
    in_one_file = {key: tuple(tensor.shape) for key, tensor in tensors(name).items()}
    assert recognise(in_one_file) == named(name)
    state = parts(name)["unet"].state_dict()
    assert recognise({key: tuple(tensor.shape) for key, tensor in state.items()}) == named(name)


@pytest.mark.parametrize("name", NAMES)
def test_diffusers_takes_our_writing_of_the_layout_for_the_same_model(name: str) -> None:
    infer: Any = infer_diffusers_model_type
    assert infer(tensors(name)) == IN_DIFFUSERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_of_the_original_layout_finds_its_place(name: str) -> None:
    family = named(name)
    assert family
    for part, model in parts(name).items():
        own = {k: v for k, v in tensors(name).items() if k.startswith(PREFIXES[part])}
        found = renamed(part, own, family, model)
        expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
        assert {key: tensor.shape for key, tensor in found.items()} == expected


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_names_of_averaged_weights_get_their_dots_back(name: str) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors(name).items()}
    flat = {
        f"model_ema.{key.removeprefix('model.').replace('.', '')}" if UNET in key else key: shape
        for key, shape in shapes.items()
    }
    flat["model_ema.diffusion_model" + "betas"] = (1000,)
    flat["model_ema.num_updates"] = ()
    expected = {**shapes, "model_ema.num_updates": (), "model_ema.diffusion_modelbetas": (1000,)}
    assert named_shapes(flat) == expected


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "LoRA"),
        (["unet.mid_block.attn.to_q.lora_A.weight"], "LoRA"),
        (["control_model.input_blocks.0.0.weight"], "ControlNet"),
        (["emb_params"], "textual inversion"),
        (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "transformer"),
        (["first_stage_model.decoder.conv_in.weight"], "VAE"),
        (["decoder.conv_in.weight"], "VAE"),
        (["something.else"], "no model"),
    ],
)
def test_what_is_no_model_is_named(names: list[str], words: str) -> None:
    shapes = dict.fromkeys(names, (4, 4))
    assert recognise(shapes) is None
    assert words in what_it_is(shapes)


def test_a_unet_of_other_sizes_is_described() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        f"{UNET}input_blocks.0.0.weight": (64, 5, 3, 3),
        f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (64, 99),
    }
    assert recognise(shapes) is None
    assert "in_channels 5, channels 64, context 99, blocks 1" in what_it_is(shapes)

"""Tiny models of the published families, random weights, in both layouts on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from studio.pipelines.clip_tokenizer import clip_tokenizer
from studio.pipelines.families import Family, Marks, Tower, named
from studio.pipelines.parts import model_class
from tests.compvis import single_file

_holder = tempfile.TemporaryDirectory(prefix="tiny-families-", ignore_cleanup_errors=True)

_PIPELINES = {
    "sd1": "StableDiffusionPipeline",
    "sd1-inpaint": "StableDiffusionInpaintPipeline",
    "sd2": "StableDiffusionPipeline",
    "upscaler": "StableDiffusionUpscalePipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sdxl-inpaint": "StableDiffusionXLInpaintPipeline",
    "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline",
}


@cache
def tiny_family(name: str) -> Family:
    """A published family made small: fewer levels, layers and features, all else as it is."""
    family = named(name)
    assert family
    width = 48 if name == "sd2" else 32
    wide = width * len(family.towers)
    two = "sdxl" in name
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    if not two and name != "upscaler":
        down, up = down[::-1], up[::-1]
    unet: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": [32, 64],
        "down_block_types": list(down),
        "up_block_types": list(up),
        "cross_attention_dim": wide,
        "attention_head_dim": 4 if name.startswith("sd1") else [2, 4],
    }
    if name == "upscaler":
        unet |= {"attention_head_dim": 4, "only_cross_attention": [True, False]}
    numbers = 5 if family.requires_aesthetics_score else 6
    if two:
        unet |= {
            "transformer_layers_per_block": [1, 2],
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": width + 8 * numbers,
        }
    vae = {
        "sample_size": 64,
        "block_out_channels": [32, 32, 64],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
    }
    vector = unet.get("projection_class_embeddings_input_dim", 0)
    blocks = 5 * (2 if two else 1) + (2 if two else 1)
    marks = Marks(family.unet["in_channels"], 32, wide, blocks, vector)
    return replace(
        family,
        marks=marks,
        size=32,
        unet={**family.unet, **unet},
        vae={**family.vae, **vae},
        text_encoder=_small(family.text_encoder, width),
        text_encoder_2=_small(family.text_encoder_2, width),
    )


def _small(tower: Tower | None, width: int) -> Tower | None:
    small = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "projection_dim": width,
        "initializer_factor": 5.0,
    }
    return tower and replace(tower, config={**tower.config, **small})


@cache
def tiny_parts(name: str) -> Mapping[str, Any]:
    """The parts of a tiny model; decoder and U-Net scaled up to pictures full of contrast."""
    family = tiny_family(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        parts: dict[str, Any] = {}
        for part, tower in family.towers.items():
            kind = model_class(part)
            parts[part] = kind(kind.config_class(**tower.config))
        parts["unet"] = model_class("unet")(**family.unet)
        parts["vae"] = model_class("vae")(**family.vae)
        with torch.no_grad():
            parts["unet"].conv_out.weight.mul_(3.5)
            parts["vae"].decoder.conv_out.weight.mul_(2.0)
            for model in parts.values():
                for parameter in model.parameters():  # biases begin as zeros: let them matter
                    if parameter.ndim == 1:
                        parameter.add_(0.1 * torch.randn_like(parameter))
    return {part: model.eval() for part, model in parts.items()}


@cache
def tiny_folder(name: str) -> Path:
    """The tiny model of a family as a folder in diffusers' layout."""
    family, folder = tiny_family(name), Path(_holder.name) / name
    index: dict[str, Any] = {
        "_class_name": _PIPELINES[name],
        "force_zeros_for_empty_prompt": family.force_zeros_for_empty_prompt,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if family.requires_aesthetics_score:
        index["requires_aesthetics_score"] = True
    if "sdxl" in name:
        index |= {part: [None, None] for part in ("text_encoder", "tokenizer")}
    else:
        index |= {part: [None, None] for part in ("safety_checker", "feature_extractor")}
        index["requires_safety_checker"] = False
    for part, model in tiny_parts(name).items():
        model.save_pretrained(folder / part)
        if part in family.towers:
            tokenizer = part.replace("text_encoder", "tokenizer")
            index[part] = ["transformers", type(model).__name__]
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            clip_tokenizer(family.towers[part].pad_token).save_pretrained(folder / tokenizer)
    for part in ("scheduler", "low_res_scheduler"):
        if config := getattr(family, part):
            (folder / part).mkdir()
            path = folder / part / "scheduler_config.json"
            path.write_text(json.dumps(dict(config)), encoding="utf-8")
            index[part] = ["diffusers", config["_class_name"]]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def tiny_tensors(name: str) -> dict[str, torch.Tensor]:
    """The tiny model of a family under the names of the original layout."""
    return single_file(tiny_family(name), tiny_parts(name))


def write(tensors: Mapping[str, torch.Tensor], path: Path, **metadata: str) -> Path:
    """Writes a safetensors file; tensors that share memory are copied."""
    whole = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, path, metadata={"format": "pt", **metadata})
    return path

"""Write the parts of a model as one folder in the layout of diffusers, in fp16."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from studio.training.models import NoiseSchedule, TextEncoder, Tokenizer, Unet, Vae

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UPSCALER_INDEX = {
    "_class_name": "StableDiffusionUpscalePipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "low_res_scheduler": ["diffusers", "DDPMScheduler"],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": [None, None],
    "tokenizer": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderDC"],
    "watermarker": [None, None],
}


def noise_schedule() -> NoiseSchedule:
    """Stable Diffusion's betas, v-prediction, zero terminal SNR.

    Lin et al. 2023 (Common Diffusion Noise Schedules and Sample Steps are Flawed): plain epsilon
    prediction cannot reach a pure white background.
    """
    scheduler: Any = DDIMScheduler
    return scheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def low_res_schedule() -> NoiseSchedule:
    """The noise on an upscaler's small picture: Ho et al. 2020, as Stable Diffusion's x4 has it."""
    scheduler: Any = DDPMScheduler
    return scheduler(
        beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear", clip_sample=False
    )


def write_folder(
    folder: Path, *, vae: Vae, unet: Unet, text_encoder: TextEncoder, tokenizer: Tokenizer,
) -> None:  # fmt: skip
    """Write every part below ``folder``; ``diffusers.StableDiffusionPipeline`` reads it back."""
    folder.mkdir(parents=True, exist_ok=True)
    _half(vae).save_pretrained(folder / "vae")
    _half(unet).save_pretrained(folder / "unet")
    noise_schedule().save_pretrained(folder / "scheduler")
    write_text(folder, text_encoder=text_encoder, tokenizer=tokenizer)


def write_text(folder: Path, *, text_encoder: TextEncoder, tokenizer: Tokenizer) -> None:
    """Write what reads prompts below the ``folder`` of a Stable Diffusion, and its index."""
    for name in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _half(text_encoder).save_pretrained(folder / "text_encoder")
    _say_float32(folder / "text_encoder" / "config.json")
    tokenizer.save_pretrained(folder / "tokenizer")
    index = {**INDEX, "tokenizer": ["transformers", _class_of(tokenizer)]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _class_of(tokenizer: Tokenizer) -> str:
    """As older transformers name it too."""
    name = type(tokenizer).__name__
    return "PreTrainedTokenizerFast" if name == "TokenizersBackend" else name


def write_upscaler(folder: Path, *, vae: Vae, unet: Unet, most_noise: int) -> None:
    """Write an upscaler; ``diffusers.StableDiffusionUpscalePipeline`` reads it back.

    Args:
        most_noise: highest noise level of the small picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _half(vae).save_pretrained(folder / "vae")
    _half(unet).save_pretrained(folder / "unet")
    noise_schedule().save_pretrained(folder / "scheduler")
    low_res_schedule().save_pretrained(folder / "low_res_scheduler")
    index = {**UPSCALER_INDEX, "max_noise_level": most_noise}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def normalised(vae: Vae, pictures: Tensor) -> Vae:
    """A copy of ``vae`` whose latents have mean 0 and deviation 1 in every channel.

    The shift and scale go into the 1x1 convolutions between encoder and decoder, so the folder
    needs no scaling factor but 1, and every reader of the layout gets them.

    Args:
        pictures: [N, 3, H, W] in [-1, 1], a fair sample of what the VAE will see.
    """
    out = copy.deepcopy(vae).eval()
    with torch.no_grad():
        latents = torch.cat(
            [out.encode(part).latent_dist.mode() for part in torch.split(pictures, 16)]
        )
        mean = latents.mean(dim=(0, 2, 3))
        std = latents.std(dim=(0, 2, 3)).clamp(min=1e-4)
        after, before = out.quant_conv, out.post_quant_conv
        channels = len(mean)
        after.weight[:channels] /= std[:, None, None, None]
        after.bias[:channels] = (after.bias[:channels] - mean) / std
        after.bias[channels:] -= 2 * std.log()
        before.bias += (before.weight[:, :, 0, 0] * mean).sum(1)
        before.weight *= std[None, :, None, None]
    out.register_to_config(scaling_factor=1.0)
    return out


def _half(model: Any) -> Any:
    return copy.deepcopy(model).to(torch.float16, memory_format=torch.contiguous_format)


def _say_float32(config: Path) -> None:
    """Weights are stored in fp16; transformers would also compute in it unless told otherwise."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["dtype"] = "float32"
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

"""Tiny Stable Diffusion folders with random weights, in diffusers' own layout.

They draw 64x64 pictures in milliseconds. The last convolutions of U-Net and decoder are scaled
up, so that their outputs have about unit size: two pipelines that agree on such a model agree
on pictures full of contrast, not on two grey ones.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from studio.pipelines.components import Components, load
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Defaults, Request

Prediction = Literal["epsilon", "v_prediction"]

WINDOW = 16
"""Tokens in one window of the tiny text encoder, the two marks included."""

_holder = tempfile.TemporaryDirectory(prefix="tiny-models-", ignore_cleanup_errors=True)


def tiny_components(
    prediction_type: Prediction = "epsilon",
    tmp_path: Path | None = None,
    *,
    zero_snr: bool = False,
    inpainting: bool = False,
) -> Path:
    """A folder that ``StableDiffusionPipeline.from_pretrained`` loads.

    Args:
        prediction_type: "epsilon" as in SD 1.x or "v_prediction" as in SD 2.x.
        tmp_path: gets a copy of its own, for tests that change the files; None shares one folder
            among all tests of the run.
        zero_snr: betas rescaled to zero terminal SNR, trailing timesteps.
        inpainting: a U-Net that sees a mask and a picture beside the latents.
    """
    shared = _build(prediction_type, zero_snr, inpainting)
    if tmp_path is None:
        return shared
    return Path(shutil.copytree(shared, tmp_path / shared.name))


@cache
def tiny_model(
    prediction_type: Prediction = "epsilon", *, zero_snr: bool = False, inpainting: bool = False
) -> Components:
    """The same, loaded on the CPU; one for all tests of the run."""
    folder = tiny_components(prediction_type, zero_snr=zero_snr, inpainting=inpainting)
    return load(str(folder), Runtime(device="cpu"))


def tiny_requests(count: int = 1, **fields: object) -> tuple[Request, ...]:
    """Resolved single-picture requests of 64x64, three Euler steps unless told otherwise."""
    usual = {"prompt": "a cat", "seed": 5, "sampler": "Euler", "steps": 3, "guidance_scale": 4.0}
    defaults = Defaults("Euler", "Automatic", 3, 4.0, 64, 64)
    return Request.of(**{**usual, "count": count, **fields}).resolve(defaults).singles()


@cache
def _build(prediction_type: Prediction, zero_snr: bool, inpainting: bool) -> Path:
    kinds = ["tiny", prediction_type, *["zsnr"] * zero_snr, *["inpainting"] * inpainting]
    folder = Path(_holder.name) / "-".join(kinds)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _text_encoder().save_pretrained(folder / "text_encoder")
        _unet(9 if inpainting else 4).save_pretrained(folder / "unet")
        _vae().save_pretrained(folder / "vae")
    _tokenizer(folder / "tokenizer")
    scheduler = scheduler_config(prediction_type, zero_snr=zero_snr)
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = {
        "_class_name": f"StableDiffusion{'Inpaint' if inpainting else ''}Pipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _write_json(folder / "model_index.json", index)
    return folder


def scheduler_config(
    prediction_type: Prediction = "epsilon", *, zero_snr: bool = False
) -> dict[str, Any]:
    """Stable Diffusion's noise schedule as it stands in ``scheduler_config.json``."""
    return {
        "_class_name": "DDIMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": prediction_type,
        "rescale_betas_zero_snr": zero_snr,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "trailing" if zero_snr else "leading",
    }


def _text_encoder() -> Any:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=WINDOW,
            projection_dim=32,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
            initializer_factor=5.0,
        )
    )


def _unet(in_channels: int) -> Any:
    unet = UNet2DConditionModel(
        in_channels=in_channels,
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    return _scaled(unet, unet.conv_out, 3.5)


def _vae() -> Any:
    vae = AutoencoderKL(
        sample_size=64,
        block_out_channels=(16, 32, 32),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
    )
    return _scaled(vae, vae.decoder.conv_out, 1.0)


def _scaled(model: Any, conv: Any, gain: float) -> Any:
    with torch.no_grad():
        conv.weight.mul_(gain)
    return model


def _tokenizer(folder: Path) -> None:
    """CLIP's byte-level vocabulary without merges: every letter is a token."""
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocab = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=WINDOW).save_pretrained(folder)
    # Older readers want the two classic files.
    _write_json(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def _byte_letters() -> list[str]:
    """The 256 printable letters that stand for bytes in byte-level BPE (GPT-2's alphabet)."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")

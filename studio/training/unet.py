"""Train the U-Net: v-prediction with zero terminal SNR on cached latents, captions dropped at
times for classifier-free guidance (Ho and Salimans 2022)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.clip import load_text, tokenize
from studio.training.cpu_precision import called, speed_up_small_maps
from studio.training.dataset import Drawings
from studio.training.layout import noise_schedule, write_folder
from studio.training.loop import Batch, Losses, fit, processes
from studio.training.models import TextEncoder, Tokenizer, Unet, Vae
from studio.training.options import TrainOptions
from studio.training.pool import Pool
from studio.training.recipe import Frozen, Recipe
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.vae import tile
from studio.training.wording import caption


class UnetShape(Frozen):
    """Shape of the U-Net. The first level is thin and has no attention: it is the costly one.

    ``pooled_text``: the text also joins the time embedding, pooled by attention (diffusers'
    ``addition_embed_type`` "text"), so that every residual block knows what is asked.
    """

    channels: tuple[int, ...] = (64, 160, 192)
    pooled_text: bool = True
    layers_per_block: int = 1
    head_width: int = 32
    norm_groups: int = 16


class UnetRecipe(Recipe):
    """Recipe of the U-Net.

    Attributes:
        vae: folder of the trained VAE.
        clip: folder that holds ``text_encoder/`` and ``tokenizer/``.
        pool: how many scenes are drawn and encoded before training begins.
        dropout: share of captions replaced by the empty one.
        house_style: the style that captions need not name (:func:`caption`); None: none is.
        shift: how much noisier than evenly spread the times are (Esser et al. 2024, Scaling
            Rectified Flow Transformers): what is drawn is decided where noise is high.
        snr: signal-to-noise ratio from which the loss is held down (Hang et al. 2023, min-SNR;
            only its upper clamp: low ratios decide backgrounds and keep their weight).
        compiled: the U-Net runs compiled; that pays on GPUs.
    """

    shape: UnetShape = UnetShape()
    mix: SceneMix = SceneMix()
    vae: Path = Path("runs/decoder/weights")
    clip: Path = Path("runs/clip/weights")
    pool: int = 30000
    dropout: float = 0.1
    chinese: float = 0.08
    house_style: str | None = None
    shift: float = 1.0
    snr: float = 5.0
    sheet_guidance: float = 4.0
    compiled: bool = False


class UnetObjective(nn.Module):
    """Denoising loss of latents [B, C, h, w] given tokens [B, T].

    Args:
        read: gives the text states [B, T, D] of tokens.
    """

    def __init__(self, unet: Unet, read: Callable[[Tensor], Tensor], recipe: UnetRecipe) -> None:
        super().__init__()
        self.unet, self.read = unet, read
        self.snr, self.shift = recipe.snr, recipe.shift
        bf16 = recipe.loop.precision == "bf16"

        def predicted(noisy: Tensor, times: Tensor, states: Tensor) -> Tensor:
            velocity: Tensor = called(unet, noisy, times, states, bf16=bf16).sample
            return velocity.float()

        self.predicted = torch.compile(predicted) if recipe.compiled else predicted
        self.signal: Tensor
        self.register_buffer("signal", noise_schedule().alphas_cumprod, persistent=False)

    def forward(self, latents: Tensor, tokens: Tensor) -> Losses:
        count = len(latents)
        # One time in each of ``count`` equal slices: less variance than independent draws.
        slices = (
            torch.arange(count, device=latents.device) + torch.rand_like(latents[:, 0, 0, 0])
        ) / count
        slices = self.shift * slices / (1 + (self.shift - 1) * slices)
        times = (slices * 1000).long().clamp(max=999)
        alpha = self.signal[times].view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        predicted = self.predicted(noisy, times, self.read(tokens))
        error = F.mse_loss(predicted, velocity, reduction="none").mean(dim=(1, 2, 3))
        weight = ((self.snr + 1) * (1 - alpha.flatten())).clamp(max=1)
        return {"loss": (weight * error).mean(), "error": error.mean()}


class UnetPart:
    """The U-Net as a part to train (see :class:`studio.training.loop.Part`)."""

    PROMPTS = (
        "a cat", "a dog", "a red apple on a yellow background", "a rocket, 3d render", "a tree",
        "a slice of pizza", "an automobile", "a house", "a banana, flat style", "a fish",
        "a blue car", "a guitar", "a sunflower, pixel art", "two apples", "a penguin",
        "a dog on a blue background", "a bicycle", "a cup of coffee, 3d render", "an owl",
        "a strawberry", "a sailboat", "一只狐狸", "a small cat", "a cat to the left of a tree",
        "a lion, simple cartoon style", "an airplane", "a mushroom", "a green rocket",
        "an umbrella", "a hamburger, detailed", "a horse", "a crown",
    )  # fmt: skip

    def __init__(
        self, unet: Unet, vae: Vae, text_encoder: TextEncoder,
        tokenizer: Tokenizer, recipe: UnetRecipe, maker: SceneMaker, pool: Pool,
    ) -> None:  # fmt: skip
        self.objective = UnetObjective(unet, self.read, recipe)
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.recipe, self.maker, self.pool = recipe, maker, pool

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        chosen = rng.integers(len(self.pool.scenes), size=size)
        rows = self.maker.drawings.rows
        captions = [
            "" if rng.random() < self.recipe.dropout
            else caption(
                self.pool.scenes[i], rows, rng,
                chinese=self.recipe.chinese, house_style=self.recipe.house_style,
            )
            for i in chosen
        ]  # fmt: skip
        tokens = tokenize(self.tokenizer, captions)
        return {"latents": self.pool.latents[chosen].float(), "tokens": tokens}

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Text states [B, T, D] as the pipelines give them to the U-Net."""
        with torch.autocast(tokens.device.type, enabled=False):
            states: Tensor = self.text_encoder(tokens).last_hidden_state
        return states

    def encode(self, texts: list[str]) -> Tensor:
        """Text states [B, T, D] of texts."""
        return self.read(tokenize(self.tokenizer, texts).to(self.text_encoder.device))

    def save(self, folder: Path) -> None:
        """The whole model in the layout of diffusers."""
        write_folder(
            folder,
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
        )

    def sheet(self, path: Path) -> None:
        """The prompts, drawn with DDIM in 25 steps."""
        scheduler = noise_schedule()
        scheduler.set_timesteps(25)
        device = self.unet.device
        count, scale = len(self.PROMPTS), self.recipe.sheet_guidance
        states = torch.cat([self.encode([""] * count), self.encode(list(self.PROMPTS))])
        latents = torch.randn(
            (count, *self.pool.latents.shape[1:]), generator=torch.Generator().manual_seed(0)
        )
        latents = latents.to(device)
        for time in scheduler.timesteps:
            negative, positive = self.unet(torch.cat([latents] * 2), time, states).sample.chunk(2)
            latents = scheduler.step(
                negative + scale * (positive - negative), time, latents
            ).prev_sample
        tile(torch.cat([self.vae.decode(part).sample for part in torch.split(latents, 8)]), 8).save(
            path
        )


def build(shape: UnetShape, latents: torch.Size, text_width: int) -> Unet:
    """A fresh U-Net for latents [C, h, w] and text states of ``text_width``."""
    deeper = len(shape.channels) - 1
    model: Unet = UNet2DConditionModel
    unet = model(
        sample_size=latents[1],
        in_channels=latents[0],
        out_channels=latents[0],
        block_out_channels=shape.channels,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * deeper),
        up_block_types=(*["CrossAttnUpBlock2D"] * deeper, "UpBlock2D"),
        layers_per_block=shape.layers_per_block,
        cross_attention_dim=text_width,
        # diffusers reads this as the number of heads (its issue 2011).
        attention_head_dim=tuple(c // shape.head_width for c in shape.channels),
        norm_num_groups=shape.norm_groups,
        addition_embed_type="text" if shape.pooled_text else None,
        addition_embed_type_num_heads=text_width // shape.head_width,
    )
    if shape.pooled_text:
        # It begins as nothing, so that a U-Net without it can be gone on with.
        nn.init.zeros_(unet.add_embedding.norm2.weight)
    return unet


def continued(unet: Unet, folder: Path) -> None:
    """Load the weights in ``folder`` into ``unet``, which may have the pooled text beyond them.

    Raises:
        StudioError: the shapes are others.
    """
    weights = _loaded(UNet2DConditionModel, folder, torch_dtype=torch.float32).state_dict()
    fresh = {name for name in unet.state_dict() if name.startswith("add_embedding.")}
    if weights.keys() | fresh != unet.state_dict().keys() or any(
        tensor.shape != weights[name].shape
        for name, tensor in unet.state_dict().items()
        if name in weights
    ):
        raise StudioError(
            f"The U-Net in {folder} has another shape than the recipe's.",
            valid="--set shape.channels and the like as they were",
        )
    unet.load_state_dict(weights, strict=False)


def run(options: TrainOptions) -> None:
    """``studio train unet``."""
    recipe = UnetRecipe.read(options, "unet")
    if options.data is None:
        raise StudioError(
            "Training the U-Net needs drawings.", valid="--data FILE (studio train data)"
        )
    for name, folder in (("vae", recipe.vae / "config.json"), ("clip", recipe.clip / "tokenizer")):
        if not folder.exists():
            raise StudioError(
                f"There is no trained {name} at {folder.parent}.", valid=f"--set {name}=FOLDER"
            )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    maker = SceneMaker(Drawings.load(options.data), recipe.mix)
    vae = _loaded(AutoencoderKL, recipe.vae, torch_dtype=torch.float32)
    on_cpu = device.type == "cpu"
    # Channels first is quicker on CPUs, last on GPUs.
    layout = torch.contiguous_format if on_cpu else torch.channels_last
    vae.to(device, memory_format=layout).requires_grad_(False).eval()
    text_encoder, tokenizer = load_text(recipe.clip)
    text_encoder.to(device).requires_grad_(False)
    with processes(recipe.loop).main_process_first():  # the other processes find it in the cache
        pool = Pool(maker, vae, recipe.pool, recipe.loop, options.out / "pool.safetensors")
    print(json.dumps({"scenes": len(pool.scenes), "latents": list(pool.latents.shape)}), flush=True)
    torch.manual_seed(recipe.loop.seed)
    unet = build(recipe.shape, pool.latents.shape[1:], text_encoder.config.hidden_size)
    if options.init_from:
        continued(unet, options.init_from)
    if on_cpu:
        # The gradient of PyTorch's fused attention would take two fifths of a step there.
        unet.set_attn_processor(AttnProcessor())
        speed_up_small_maps(unet)
    unet.to(memory_format=layout)
    part = UnetPart(unet, vae, text_encoder, tokenizer, recipe, maker, pool)
    fit(part, recipe.loop, options.out, resume=options.resume)


def _loaded(model: Any, folder: Path, **options: Any) -> Any:
    return model.from_pretrained(folder, use_safetensors=True, local_files_only=True, **options)

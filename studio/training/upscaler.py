"""``studio train upscaler``: the U-Net that enlarges pictures four times, in latent space.

As Stable Diffusion's x4 upscaler (Rombach et al. 2022; the noise on the condition follows Ho et
al. 2022, Cascaded Diffusion Models): the small picture, noised to a level that the model is told,
is concatenated to the noisy latents, whose sides are those of the small picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import UNet2DConditionModel
from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.layout import low_res_schedule, noise_schedule, write_upscaler
from studio.training.loop import Batch, Losses, fit
from studio.training.models import Unet, Vae
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, Recipe
from studio.training.upscaler_data import Crops
from studio.training.upscaler_start import start_linear
from studio.training.vae import psnr, tile, to_tensor


class UpscalerShape(Frozen):
    """Shape of the U-Net. It has no attention: how to enlarge an edge is told by what is near."""

    channels: tuple[int, ...] = (48, 96)
    layers_per_block: int = 2
    norm_groups: int = 12


class UpscalerRecipe(Recipe):
    """Recipe of the upscaler.

    Attributes:
        vae: folder of the trained VAE.
        start: share of the examples at the first noise level, where the latents tell nothing: few
            steps make a picture close to the mean of all that fit, the best in PSNR.
        rest: weight of the other examples, whose errors are measured on the latents as well.
        most_noise: highest level of the noise on the small picture.
        level_power: levels are ``most_noise * u ** level_power``, u uniform: most are low.
    """

    shape: UpscalerShape = UpscalerShape()
    vae: Path = Path("runs/upscaler_vae/weights")
    start: float = Field(0.75, ge=0, le=1)
    rest: float = Field(0.05, ge=0)
    most_noise: int = Field(200, ge=0, lt=1000)
    level_power: float = Field(4.0, ge=1)
    sheet_steps: int = 1


class UpscalerObjective(nn.Module):
    """Denoising loss of latents [B, C, h, w] given small pictures [B, 3, h, w] in [-1, 1]."""

    def __init__(self, unet: Unet, recipe: UpscalerRecipe, importance: Tensor) -> None:
        super().__init__()
        self.unet, self.recipe = unet, recipe
        self.signal: Tensor
        self.signal_small: Tensor
        self.importance: Tensor
        self.register_buffer("signal", noise_schedule().alphas_cumprod, persistent=False)
        self.register_buffer("signal_small", low_res_schedule().alphas_cumprod, persistent=False)
        self.register_buffer("importance", importance.view(1, -1, 1, 1), persistent=False)

    def forward(self, latents: Tensor, small: Tensor) -> Losses:
        count, device = len(latents), latents.device
        times = torch.randint(0, 1000, (count,), device=device)
        times[torch.rand(count, device=device) < self.recipe.start] = 999
        chance = torch.rand(count, device=device) ** self.recipe.level_power
        levels = ((self.recipe.most_noise + 1) * chance).long().clamp(max=self.recipe.most_noise)
        alpha = self.signal[times].view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        kept = self.signal_small[levels].view(-1, 1, 1, 1)
        condition = kept.sqrt() * small + (1 - kept).sqrt() * torch.randn_like(small)
        model_input = torch.cat([noisy, condition], 1)
        predicted = self.unet(model_input, times, None, class_labels=levels).sample
        # An error of the velocity times sqrt(1 - alpha) is one of the latents.
        error = (self.importance * (1 - alpha) * (predicted - velocity) ** 2).mean(dim=(1, 2, 3))
        first = times == 999
        weight = torch.where(first, 1.0, self.recipe.rest)
        return {
            "loss": (weight * error).mean(),
            "first": (error * first).sum() / first.sum().clamp(min=1),
            "rest": (error * ~first).sum() / (~first).sum().clamp(min=1),
        }


class UpscalerPart:
    """The upscaler as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(self, unet: Unet, vae: Vae, recipe: UpscalerRecipe, crops: Crops) -> None:
        self.unet, self.vae, self.recipe, self.crops = unet, vae, recipe, crops
        self.scaling = float(vae.config.scaling_factor)
        self.latents: dict[int, Tensor] = {}
        importance = pixel_importance(vae, self.encode(list(range(32))).to(vae.device))
        self.objective = UpscalerObjective(unet, recipe, importance)

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        chosen = [int(i) for i in rng.integers(len(self.crops.large), size=size)]
        small = to_tensor(self.crops.small[chosen].numpy())
        return {"latents": self.encode(chosen), "small": small}

    @torch.no_grad()
    def encode(self, chosen: list[int]) -> Tensor:
        """Latents of crops [B, C, h, w]; each is encoded once."""
        new = sorted(set(chosen) - self.latents.keys())
        if new:
            pictures = to_tensor(self.crops.large[new].numpy()).to(self.vae.device)
            encoded = self.vae.encode(pictures).latent.mul(self.scaling).half().cpu()
            self.latents.update(zip(new, encoded, strict=True))
        return torch.stack([self.latents[i] for i in chosen]).float()

    def save(self, folder: Path) -> None:
        """The whole model in the layout of diffusers' StableDiffusionUpscalePipeline."""
        write_upscaler(folder, vae=self.vae, unet=self.unet, most_noise=self.recipe.most_noise)

    def sheet(self, path: Path) -> None:
        """Middles of held-out drawings: enlarged by Lanczos, by the model, and as they are."""
        large = to_tensor(self.crops.heldout_large[:8, 128:384, 128:384].numpy())
        small = self.crops.heldout_small[:8, 32:96, 32:96].numpy()
        sides = large.shape[-1], large.shape[-2]
        lanczos = [Image.fromarray(p).resize(sides, Image.Resampling.LANCZOS) for p in small]
        plain = to_tensor(np.stack([np.asarray(picture) for picture in lanczos]))
        drawn = self.enlarge(to_tensor(small).to(self.vae.device)).clamp(-1, 1).cpu()
        for name, pictures in (("lanczos", plain), ("model", drawn)):
            print(f"held out, {name}: {psnr(large, pictures).mean():.2f} dB", flush=True)
        tile(torch.cat([plain, drawn, large]), 8).save(path)

    def enlarge(self, small: Tensor) -> Tensor:
        """Pictures [B, 3, 4h, 4w] of small ones [B, 3, h, w], by DDIM in few steps."""
        scheduler = noise_schedule()
        scheduler.set_timesteps(self.recipe.sheet_steps)
        shape = (len(small), self.vae.config.latent_channels, *small.shape[-2:])
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(small.device)
        levels = torch.zeros(len(small), dtype=torch.long, device=small.device)
        for time in scheduler.timesteps:
            output = self.unet(torch.cat([latents, small], 1), time, None, class_labels=levels)
            latents = scheduler.step(output.sample, time, latents).prev_sample
        pictures: Tensor = self.vae.decode(latents / self.scaling).sample
        return pictures


@torch.no_grad()
def pixel_importance(vae: Vae, latents: Tensor) -> Tensor:
    """How much an error in each latent channel [C] costs in pixels; 1 on average."""
    scaling = vae.config.scaling_factor
    before = vae.decode(latents / scaling).sample
    noise = 0.1 * torch.randn(latents[:, :1].shape, generator=torch.Generator().manual_seed(0))
    costs = []
    for channel in range(latents.shape[1]):
        moved = latents.clone()
        moved[:, channel : channel + 1] += noise.to(latents.device)
        costs.append(F.mse_loss(vae.decode(moved / scaling).sample, before))
    importance = torch.stack(costs)
    return importance / importance.mean()


def build(shape: UpscalerShape, latent_channels: int, side: int) -> Unet:
    """A fresh U-Net for latents of ``latent_channels`` and small RGB pictures of ``side``."""
    levels = len(shape.channels)
    model: Unet = UNet2DConditionModel
    return model(
        sample_size=side,
        in_channels=latent_channels + 3,
        out_channels=latent_channels,
        block_out_channels=shape.channels,
        down_block_types=("DownBlock2D",) * levels,
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",) * levels,
        layers_per_block=shape.layers_per_block,
        norm_num_groups=shape.norm_groups,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="timestep",  # neighbouring noise levels share what they learn
    )


def run(options: TrainOptions) -> None:
    """Train the upscaler on the crops in ``options.data``.

    Raises:
        StudioError: there are no crops or no VAE, or the recipe is wrong.
    """
    recipe = UpscalerRecipe.read(options, "upscaler")
    if options.data is None:
        raise StudioError(
            "Training the upscaler needs crops.", valid="--data FILE (studio train upscaler_data)"
        )
    if not (recipe.vae / "config.json").is_file():
        raise StudioError(f"There is no trained VAE at {recipe.vae}.", valid="--set vae=FOLDER")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    crops = Crops.load(options.data)
    model: Vae = AutoencoderDC
    vae = model.from_pretrained(recipe.vae, use_safetensors=True, torch_dtype=torch.float32)
    vae.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
    torch.manual_seed(recipe.loop.seed)
    if options.init_from:
        fresh: Unet = UNet2DConditionModel
        unet = fresh.from_pretrained(
            options.init_from, use_safetensors=True, torch_dtype=torch.float32
        )
    else:
        side = crops.heldout_small.shape[1]
        unet = build(recipe.shape, vae.config.latent_channels, side)
    unet.to(device, memory_format=torch.channels_last)
    part = UpscalerPart(unet, vae, recipe, crops)
    if not options.init_from:
        chosen = list(range(0, len(crops.large), max(1, len(crops.large) // 1000)))
        small = to_tensor(crops.small[chosen].numpy())
        start_linear(unet, small.to(device), part.encode(chosen).to(device))
    fit(part, recipe.loop, options.out, resume=options.resume)

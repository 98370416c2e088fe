"""Train the VAE: reconstruction, edges, KL, and latents that survive being halved in size.

The last term follows Skorokhodov et al. 2025 (Improving the Diffusability of Autoencoders): where
decoded half-size latents look like the half-size picture, latents carry little of what a small
denoiser would have to invent.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.cpu_precision import called
from studio.training.dataset import Drawings
from studio.training.layout import normalised
from studio.training.loop import Batch, Losses, fit
from studio.training.models import Vae
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, Recipe
from studio.training.scenes import Placed, Scene, SceneMaker, SceneMix


class VaeShape(Frozen):
    """Shape of the AutoencoderKL; it shrinks the side by ``2 ** (len(channels) - 1)``."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    latent_channels: int = 8
    layers_per_block: int = 1
    norm_groups: int = 8


class VaeRecipe(Recipe):
    """Recipe of the VAE. Weights of the loss terms; ``crop`` in pixels.

    Attributes:
        squares: weight of the mean square error, which PSNR is made of.
        anchor: weight of the mean square distance from the latents of the weights that training
            began with; above 0, latents keep their meaning, and a U-Net its use.
        noise: the decoder learns from latents with noise of up to this deviation, so that it makes
            clean pictures of what a denoiser leaves unclean (Zheng et al. 2025, Diffusion
            Transformers with Representation Autoencoders).
        decoder_only: the encoder stays as it is.
    """

    shape: VaeShape = VaeShape()
    mix: SceneMix = SceneMix()
    crop: int = 64
    edges: float = 0.5
    squares: float = 0.0
    kl: float = 1e-5
    halved: float = 0.25
    anchor: float = 0.0
    noise: float = 0.0
    decoder_only: bool = False


class VaeObjective(nn.Module):
    """Losses of a batch of pictures [B, 3, H, W] in [-1, 1]."""

    def __init__(self, vae: Vae, recipe: VaeRecipe) -> None:
        super().__init__()
        self.encode = nn.Sequential(vae.encoder, vae.quant_conv)  # gives mean and log variance
        self.decode = nn.Sequential(vae.post_quant_conv, vae.decoder)
        self.recipe = recipe
        self.first = copy.deepcopy(self.encode).requires_grad_(False) if recipe.anchor else None
        self.bf16 = recipe.loop.precision == "bf16"

    def forward(self, pictures: Tensor) -> Losses:
        r = self.recipe
        posterior = DiagonalGaussianDistribution(self._called(self.encode, pictures))
        latents = posterior.sample()
        if r.noise:
            amount = r.noise * torch.rand_like(latents[:, :1, :1, :1])
            latents = latents + amount * torch.randn_like(latents)
        output = self._called(self.decode, latents)
        pixels = F.l1_loss(output, pictures)
        squares = F.mse_loss(output, pictures)
        edges = sum(
            (F.l1_loss(output.diff(dim=d), pictures.diff(dim=d)) for d in (-1, -2)),
            start=torch.zeros((), device=pictures.device),
        )
        kl = posterior.kl().mean() / latents[0].numel()
        with torch.no_grad():
            psnr = -10 * torch.log10(F.mse_loss(output.clamp(-1, 1), pictures) / 4)
        losses = {"pixels": pixels, "kl": kl, "psnr": psnr}
        loss = pixels + r.squares * squares + r.edges * edges + r.kl * kl
        if r.halved:
            smaller = self._called(self.decode, F.avg_pool2d(latents, 2))
            losses["halved"] = F.l1_loss(smaller, F.avg_pool2d(pictures, 2))
            loss = loss + r.halved * losses["halved"]
        if self.first:
            before = self._called(self.first, pictures).chunk(2, dim=1)[0]
            losses["anchor"] = F.mse_loss(posterior.mean, before)
            loss = loss + r.anchor * losses["anchor"]
        return {"loss": loss, **losses}

    def _called(self, module: nn.Module, maps: Tensor) -> Tensor:
        out: Tensor = called(module, maps, bf16=self.bf16)
        return out.float()


class VaePart:
    """The VAE as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(self, vae: Vae, recipe: VaeRecipe, drawings: Drawings) -> None:
        self.objective = VaeObjective(vae, recipe)
        self.vae = vae
        self.recipe = recipe
        self.maker = SceneMaker(drawings, recipe.mix)
        # Of all styles alike: the rows come style by style.
        heldout = [i for i, row in enumerate(drawings.rows) if row.heldout]
        self.heldout = heldout[:: max(1, len(heldout) // 64)]

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        crop = self.recipe.crop
        pictures = []
        for _ in range(size):
            picture = self.maker.picture(self.maker.draw(rng), rng)
            y, x = rng.integers(0, picture.shape[0] - crop + 1, size=2)
            pictures.append(picture[y : y + crop, x : x + crop])
        return {"pictures": to_tensor(np.stack(pictures))}

    def save(self, folder: Path) -> None:
        """The VAE, its latents normalised, unless they are to stay as they were."""
        if self.recipe.decoder_only or self.recipe.anchor:
            self.vae.save_pretrained(folder)
            return
        rng = np.random.default_rng(self.recipe.loop.seed)
        pictures = [self.maker.picture(self.maker.draw(rng), rng) for _ in range(128)]
        normalised(self.vae, to_tensor(np.stack(pictures)).to(self.vae.device)).save_pretrained(
            folder
        )

    def sheet(self, path: Path) -> None:
        """Held-out drawings (upper rows) above what the VAE makes of them, and their PSNR."""
        real = heldout_pictures(self.maker, self.heldout).to(self.vae.device)
        drawn = self.vae.decode(self.vae.encode(real).latent_dist.mode()).sample.clamp(-1, 1)
        print(f"held-out drawings: {psnr(real, drawn).mean():.2f} dB", flush=True)
        some = list(range(0, len(real), max(1, len(real) // 16)))[:16]
        tile(torch.cat([real[some], drawn[some]]), len(some)).save(path)


def heldout_pictures(maker: SceneMaker, drawings: list[int]) -> Tensor:
    """Drawings as they are, on white: [N, 3, S, S] in [-1, 1]."""
    rng = np.random.default_rng(0)
    scenes = [Scene("plain", (Placed(i),)) for i in drawings]
    return to_tensor(np.stack([maker.picture(scene, rng) for scene in scenes]))


def to_tensor(pictures: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [-1, 1]."""
    return torch.as_tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def to_pixels(pictures: Tensor) -> npt.NDArray[np.uint8]:
    """float [B, 3, H, W] in [-1, 1] -> uint8 [B, H, W, 3]; what is beyond is cut off."""
    pixels = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return pixels.cpu().numpy()


def psnr(real: Tensor, drawn: Tensor) -> Tensor:
    """Peak signal to noise, in dB, of each of the pictures [B, 3, H, W] in [-1, 1]."""
    return -10 * torch.log10((real - drawn.clamp(-1, 1)).square().mean((1, 2, 3)) / 4)


def tile(pictures: Tensor, columns: int) -> Image.Image:
    """[N, 3, H, W] in [-1, 1] -> one picture, ``columns`` a row."""
    count, _, height, width = pictures.shape
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    for i, picture in enumerate(to_pixels(pictures)):
        sheet.paste(Image.fromarray(picture), (i % columns * width, i // columns * height))
    return sheet


def build(shape: VaeShape, side: int) -> Vae:
    """A fresh AutoencoderKL for pictures of ``side`` pixels."""
    levels = len(shape.channels)
    model: Vae = AutoencoderKL
    return model(
        block_out_channels=shape.channels,
        latent_channels=shape.latent_channels,
        layers_per_block=shape.layers_per_block,
        norm_num_groups=shape.norm_groups,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        mid_block_add_attention=False,
        sample_size=side,
    )


def run(options: TrainOptions) -> None:
    """``studio train vae``."""
    train(options, VaeRecipe.read(options, "vae"))


def train(options: TrainOptions, recipe: VaeRecipe) -> None:
    """Train by a recipe, from the weights that the options name or from nothing.

    Raises:
        StudioError: no drawings are named.
    """
    if options.data is None:
        raise StudioError(
            "Training the VAE needs drawings.", valid="--data FILE (studio train data)"
        )
    drawings = Drawings.load(options.data)
    torch.manual_seed(recipe.loop.seed)
    if options.init_from:
        model: Vae = AutoencoderKL
        vae = model.from_pretrained(options.init_from, use_safetensors=True)
    else:
        vae = build(recipe.shape, drawings.pixels.shape[1])
    if recipe.loop.precision != "bf16" or torch.cuda.is_available():
        # Quicker everywhere but in bfloat16 on CPUs.
        vae.to(memory_format=torch.channels_last)
    if recipe.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    fit(VaePart(vae, recipe, drawings), recipe.loop, options.out, resume=options.resume)

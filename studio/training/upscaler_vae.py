"""``studio train upscaler_vae``: the upscaler's autoencoder, the best linear one, in closed form.

Each latent holds the first principal components of a 4 x 4 patch. On drawings, whose patches are
mostly flat or cut by one edge, 16 of the 48 lose less than an upscaler can know, and there is
nothing to train. The layout is diffusers' AutoencoderDC, whose pixel shuffles can hold a patch
transform exactly; each latent depends on its own patch only, so tiles of any size agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
from torch import Tensor

from studio.errors import StudioError
from studio.training.models import Vae
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, own_recipe, read
from studio.training.upscaler_data import FACTOR, Crops
from studio.training.vae import psnr, to_tensor

_SCALING = 0.08333  # StableDiffusionUpscalePipeline sets this value, whatever the VAE says
_WIDTH, _CONSTANT = 32, 300.0  # channels before the last norm, and the one that makes it harmless
_PATCH = 3 * FACTOR**2


class UpscalerVaeRecipe(Frozen):
    """``latent_channels`` of 48; ``crops``: how many the components are estimated from."""

    latent_channels: int = 16
    crops: int = 3000


@dataclass(frozen=True)
class Components:
    """Principal components of patches [48]: mean [48], basis [48, C], deviations [C]."""

    mean: Tensor
    basis: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, pictures: Tensor, count: int) -> Components:
        """The first ``count`` of pictures [N, 3, H, W]."""
        rows = F.pixel_unshuffle(pictures, FACTOR).permute(0, 2, 3, 1).reshape(-1, _PATCH)
        mean = rows.mean(0)
        spread, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        basis = vectors.flip(1)[:, :count]
        basis = basis * basis.sum(0).sign()  # the sign of a component is arbitrary
        return cls(mean, basis, spread.flip(0)[:count].sqrt())


def build(parts: Components) -> Vae:
    """An autoencoder whose latents, times its scaling factor, have mean 0 and deviation 1."""
    channels = parts.basis.shape[1]
    model: Vae = AutoencoderDC
    vae = model(
        latent_channels=channels,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(3, 12, _PATCH),
        decoder_block_out_channels=(3, _WIDTH, 4 * _WIDTH),
        encoder_layers_per_block=(0, 1, 0),
        decoder_layers_per_block=(0, 1, 0),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=_SCALING,
    )
    # What readers of AutoencoderKL's layout take the scale of 4 from.
    vae.register_to_config(block_out_channels=[3, _WIDTH, 4 * _WIDTH])
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        _fill_encoder(vae.encoder, parts)
        _fill_decoder(vae.decoder, parts)
    return vae.eval()


def _fill_encoder(encoder: Vae, parts: Components) -> None:
    """Both pixel unshuffles in turn, then the components; the block between adds nothing."""
    _centre(encoder.conv_in.conv)[:] = torch.eye(3)
    # The second unshuffle is the shortcut of its block. Twice a factor of 2 orders the pixels of a
    # patch otherwise than once a factor of 4.
    whitened = parts.basis / (parts.deviation * _SCALING)
    _centre(encoder.conv_out)[:] = whitened[_order()].T
    encoder.conv_out.bias[:] = -parts.mean @ whitened


def _fill_decoder(decoder: Vae, parts: Components) -> None:
    """The patch of every latent and its negative; a constant that outweighs both in the norm.

    ``relu(x) - relu(-x)`` is x again, so the whole is linear.
    """
    patches = parts.basis * (parts.deviation * _SCALING)
    rows = patches[_order()].reshape(12, 4, -1)  # [channels at half size, their 2 x 2, C]
    mean = parts.mean[_order()].reshape(12, 4)
    weight = _centre(decoder.conv_in).view(_WIDTH, 4, -1)
    bias = decoder.conv_in.bias.view(_WIDTH, 4)
    for sign, first in ((1, 0), (-1, 12)):
        weight[first : first + 12] = sign * rows
        bias[first : first + 12] = sign * mean
    bias[24] = _CONSTANT
    decoder.norm_out.weight[:24] = _CONSTANT / _WIDTH**0.5
    out = _centre(decoder.conv_out.conv)
    out[:, :12], out[:, 12:24] = torch.eye(12), -torch.eye(12)


def _order() -> Tensor:
    """Where each value of a patch unshuffled twice by 2 stands in one unshuffled once by 4."""
    once = F.pixel_unshuffle(torch.arange(_PATCH).view(3, FACTOR, FACTOR).float(), FACTOR)
    twice = F.pixel_unshuffle(
        F.pixel_unshuffle(torch.arange(_PATCH).view(3, FACTOR, FACTOR).float(), 2), 2
    )
    place = {int(value): i for i, value in enumerate(once.flatten())}
    return torch.tensor([place[int(value)] for value in twice.flatten()])


def _centre(conv: Vae) -> Tensor:
    """The middle taps [O, I] of a 3 x 3 convolution, to be written to."""
    taps: Tensor = conv.weight[:, :, 1, 1]
    return taps


def run(options: TrainOptions) -> None:
    """Find the components of the crops in ``options.data`` and write the autoencoder.

    Raises:
        StudioError: there are no crops, or the recipe is wrong.
    """
    where = options.recipe or own_recipe("upscaler_vae")
    recipe = read(UpscalerVaeRecipe, where, "training recipe", options.overrides)
    if options.data is None:
        raise StudioError(
            "The upscaler's VAE needs crops.", valid="--data FILE (studio train upscaler_data)"
        )
    crops = Crops.load(options.data)
    stride = max(1, len(crops.large) // recipe.crops)
    vae = build(Components.of(to_tensor(crops.large[::stride].numpy()), recipe.latent_channels))
    vae.save_pretrained(options.out / "weights")
    real = to_tensor(crops.heldout_large.numpy())
    with torch.inference_mode():
        drawn = torch.cat(
            [vae.decode(vae.encode(part).latent).sample for part in torch.split(real, 8)]
        )
    print(f"held-out drawings: {psnr(real, drawn).mean():.2f} dB", flush=True)

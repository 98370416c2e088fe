"""``studio train decoder``: the VAE's decoder alone, from latents as a denoiser leaves them.

The encoder stays as it is, so that a U-Net that knows its latents goes on with them.
"""

from __future__ import annotations

from studio.errors import StudioError
from studio.training import vae
from studio.training.options import TrainOptions


def run(options: TrainOptions) -> None:
    """Train the decoder of a VAE.

    Raises:
        StudioError: no VAE, or no drawings, are named.
    """
    if options.init_from is None:
        raise StudioError("The decoder needs its encoder.", valid="--init-from FOLDER (of a VAE)")
    vae.train(options, vae.VaeRecipe.read(options, "decoder"))

"""``studio train upscaler_vae``: the upscaler's VAE, trained as :mod:`studio.training.vae` does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from studio.errors import StudioError
from studio.training.options import TrainOptions
from studio.training.upscaler_data import Crops
from studio.training.vae import VaeRecipe, to_tensor, train


class LargeCrops:
    """The large crops of a file of crops (see :class:`studio.training.vae.Pictures`)."""

    def __init__(self, crops: Crops) -> None:
        self.large = crops.large.numpy()
        self.heldout = to_tensor(crops.heldout_large[:16, 128:384, 128:384].numpy())

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """A crop [S, S, 3]."""
        crop: npt.NDArray[np.uint8] = self.large[int(rng.integers(len(self.large)))]
        return crop


def run(options: TrainOptions) -> None:
    """Train the upscaler's VAE on the crops in ``options.data``.

    Raises:
        StudioError: there are no crops, or the recipe is wrong.
    """
    recipe = VaeRecipe.read(options, "upscaler_vae")
    if options.data is None:
        raise StudioError(
            "Training the upscaler's VAE needs crops.",
            valid="--data FILE (studio train upscaler_data)",
        )
    train(recipe, LargeCrops(Crops.load(options.data)), options)

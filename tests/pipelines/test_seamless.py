from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Conv2d
from torch.nn.functional import interpolate

from studio.pipelines import vae_tiling
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.seamless import circular, is_circular
from tests.tiny import tiny_model, tiny_requests


@torch.no_grad()
def test_rolled_latents_decode_to_the_rolled_picture() -> None:
    vae = tiny_model().vae
    latents = torch.randn(1, 4, 12, 16)
    with circular(vae):
        picture = vae_tiling.decode(vae, latents)
        rolled = vae_tiling.decode(vae, latents.roll((5, -3), (2, 3)))
    torch.testing.assert_close(rolled, picture.roll((20, -12), (2, 3)), atol=1e-3, rtol=1e-4)
    assert (vae_tiling.decode(vae, latents) - picture).abs().max() > 0.1


@torch.no_grad()
def test_rolled_pictures_encode_to_rolled_latents() -> None:
    vae = tiny_model().vae
    picture = torch.rand(1, 3, 48, 64) * 2 - 1
    with circular(vae):
        seen = vae_tiling.encode(vae, picture).mean
        rolled = vae_tiling.encode(vae, picture.roll((8, 20), (2, 3))).mean
    torch.testing.assert_close(rolled, seen.roll((2, 5), (2, 3)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_unet_is_rolled_by_its_stride() -> None:
    unet = tiny_model().unet
    latents, embeds = torch.randn(1, 4, 16, 16), torch.randn(1, 16, 32)
    with circular(unet):
        output = unet(latents, 500, embeds).sample
        rolled = unet(latents.roll((2, 6), (2, 3)), 500, embeds).sample
    torch.testing.assert_close(rolled, output.roll((2, 6), (2, 3)), atol=1e-4, rtol=1e-4)


def test_the_model_is_as_before_whatever_happens_within() -> None:
    vae = tiny_model().vae
    modes = [layer.padding_mode for layer in vae.modules() if isinstance(layer, Conv2d)]
    with circular(vae), circular(vae):
        assert is_circular(vae)
    with pytest.raises(RuntimeError), circular(vae):
        vae.decode(torch.randn(1, 99, 8, 8))
    assert not is_circular(vae)
    assert modes == [layer.padding_mode for layer in vae.modules() if isinstance(layer, Conv2d)]
    assert not any(layer._forward_pre_hooks for layer in vae.modules())


def test_a_seamless_request_draws_another_picture_and_leaves_the_model_alone() -> None:
    model = tiny_model()
    (plain,) = draw(model, tiny_requests(), Sources())
    results = draw(model, tiny_requests(2, seamless=True), Sources(), batch_size=1)
    first = next(results)
    assert not is_circular(model.unet)
    assert not is_circular(model.vae)
    assert (np.asarray(first.image) != np.asarray(plain.image)).any()
    assert len(list(results)) == 1


def test_tiles_of_a_seamless_picture_wrap_around(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny_model().vae
    monkeypatch.setattr(vae_tiling, "shared_statistics", lambda *_: circular())

    def enlarged(z: Tensor) -> Tensor:
        return interpolate(z[:, :3], scale_factor=4.0)

    monkeypatch.setattr(vae.decoder, "forward", enlarged)
    latents = torch.randn(1, 4, 20, 20)
    with torch.no_grad(), circular(vae):
        torch.testing.assert_close(
            vae_tiling.decode(vae, latents, 8), vae_tiling.decode(vae, latents)
        )

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from studio.pipelines import vae_tiling
from studio.pipelines.components import load
from studio.pipelines.placement import Runtime
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def mini() -> Any:
    return load("mini", Runtime(device="cpu")).vae


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """Discs of several sizes and a ramp, 256 x 256."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 256), torch.linspace(-1, 1, 256), indexing="ij")
    disc = ((x - 0.2) ** 2 + (y + 0.3) ** 2 < 0.2).float()
    dot = ((x + 0.6) ** 2 + (y - 0.5) ** 2 < 0.02).float()
    return torch.stack([x * (1 - disc), y - dot, disc * 2 - 1])[None].clamp(-1, 1)


@torch.no_grad()
def test_tiles_stay_near_the_whole_and_nearer_than_those_of_diffusers(
    mini: Any, picture: Tensor
) -> None:
    seen = vae_tiling.encode(mini, picture)
    whole = vae_tiling.decode(mini, seen.mean)
    assert torch.equal(whole, mini.decode(seen.mean).sample)
    ours = (vae_tiling.decode(mini, seen.mean, 16) - whole).abs() * 127.5
    mini.enable_tiling()
    mini.tile_latent_min_size, mini.tile_sample_min_size = 16, 128
    theirs = (mini.decode(seen.mean).sample - whole).abs() * 127.5
    mini.disable_tiling()

    assert ours.mean() < 6
    assert ours.mean() < theirs.mean()
    tiled = vae_tiling.encode(mini, picture, 16)
    assert (tiled.mean - seen.mean).abs().mean() < 0.05 * seen.mean.std()


@torch.no_grad()
def test_a_picture_of_several_is_decoded_as_it_is_alone() -> None:
    vae = tiny_model().vae
    latents = torch.randn(2, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    both = vae_tiling.decode(vae, latents, 16)
    torch.testing.assert_close(both[1:], vae_tiling.decode(vae, latents[1:], 16))


@torch.no_grad()
def test_shared_statistics_are_those_of_all_that_was_run_and_go_away() -> None:
    norm = torch.nn.GroupNorm(2, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(1, 4, 6, 8) * 3 + 1
    left, right = torch.split(x, 4, dim=-1)
    with vae_tiling.shared_statistics(norm, lambda: [norm(left), norm(right)]):
        halves = torch.cat([norm(left), norm(right)], dim=-1)
    torch.testing.assert_close(halves, norm(x))
    assert not torch.allclose(norm(left), halves[..., :4])


def test_tiles_are_as_large_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny_model().vae
    monkeypatch.setattr(vae_tiling, "free_bytes", lambda _: vae_tiling.peak_bytes(vae, 500, 500))
    assert vae_tiling.tile_edge(vae, 400, 400) is None
    edge = vae_tiling.tile_edge(vae, 1024, 1024)
    assert edge is not None
    assert 400 <= edge * vae_tiling.latent_scale(vae) <= 450
    monkeypatch.setattr(vae_tiling, "free_bytes", lambda _: 0)
    assert vae_tiling.tile_edge(vae, 64, 64) == vae_tiling.SMALLEST

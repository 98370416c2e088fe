"""The image tower learns to name pictures; the text tower stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]
import pytest
import torch

from studio.training.clip import ClipShape, load, to_transformers
from studio.training.clip import towers as clip_towers
from studio.training.dataset import Drawings
from studio.training.image_tower import (
    NOTHING,
    ImageTowerPart,
    ImageTowerRecipe,
    blurred,
    towers,
)
from studio.training.scenes import SceneMaker
from studio.training.tokens import learn_tokenizer
from tests.training.drawn import write_drawings

TEXT = ClipShape(
    vocabulary=600, text_width=64, text_heads=1, text_layers=1, side=32, image_width=64,
    image_layers=1, patch=8,
)  # fmt: skip
SHAPE = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "side": 32, "embedding": 32}


@pytest.fixture
def part(tmp_path: Path) -> ImageTowerPart:
    torch.manual_seed(0)
    recipe = ImageTowerRecipe.model_validate(
        {
            "shape": SHAPE,
            "mix": {"pair": 0.3, "hue": 0.0},
            "loop": {"steps": 1, "batch_size": 1, "learning_rate": 1e-3},
        }
    )
    texts = ["a ball", "a box", "a plate", "a brick", "on a red background", "detailed, flat style"]
    tokenizer = learn_tokenizer(texts, TEXT.vocabulary, TEXT.window)
    encoder = to_transformers(open_clip.CLIP(**clip_towers(TEXT)), TEXT, tokenizer)
    clip = open_clip.CLIP(**towers(recipe.shape, encoder))
    maker = SceneMaker(Drawings.load(write_drawings(tmp_path / "d.zip")), recipe.mix)
    return ImageTowerPart(clip, encoder.requires_grad_(False), tokenizer, recipe, maker)


def test_it_learns_to_name_pictures_and_leaves_the_text_tower(
    part: ImageTowerPart, tmp_path: Path
) -> None:
    read = part.read(["a ball", "a box"])
    learning = [one for one in part.objective.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=2e-3)
    rng = np.random.default_rng(0)
    named = []
    for _ in range(60):
        losses = part.objective(**part.batch(rng, 32))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        named.append(float(losses["named"]))
    assert np.mean(named[:3]) < 0.6
    assert np.mean(named[-10:]) > 0.85
    assert torch.equal(part.read(["a ball", "a box"]), read)
    (tmp_path / "out").mkdir()
    part.save(tmp_path / "out")
    again, _ = load(tmp_path / "out")
    tokens = part.tokenizer(["a ball"], padding="max_length", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(
        again.encode_text(tokens), read[:1] @ part.clip.text_projection, atol=1e-5, rtol=1e-4
    )


def test_pictures_of_several_kinds_of_things_have_no_label(part: ImageTowerPart) -> None:
    right = part.batch(np.random.default_rng(1), 200)["right"]
    assert 0.1 < float((right == NOTHING).float().mean()) < 0.6
    assert set(right.tolist()) == {NOTHING, 0, 1, 2, 3}


def test_a_blurred_picture_keeps_white_and_loses_edges() -> None:
    picture = torch.ones(3, 32, 32)
    rng = np.random.default_rng(0)
    assert torch.equal(blurred(picture, rng), picture)
    picture[:, :, 16:] = -1
    soft = blurred(picture, rng)
    assert (soft[:, :, 16] - soft[:, :, 15]).abs().max() < 1.5
    assert float(soft[0, 0, 0]) == pytest.approx(1, abs=0.05)

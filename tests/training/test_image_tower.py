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
from studio.training.image_tower import NOTHING, ImageTowerPart, ImageTowerRecipe, towers
from studio.training.scenes import SceneMaker
from studio.training.tokens import learn_tokenizer
from studio.training.variation import blurred, erased, moved, recoloured, varied
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
    tokens = part.tokens(["a ball", "a box"])
    read = part.read(tokens)
    learning = [one for one in part.objective.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=2e-3)
    rng = np.random.default_rng(0)
    named = []
    for _ in range(200):
        losses = part.objective(**part.batch(rng, 32))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        named.append(float(losses["named"]))
    assert np.mean(named[:3]) < 0.6
    assert np.mean(named[-10:]) > 0.85
    assert torch.equal(part.read(tokens), read)
    (tmp_path / "out").mkdir()
    part.save(tmp_path / "out")
    again, _ = load(tmp_path / "out")
    torch.testing.assert_close(
        again.encode_text(tokens), read @ part.clip.text_projection, atol=1e-5, rtol=1e-4
    )


def test_pictures_of_several_kinds_of_things_have_no_label(part: ImageTowerPart) -> None:
    right = part.batch(np.random.default_rng(1), 200)["right"]
    assert 0.1 < float((right == NOTHING).float().mean()) < 0.6
    assert set(right.tolist()) == {NOTHING, 0, 1, 2, 3}


def test_what_is_read_does_not_depend_on_the_longest_text(part: ImageTowerPart) -> None:
    texts = ["a ball", "a plate to the left of a brick on a red background"]
    together, alone = part.read(part.tokens(texts)), part.read(part.tokens(texts[:1]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
    whole = part.text_encoder(part.tokens(texts)).pooler_output
    torch.testing.assert_close(together, whole, atol=1e-5, rtol=1e-4)


def test_a_mixed_batch_asks_for_both_labels(part: ImageTowerPart) -> None:
    batch = part.batch(np.random.default_rng(0), 32)
    part.objective.recipe = part.recipe.model_copy(update={"mixed": 1.0})
    part.objective.eval()
    with torch.no_grad():
        # Where all pictures and labels are one, mixing them changes nothing.
        one = {name: value[:1].expand(8, *value.shape[1:]) for name, value in batch.items()}
        one["right"] = torch.zeros(8, dtype=torch.long)
        torch.manual_seed(1)
        same = part.objective(**one)["naming"]
        two = {**one, "right": torch.tensor([0, 1] * 4)}
        torch.manual_seed(1)
        other = part.objective(**two)["naming"]
    assert same > 0
    assert abs(float(same - other)) > 1e-3


def test_colours_change_and_white_stays() -> None:
    torch.manual_seed(0)
    pictures = torch.ones(200, 3, 8, 8)
    pictures[:, :, 2:6, 2:6] = 0.0
    seen = recoloured(pictures)
    assert (seen[:, :, 0, 0] == 1).all()
    taken = 1 - seen[:, :, 3, 3]
    assert taken.min() >= 0.85
    assert taken.max() <= 1.15
    assert taken.std() > 0.05


def test_a_blurred_picture_keeps_white_and_loses_edges() -> None:
    torch.manual_seed(0)
    pictures = torch.ones(2, 3, 32, 32)
    assert torch.equal(blurred(pictures), pictures)
    pictures[:, :, :, 16:] = -1
    soft = blurred(pictures)
    assert (soft[..., 16] - soft[..., 15]).abs().max() < 1.5
    assert float(soft[0, 0, 0, 0]) == pytest.approx(1, abs=0.05)


def test_a_share_of_the_pictures_lacks_a_white_square() -> None:
    torch.manual_seed(0)
    black = -torch.ones(400, 3, 32, 32)
    seen = erased(black, 0.5)
    assert set(seen.flatten().tolist()) == {-1.0, 1.0}
    white = (seen > 0).float().mean((1, 2, 3))
    assert 0.4 < (white > 0).float().mean() < 0.6
    assert white.max() <= 0.25 + 1 / 16
    assert torch.equal(erased(black, 0.0), black)


def test_a_moved_picture_shows_the_same_on_white() -> None:
    torch.manual_seed(0)
    pictures = torch.ones(64, 3, 32, 32)
    pictures[:, 1:, 8:24, 8:24] = -1  # a red square
    seen = moved(pictures)
    red = (seen[:, 0] - seen[:, 1]).clamp(min=0)
    areas = red.sum((1, 2)) / 2 / 16**2
    assert 0.35 < areas.min() < 0.6
    assert 0.9 < areas.max() < 1.25
    rows = torch.arange(32.0) - 15.5
    middles = (red.sum(2) * rows).sum(1) / red.sum((1, 2))
    assert middles.abs().max() == pytest.approx(0.08 * 32, rel=0.25)
    assert float(seen[:, :, 0, 0].min()) > 0.75  # the corner stays white, if darker


def test_only_a_share_is_blurred() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(64, 3, 32, 32) * 2 - 1

    def rough(seen: torch.Tensor) -> torch.Tensor:
        return seen.diff(dim=-1).abs().mean((1, 2, 3))

    sharp = rough(varied(pictures, 0.0)).min()
    assert rough(varied(pictures, 1.0)).max() < sharp
    assert 0.3 < (rough(varied(pictures, 0.5)) < sharp).float().mean() < 0.7

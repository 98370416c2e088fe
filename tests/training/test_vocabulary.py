"""Words as tokens of their own: each reads as its label, and captions read as they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from studio.training.clip import ClipShape, load_text, to_transformers, tokenize, towers
from studio.training.dataset import Drawings
from studio.training.meanings import Meaning
from studio.training.models import TextEncoder, Tokenizer
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.tokens import learn_tokenizer, with_words
from studio.training.vocabulary import VocabularyPart, spoken
from tests.training.drawn import write_drawings

CAPTIONS = ("a ball", "a round box, detailed", "a ball on a red background", "一个球")
MEANINGS = (Meaning("sphere", "ball"), Meaning("tin can", "round box"), Meaning("tub", "round box"))


@pytest.fixture
def tower() -> tuple[TextEncoder, Tokenizer]:
    """A small text tower that has not learned anything, and its tokenizer."""
    torch.manual_seed(0)
    shape = ClipShape(vocabulary=600, text_width=64, text_heads=1, text_layers=2)
    tokenizer = learn_tokenizer(CAPTIONS, shape.vocabulary, shape.window)
    clip = open_clip.CLIP(**towers(shape))
    return to_transformers(clip, shape, tokenizer).requires_grad_(False), tokenizer


def states(tower: TextEncoder, tokenizer: Tokenizer, text: str) -> Tensor:
    read: Tensor = tower(tokenize(tokenizer, [text])).last_hidden_state
    return read


def test_a_word_is_one_token_and_other_texts_keep_theirs(
    tower: tuple[TextEncoder, Tokenizer],
) -> None:
    _, tokenizer = tower
    larger = with_words(tokenizer, ["sphere", "tin can"])
    words = range(len(tokenizer) - 2, len(tokenizer))
    plain = {"add_special_tokens": False}
    assert larger("sphere", **plain).input_ids == [words[0]]
    assert larger("A  Tin  CAN!", **plain).input_ids[1:-1] == [words[1]]
    for text in (*CAPTIONS, "spheres", "hemisphere", "tin", "can"):
        assert larger(text, **plain).input_ids == tokenizer(text, **plain).input_ids
    assert (larger.bos_token_id, larger.eos_token_id) == (len(larger) - 2, len(larger) - 1)


def test_words_read_as_their_labels_and_captions_as_before(
    tower: tuple[TextEncoder, Tokenizer], tmp_path: Path
) -> None:
    part = VocabularyPart(*tower, MEANINGS)
    assert list(part.to_learn) == ["round box"]
    part.save(tmp_path / "first")
    optimizer = torch.optim.AdamW([part.objective.learned], lr=1e-2, weight_decay=0.0)
    rng = np.random.default_rng(0)
    for _ in range(150):
        loss = part.objective(**part.batch(rng, 16))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    part.save(tmp_path / "learned")
    first, learned = load_text(tmp_path / "first"), load_text(tmp_path / "learned")
    for text in CAPTIONS:
        assert torch.equal(states(*learned, text), states(*tower, text))
    assert torch.equal(states(*learned, "a sphere"), states(*tower, "a ball"))
    wanted = states(*tower, "a round box, detailed")
    for text in ("a tin can, detailed", "a tub, detailed"):
        before = F.mse_loss(states(*first, text), wanted)
        assert F.mse_loss(states(*learned, text), wanted) < 0.75 * before


def test_what_captions_say_is_known(tmp_path: Path) -> None:
    drawings = Drawings.load(write_drawings(tmp_path / "d.zip"))
    said = spoken(SceneMaker(drawings, SceneMix()), 500, np.random.default_rng(0))
    assert {"ball", "toy", "to the", "red background", "detailed", "three", "large"} <= said
    assert "sphere" not in said

"""Other words are read as their labels, and captions as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studio.pipelines.clip_tokenizer import read_tokenizer
from studio.training.dataset import Drawings
from studio.training.meanings import Meaning
from studio.training.models import Tokenizer
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.tokens import learn_tokenizer, reading
from studio.training.vocabulary import readings, spoken
from tests.training.drawn import write_drawings

CAPTIONS = ("a ball", "a round box, detailed", "a ball on a red background", "一个球")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return learn_tokenizer(CAPTIONS, 600, 32)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a sphere on a red background", "a ball on a red background"),
        ("Two  SPHERES, detailed", "two balls, detailed"),
        ("a tin can and a can!", "a round box and a ball!"),
        ("(sphere)", "(ball)"),
    ],
)
def test_phrases_are_read_as_what_they_mean(
    tokenizer: Tokenizer, tmp_path: Path, text: str, meant: str
) -> None:
    phrases = {"sphere": "ball", "spheres": "balls", "tin can": "round box", "can": "ball"}
    reading(tokenizer, phrases).save_pretrained(tmp_path)
    assert read_tokenizer(tmp_path)(text).input_ids == tokenizer(meant).input_ids


@pytest.mark.parametrize("text", [*CAPTIONS, "hemisphere", "sphere-like", "tin"])
def test_other_texts_are_read_as_before(tokenizer: Tokenizer, text: str) -> None:
    again = reading(tokenizer, {"sphere": "ball", "tin can": "round box"})
    window = {"padding": "max_length", "truncation": True}
    assert again(text, **window).input_ids == tokenizer(text, **window).input_ids
    assert (len(again), again.eos_token_id) == (len(tokenizer), tokenizer.eos_token_id)


def test_a_word_is_read_in_all_its_forms() -> None:
    assert readings([Meaning("push-bike", "bicycle")], set()) == {
        "push-bike": "bicycle", "push-bikes": "bicycles", "push bike": "bicycle",
        "push bikes": "bicycles", "pushbike": "bicycle", "pushbikes": "bicycles",
    }  # fmt: skip
    assert readings([Meaning("sedan", "automobile")], set()) == {
        "sedan": "automobile", "sedans": "automobiles", "a sedan": "an automobile",
    }  # fmt: skip


def test_what_captions_hold_and_what_is_drawn_of_a_word_stays() -> None:
    known = [Meaning("kitty", "cat"), Meaning("blue tulip", "tulip")]
    assert readings(known, {"kitty"}) == {"kitties": "cats"}
    twice = [Meaning("nag", "horse"), Meaning("nag", "pest")]
    assert readings(twice, set()) == {"nag": "horse", "nags": "horses"}


def test_what_captions_say_is_known(tmp_path: Path) -> None:
    drawings = Drawings.load(write_drawings(tmp_path / "d.zip"))
    said = spoken(SceneMaker(drawings, SceneMix()), 500, np.random.default_rng(0))
    assert {"ball", "toy", "to the", "red background", "detailed", "three", "large"} <= said
    assert "sphere" not in said

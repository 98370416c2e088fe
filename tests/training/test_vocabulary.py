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
from studio.training.tokens import Elsewhere, learn_tokenizer, reading
from studio.training.vocabulary import elsewhere, readings, spoken
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


def test_a_known_word_that_is_the_same_as_a_label_is_read_where_captions_do_not_have_it() -> None:
    same = {"car": "automobile", "pickup": "pickup truck", "red": "hue", "sedan": "automobile"}
    said = {"car", "railway car", "pickup", "a pickup", "red", "railway", "truck", "pickup truck"}
    names = {"railway car", "pickup truck", "automobile"}
    assert {*elsewhere(same, said, names)} == {
        Elsewhere("car", "automobile", frozenset({"railway"})),
        Elsewhere("pickup", "pickup truck", frozenset({"a"}), frozenset({"truck"})),
    }
    assert readings([Meaning("car", "automobile")], said, same) == {
        "cars": "automobiles", "a car": "an automobile",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a red can", "a red ball"),
        ("a tin can", "a tin can"),
        ("a red can opener", "a red can opener"),
        ("a red canopy", "a red canopy"),
        ("a toucan", "a toucan"),
        ("can", "can"),
        ("a ball, can", "a ball, can"),
    ],
)
def test_a_word_is_read_behind_words_unless_it_is_known_there(
    tokenizer: Tokenizer, text: str, meant: str
) -> None:
    can = Elsewhere("can", "ball", frozenset({"tin"}), frozenset({"opener"}))
    assert reading(tokenizer, {}, [can])(text).input_ids == tokenizer(meant).input_ids


def test_what_captions_say_is_known(tmp_path: Path) -> None:
    drawings = Drawings.load(write_drawings(tmp_path / "d.zip"))
    said = spoken(SceneMaker(drawings, SceneMix()), 500, np.random.default_rng(0))
    assert {"ball", "toy", "to the", "red background", "detailed", "three", "large"} <= said
    assert "sphere" not in said

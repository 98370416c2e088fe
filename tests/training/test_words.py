"""Other words: a word gives the states of the label that it means, captions keep theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from studio.training.clip import ClipShape, to_transformers, tokenize, towers
from studio.training.dataset import Drawings
from studio.training.dictionary import Dictionary, Sense
from studio.training.meanings import Kin, Meaning, Meanings, in_chinese, in_english
from studio.training.prompts import Prompt
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.teacher import Teacher
from studio.training.tokens import learn_tokenizer
from studio.training.vectors import DIMENSIONS, WordVectors
from studio.training.words import WordsPart, WordsRecipe, in_house_style
from tests.training.drawn import write_drawings

RECIPE = WordsRecipe.model_validate(
    {"near": 0.9, "loop": {"steps": 1, "batch_size": 1, "learning_rate": 1e-3}}
)


class Thesaurus:
    """A teacher that knows that a sphere is a ball; what is explained means its last word."""

    def words(self) -> list[str]:
        return ["sphere", "ball", "quickly"]

    def embed(self, texts: Sequence[str]) -> Tensor:
        known = ["ball", "box", "brick", "plate", "quickly", "shape", "toy"]
        last = [text.removesuffix(", shape, toy").split(", ")[-1] for text in texts]
        places = [known.index("ball" if word == "sphere" else word) for word in last]
        return F.one_hot(torch.tensor(places), len(known)).float()


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return Drawings.load(write_drawings(tmp_path_factory.mktemp("words") / "d.zip"))


def test_near_words_mean_a_label_and_no_others(drawings: Drawings) -> None:
    meanings = Meanings(drawings, cast(Teacher, Thesaurus()), near=0.9)
    assert meanings.synonyms == {"ball": ["sphere"]}
    assert meanings.chinese["ball"] == ["球"]


def test_kinship_in_the_dictionary_is_added_to_the_encoders_word(drawings: Drawings) -> None:
    senses = {
        "1": Sense(("toy",), ()), "2": Sense(("box",), ("1",)), "3": Sense(("ball",), ("2",)),
        "4": Sense(("plate", "saucer"), ()), "5": Sense(("case",), ("2",)),
        "6": Sense(("mug",), ("4",)),
    }  # fmt: skip
    words = {"saucer": ("4",), "case": ("5", "4"), "mug": ("2", "6"), "ball": ("3",)}
    kin = Kin(Dictionary(senses, words), ["ball", "box", "plate"])
    assert kin.near("saucer") == pytest.approx([0, 0, 0.3])
    assert kin.near("case") == pytest.approx([0.1, 0.2, 0.25])  # its second sense is a plate
    assert kin.near("mug") == pytest.approx([0.15, 0.3, 0.15])
    assert kin.near("quickly") == pytest.approx([0, 0, 0])
    knowing = replace(
        drawings, dictionary=Dictionary({"2": Sense(("box",), ())}, {"sphere": ("2",)})
    )
    meanings = Meanings(knowing, cast(Teacher, Thesaurus()), near=0.7)
    # The encoder: itself a ball, explained ("sphere, box") a box. Half of each, and kinship.
    assert meanings.synonyms == {"box": ["sphere"]}


def test_what_the_dictionary_calls_a_kind_of_a_label_means_it(drawings: Drawings) -> None:
    # The encoder: itself a ball, explained ("sphere, orb, globe, quickly") no label.
    broader = {"2": Sense(("box",), ()), "3": Sense(("thing",), ("2",))}
    said = ("sphere", "orb", "globe", "quickly")
    for kinds, means in ((("2",), "box"), (("3",), "ball")):
        senses = {"1": Sense(said, kinds), **broader}
        knowing = replace(drawings, dictionary=Dictionary(senses, {"sphere": ("1",)}))
        meanings = Meanings(knowing, cast(Teacher, Thesaurus()), near=0.45)
        assert meanings.synonyms == {means: ["sphere"]}


@pytest.mark.parametrize(
    ("senses", "same"),
    [
        ((("sphere", "ball"),), {"sphere": "ball"}),
        ((("sphere", "box"),), {}),  # the encoder has it nearer to a ball
        ((("sphere", "shape"), ("sphere", "ball")), {}),  # not in its commonest sense
    ],
)
def test_what_the_dictionary_and_the_encoder_have_for_the_same_is_the_same(
    drawings: Drawings, senses: tuple[tuple[str, ...], ...], same: dict[str, str]
) -> None:
    places = {str(place): Sense(words, ()) for place, words in enumerate(senses)}
    knowing = replace(drawings, dictionary=Dictionary(places, {"sphere": tuple(places)}))
    assert Meanings(knowing, cast(Teacher, Thesaurus()), near=0.5).same == same


def test_the_surest_come_first_and_vectors_have_their_say(drawings: Drawings) -> None:
    class Unsure(Thesaurus):
        def words(self) -> list[str]:
            return ["sphere", "orb", "cube"]

        def embed(self, texts: Sequence[str]) -> Tensor:
            near = {"sphere": 0.9, "orb": 0.95, "cube": 0.6}
            names = ["ball", "box", "brick", "plate"]
            said = [text.removesuffix(", shape, toy") for text in texts]
            return torch.stack(
                [F.one_hot(torch.tensor(names.index(t) if t in names else 0), 4).float()
                 * near.get(t, 1.0 if t in names else 0.0) for t in said]
            )  # fmt: skip

    def sure(vectors: WordVectors | None) -> list[Meaning]:
        knowing = replace(drawings, vectors=vectors)
        return Meanings(knowing, cast(Teacher, Unsure()), near=0.5).sure

    assert sure(None) == [Meaning(word, "ball") for word in ("orb", "sphere", "cube")]
    steps = np.zeros((3, DIMENSIONS), np.int8)
    steps[:2, 0], steps[2, 0] = 127, -127  # a cube stands beside a box, and far from a ball
    beside = WordVectors(steps, {"cube": 0, "box": 1, "ball": 2})
    assert sure(beside) == [Meaning("orb", "ball"), Meaning("sphere", "ball")]


def test_prompts_differ_in_the_word_alone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        said, meant = in_english(Meaning("orb", "ball"), rng)
        assert said == meant.replace("a ball", "an orb")
    pairs = {in_chinese(Meaning("球", "ball"), rng) for _ in range(200)}
    assert ("一个球", "a ball") in pairs
    assert any(
        said.startswith("红色背景上的") and "on a red background" in meant for said, meant in pairs
    )


@pytest.fixture(params=["no", "bf16"])
def part(drawings: Drawings, request: pytest.FixtureRequest) -> WordsPart:
    """A small tower, and what it has to learn, in each number format."""
    import open_clip  # type: ignore[import-untyped]

    torch.manual_seed(0)
    texts = [
        "a ball",
        "a sphere",
        "balls",
        "a box",
        "球",
        "背景上的 on a background",
        "detailed, flat style",
    ]
    shape = ClipShape(vocabulary=600, text_width=64, text_heads=1, text_layers=2)
    tokenizer = learn_tokenizer(texts, shape.vocabulary, shape.window)
    tower = to_transformers(open_clip.CLIP(**towers(shape)), shape, tokenizer)
    meanings = Meanings(drawings, cast(Teacher, Thesaurus()), near=0.9)
    loop = RECIPE.loop.model_copy(update={"precision": request.param})
    recipe = RECIPE.model_copy(update={"loop": loop})
    return WordsPart(tower, tokenizer, recipe, SceneMaker(drawings, SceneMix()), meanings)


def learn(part: WordsPart, steps: int) -> None:
    optimizer = torch.optim.AdamW(part.tower.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        loss = part.objective(**part.batch(rng, 16))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_it_learns_the_word_and_keeps_the_captions(part: WordsPart) -> None:
    def states(text: str, *, known: bool = False) -> Tensor:
        with torch.no_grad():
            model = part.known if known else part.tower
            return cast(Tensor, model(tokenize(part.tokenizer, [text])).last_hidden_state)

    wanted, kept = states("a ball", known=True), states("a box", known=True)
    before = F.mse_loss(states("a sphere"), wanted)
    learn(part, steps=160)
    assert F.mse_loss(states("a sphere"), wanted) < 0.3 * before
    assert F.mse_loss(states("a box"), kept) < 0.3 * before
    assert torch.equal(states("a ball", known=True), wanted)


def test_it_writes_what_the_unet_reads(part: WordsPart, tmp_path: Path) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    part.save(tmp_path)
    again = CLIPTextModel.from_pretrained(tmp_path / "text_encoder", local_files_only=True)
    tokens = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)
    text = tokenize(tokens, ["a ball"])
    torch.testing.assert_close(again(text).last_hidden_state, part.tower(text).last_hidden_state)


def test_each_token_gets_the_state_that_it_has_in_the_caption(part: WordsPart) -> None:
    window = part.tokenizer.model_max_length
    prompt = Prompt.kept("a ball, flat style").phrased("flat style, see a ball!", part.tokenizer)
    spelled = len(part.tokenizer("see", add_special_tokens=False).input_ids)
    held = {word: n + 1 for n, word in enumerate(("a", "ball", ",", "flat", "style", "end"))}
    framing = [-1] * spelled
    assert prompt.places is not None
    assert len(prompt.places) == window
    order = [0, *(held[w] for w in ("flat", "style")), -1, *framing, held["a"], held["ball"], -1]
    assert prompt.places[: len(order) + 2] == [*order, held["end"], held["end"] + 1]
    assert prompt.places[-1] == held["end"] + window - 1 - len(order)

    recipe = part.recipe.model_copy(update={"phrased": 1.0, "captions": 0.0})
    batch = WordsPart(part.tower, part.tokenizer, recipe, part.maker, part.meanings).batch(
        np.random.default_rng(0), 32
    )
    article = part.known(tokenize(part.tokenizer, ["a"])).last_hidden_state[0]
    torch.testing.assert_close(batch["wanted"][:, 0], article[:1].expand(32, -1))
    framed = (batch["wanted"] == article[1]).all(-1).any(1)
    assert framed.float().mean() > 0.6
    assert not batch["kept"].all()


def test_what_does_not_say_the_caption_leaves_it_as_it_is(part: WordsPart) -> None:
    kept = Prompt.kept("a ball, flat style")
    for said in ("flat style", "a ball, flat style" + " very" * 40):
        assert kept.phrased(said, part.tokenizer) == kept


def prompts(part: WordsPart, count: int = 300, **shares: float) -> set[tuple[str, str]]:
    """What is said and meant in prompts of these shares, and nothing else."""
    none = {"empty": 0.0, "captions": 0.0, "chinese": 0.0}
    recipe = part.recipe.model_copy(update=none | shares)
    part = WordsPart(part.tower, part.tokenizer, recipe, part.maker, part.meanings)
    drawn = (part._prompt(np.random.default_rng(n)) for n in range(count))
    return {(prompt.said, prompt.meant) for prompt in drawn}


def test_a_thing_in_chinese_means_the_same_in_english_however_it_is_framed(
    part: WordsPart,
) -> None:
    bare, framed = ("captions", "^(一[只个])?球$"), ("phrased", "^一[只个][^色]+的球$")
    for way, form in (bare, framed):
        drawn = prompts(part, count=2000, **{way: 1.0, "phrased_chinese": 1.0})
        meant = [meant for said, meant in drawn if re.search(form, said)]
        assert len(meant) > 1
        assert {*meant} == {"a ball"}


def test_words_that_are_the_very_same_are_framed_like_labels(part: WordsPart) -> None:
    part.meanings.same["sphere"] = "ball"
    drawn = prompts(part, phrased=1.0, phrased_chinese=0.0, same=1.0)
    spheres = {(said, meant) for said, meant in drawn if "sphere" in said}
    assert any("sphere, " in said for said, _ in spheres)
    assert any(said.startswith("a ") and not said.startswith("a sphere") for said, _ in spheres)
    assert all("ball" in meant and "sphere" not in meant for _, meant in spheres)


def test_a_plural_without_a_number_means_one(part: WordsPart) -> None:
    recipe = part.recipe.model_copy(update={"plurals": 1.0, "captions": 0.0, "empty": 0.0})
    part = WordsPart(part.tower, part.tokenizer, recipe, part.maker, part.meanings)
    prompts = [part._prompt(np.random.default_rng(n)) for n in range(200)]
    meant = {prompt.said: prompt for prompt in prompts if prompt.said != prompt.meant}
    assert meant["balls, flat style"].meant == "a ball, flat style"
    assert meant["boxes, detailed"].meant == "a box, detailed"
    assert not any(said.startswith(("a ", "two ")) for said in meant)


def test_the_empty_prompt_stays_as_guidance_knows_it(part: WordsPart) -> None:
    recipe = part.recipe.model_copy(update={"empty": 0.5, "house_style": "flat style"})
    part = WordsPart(part.tower, part.tokenizer, recipe, part.maker, part.meanings)
    batch = part.batch(np.random.default_rng(0), 32)
    empty = tokenize(part.tokenizer, [""])
    with torch.no_grad():
        known = part.known(empty).last_hidden_state
    drawn = (batch["tokens"] == empty).all(1)
    assert 8 < drawn.sum() < 24
    torch.testing.assert_close(batch["wanted"][drawn], known.expand(int(drawn.sum()), -1, -1))


def test_it_learns_to_pass_over_what_frames_a_caption(part: WordsPart) -> None:
    recipe = part.recipe.model_copy(update={"phrased": 0.7, "captions": 0.3})
    part = WordsPart(part.tower, part.tokenizer, recipe, part.maker, part.meanings)

    def states(text: str) -> Tensor:
        with torch.no_grad():
            return cast(Tensor, part.tower(tokenize(part.tokenizer, [text])).last_hidden_state)[0]

    with torch.no_grad():
        known = part.known(tokenize(part.tokenizer, ["a box"])).last_hidden_state[0]
    before = F.mse_loss(states("draw me a box")[-8:], known[-8:])
    learn(part, steps=400)
    assert F.mse_loss(states("draw me a box")[-8:], known[-8:]) < 0.5 * before


@torch.no_grad()
def test_states_in_the_house_style_have_the_layout_of_the_bare_caption(part: WordsPart) -> None:
    tower, tokenizer = part.known, part.tokenizer
    named = tower(tokenize(tokenizer, ["a ball, flat style"])).last_hidden_state[0]
    (housed,) = in_house_style(["a ball"], "flat style", tower, tokenizer)
    words = {word: n + 1 for n, word in enumerate(("a", "ball", ",", "flat", "style", "end"))}
    order = [0, *(words[word] for word in ("a", "ball", "end", ",", "flat", "style"))]
    torch.testing.assert_close(housed[: len(order)], named[order])
    torch.testing.assert_close(housed[len(order) :], named[len(order) :])


def test_only_captions_without_a_style_mean_the_house_style(
    part: WordsPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = part.recipe.model_copy(update={"house_style": "flat style"})
    part = WordsPart(part.tower, part.tokenizer, recipe, part.maker, part.meanings)
    texts = ["a ball", "球", "a ball, detailed", "球，像素画", "cartoon face, red bun"]
    prompts = iter(map(Prompt.kept, texts))
    monkeypatch.setattr(part, "_prompt", lambda _: next(prompts))
    wanted = part.batch(np.random.default_rng(0), len(texts))["wanted"]
    with torch.no_grad():
        housed = in_house_style(texts, "flat style", part.known, part.tokenizer)
        known = part.known(tokenize(part.tokenizer, texts)).last_hidden_state
    torch.testing.assert_close(wanted[:2], housed[:2])
    torch.testing.assert_close(wanted[2:], known[2:])
    assert not torch.allclose(housed, known, atol=1e-3)

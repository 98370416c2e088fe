"""Teach the text tower other words for what it knows: synonyms, and Chinese.

A copy of the tower learns to give, for a prompt in other words, the very states that the tower
gives for the prompt in the words of the captions; for the captions themselves it keeps them. So a
U-Net that was trained on the tower draws from the copy without having changed. Which label a word
means, the dictionary says, or else the sentence encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.clip import load_text, tokenize
from studio.training.cpu_precision import called, plain_attention
from studio.training.dataset import Drawing, Drawings
from studio.training.dictionary import Noun
from studio.training.loop import Batch, Losses, fit
from studio.training.models import TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.recipe import Recipe
from studio.training.scenes import BACKGROUNDS, Rng, SceneMaker, SceneMix
from studio.training.teacher import Teacher
from studio.training.wording import CHINESE_STYLE, caption, on_background, with_article

T = TypeVar("T")


class WordsRecipe(Recipe):
    """Recipe of the other words.

    Attributes:
        clip: folder that holds ``text_encoder/`` and ``tokenizer/``.
        captions: share of a batch that stays as it is.
        chinese: share of a batch that is Chinese.
        near: cosine from which a word means the label nearest to it.
    """

    mix: SceneMix = SceneMix()
    clip: Path = Path("runs/clip/weights")
    captions: float = 0.4
    chinese: float = 0.25
    near: float = 0.5


@dataclass(frozen=True)
class Meaning:
    """A word (or a label in Chinese), and the label in English that it stands for."""

    word: str
    label: str


class Meanings:
    """Other words for the labels of the drawings, by label.

    The synonyms are keywords of the drawings, the sentence encoder's own vocabulary and the nouns
    of the dictionary. A word means the label that it is a kind of; where the dictionary knows of
    none, the one that the encoder finds nearest to the word, or, where the word is none of its own,
    to what the dictionary says of it.
    """

    def __init__(
        self, rows: tuple[Drawing, ...], nouns: tuple[Noun, ...], teacher: Teacher, near: float
    ) -> None:
        labels = sorted({row.label["en"] for row in rows if row.everyday})
        meant = {noun.word: label for noun in nouns if (label := noun.among(set(labels)))}
        own = {word for row in rows for word in row.keywords["en"]} | set(teacher.words())
        explained = {noun.word: noun.explained() for noun in nouns if noun.word not in own}
        asked = [(word, text) for word, texts in explained.items() for text in texts]
        asked += [(word, word) for word in own]
        asked = sorted((word, text) for word, text in asked if word not in meant)
        cosines, places = (
            teacher.embed([text for _, text in asked]) @ teacher.embed(labels).T
        ).max(1)
        nearest: dict[str, float] = {}
        for (word, _), cosine, place in zip(asked, cosines.tolist(), places.tolist(), strict=True):
            if cosine >= max(near, nearest.get(word, 0.0)):
                nearest[word], meant[word] = cosine, labels[place]
        self.synonyms: dict[str, list[str]] = {}
        for word in sorted(meant.keys() - set(labels)):
            self.synonyms.setdefault(meant[word], []).append(word)
        self.chinese = {row.label["en"]: [zh] for row in rows if (zh := row.label.get("zh"))}


class StatesObjective(nn.Module):
    """Mean squared distance between the states [B, T, D] of tokens and wanted ones."""

    def __init__(self, tower: TextEncoder, *, bf16: bool = False) -> None:
        super().__init__()
        self.tower, self.bf16 = tower, bf16

    def forward(self, tokens: Tensor, wanted: Tensor, kept: Tensor) -> Losses:
        with plain_attention(tokens.device):
            read = called(self.tower, tokens, bf16=self.bf16)
        error = (read.last_hidden_state.float() - wanted).square().mean((1, 2))
        with torch.no_grad():
            captions, others = error[kept].mean(), error[~kept].mean()
        return {"loss": error.mean(), "captions": captions, "others": others}


class WordsPart:
    """The text tower as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(
        self, tower: TextEncoder, tokenizer: Tokenizer, recipe: WordsRecipe, maker: SceneMaker,
        meanings: Meanings,
    ) -> None:  # fmt: skip
        self.known = copy.deepcopy(tower).requires_grad_(False).eval()
        self.objective = StatesObjective(tower, bf16=recipe.loop.precision == "bf16")
        self.tower, self.tokenizer, self.recipe = tower, tokenizer, recipe
        self.maker, self.meanings = maker, meanings

    def batch(self, rng: Rng, size: int) -> Batch:
        """Prompts, and the states of what they mean; things as often as the scenes show them."""
        said, meant, kept = [], [], []
        for _ in range(size):
            scene = self.maker.draw(rng)
            label = self.maker.label(scene.placed[0].drawing) if scene.placed else ""
            way = rng.random() - self.recipe.captions
            others = self.meanings.chinese if way < self.recipe.chinese else self.meanings.synonyms
            kept.append(bool(way < 0 or label not in others))
            if kept[-1]:
                text = caption(scene, self.maker.drawings.rows, rng)
                pair = text, text
            else:
                say = in_chinese if others is self.meanings.chinese else in_english
                pair = say(Meaning(_one(rng, others[label]), label), rng)
            said.append(pair[0])
            meant.append(pair[1])
        device = next(self.tower.parameters()).device
        with torch.no_grad():
            tokens = tokenize(self.tokenizer, meant).to(device)
            wanted = self.known.to(device)(tokens).last_hidden_state
        return {
            "tokens": tokenize(self.tokenizer, said), "wanted": wanted, "kept": torch.tensor(kept),
        }  # fmt: skip

    def save(self, folder: Path) -> None:
        """``text_encoder/`` and ``tokenizer/`` in the layout of diffusers."""
        self.tokenizer.save_pretrained(folder / "tokenizer")
        self.tower.save_pretrained(folder / "text_encoder")

    def sheet(self, path: Path) -> None:
        """Nothing to look at: this part draws nothing."""


def in_english(meaning: Meaning, rng: Rng) -> tuple[str, str]:
    """A prompt with the word, and the same one with the label."""
    return _said(with_article(meaning.word), meaning, rng, chinese=False)


def in_chinese(meaning: Meaning, rng: Rng) -> tuple[str, str]:
    """A prompt in Chinese, and the same one in English."""
    return _said(_one(rng, ("", "一个", "一只")) + meaning.word, meaning, rng, chinese=True)


def _said(said: str, meaning: Meaning, rng: Rng, *, chinese: bool) -> tuple[str, str]:
    """At times both on a background, at times both in a style."""
    meant = with_article(meaning.label)
    if rng.random() < 0.3:
        colour = _one(rng, list(BACKGROUNDS))
        said, meant = on_background(said, colour, chinese=chinese), on_background(meant, colour)
    if rng.random() < 0.3:
        style = _one(rng, list(CHINESE_STYLE))
        said += f"，{CHINESE_STYLE[style]}" if chinese else f", {style}"
        meant += f", {style}"
    return said, meant


def _one(rng: Rng, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def run(options: TrainOptions) -> None:
    """``studio train words``."""
    recipe = WordsRecipe.read(options, "words")
    if options.data is None:
        raise StudioError("Training needs drawings.", valid="--data FILE (studio train data)")
    folder = options.init_from or recipe.clip
    if not (folder / "text_encoder").exists():
        raise StudioError(f"There is no text tower at {folder}.", valid="--set clip=FOLDER")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    maker = SceneMaker(Drawings.load(options.data), recipe.mix)
    drawings = maker.drawings
    nouns = drawings.dictionary.nouns if drawings.dictionary else ()
    meanings = Meanings(drawings.rows, nouns, Teacher(device), recipe.near)
    words = sum(map(len, meanings.synonyms.values()))
    print(
        f"{words} words for {len(meanings.synonyms)} labels, {len(meanings.chinese)} in Chinese",
        flush=True,
    )
    tower, tokenizer = load_text(folder)
    torch.manual_seed(recipe.loop.seed)
    part = WordsPart(tower, tokenizer, recipe, maker, meanings)
    fit(part, recipe.loop, options.out, resume=options.resume)

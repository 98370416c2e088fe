"""Teach the text tower other words for what it knows: synonyms, Chinese, and how people ask.

A copy of the tower learns to give, for a prompt in other words, the very states that the tower
gives for the prompt in the words of the captions; for the captions themselves it keeps them. So a
U-Net that was trained on the tower draws from the copy without having changed. Which label a word
means, the dictionary says, or else the sentence encoder. Of a caption that is phrased otherwise
each token gets the state that it has in the caption, wherever it stands there, and what only
frames it that of an article, which asks for nothing.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Set
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.clip import load_text, tokenize
from studio.training.cpu_precision import called, plain_attention
from studio.training.dataset import Drawings
from studio.training.loop import Batch, Losses, fit
from studio.training.meanings import Meaning, Meanings, in_chinese, in_english
from studio.training.models import TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.phrasing import Phrasing, common_characters, is_chinese
from studio.training.prompts import Prompt
from studio.training.recipe import Recipe
from studio.training.scenes import Rng, SceneMaker, SceneMix
from studio.training.teacher import Teacher
from studio.training.wording import (
    CHINESE_STYLE,
    FACE,
    NAMED,
    PIXEL_ART,
    caption,
    one_of,
    plural,
    with_article,
)

ARTICLE = "a"
EMPTY = ""
DRAWN = 2000
"""How many captions are drawn to find which characters they hold."""


class WordsRecipe(Recipe):
    """Recipe of the other words.

    Attributes:
        clip: folder that holds ``text_encoder/`` and ``tokenizer/``.
        captions: share of a batch that stays as it is.
        named: share of captions that name their style.
        chinese: share of a batch that is labels in Chinese.
        phrased: share of a batch that is captions phrased as people ask.
        phrased_chinese: share of those that are Chinese.
        same: share of those in English whose label is said in a word that is the very same.
        empty: share of a batch that is the empty prompt, which guidance leads away from.
        plurals: share of a batch that is plurals without a number, which mean one thing.
        near: cosine from which a word means the label nearest to it.
        house_style: style word that a caption without a style means (see :func:`in_house_style`);
            None: what the tower knows.
    """

    mix: SceneMix = SceneMix()
    clip: Path = Path("runs/clip/weights")
    captions: float = 0.4
    named: float = NAMED
    chinese: float = 0.25
    phrased: float = 0.0
    phrased_chinese: float = 0.3
    same: float = 0.0
    empty: float = 0.02
    plurals: float = 0.0
    near: float = 0.5
    house_style: str | None = None


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


def in_house_style(
    captions: list[str],
    style: str,
    tower: TextEncoder,
    tokenizer: Tokenizer,
    told: Set[str] = frozenset(),
) -> Tensor:
    """States [B, T, D] that the tower gives captions with the style, laid out as if without it.

    The end of the text comes first, then the words of the style, then what fills the window.

    Args:
        told: a caption that has one of these between its commas keeps its own states.
    """
    styled = [
        text if not told.isdisjoint(re.split(", |，", text))
        else f"{text}，{CHINESE_STYLE[style]}" if is_chinese(text)
        else f"{text}, {style}"
        for text in captions
    ]  # fmt: skip
    bare, named = tokenize(tokenizer, captions), tokenize(tokenizer, styled)
    ends, named_ends = (
        (tokens == tokenizer.eos_token_id).int().argmax(1)[:, None] for tokens in (bare, named)
    )
    place = torch.arange(bare.shape[1]).expand_as(bare)
    order = torch.where((place > ends) & (place <= named_ends), place - 1, place)
    order = torch.where(place == ends, named_ends, order)
    return _reordered(tower(named.to(tower.device)).last_hidden_state, order)


def _reordered(states: Tensor, order: Tensor) -> Tensor:
    """States [B, T, D] in the order [B, T] of places in them."""
    return states.gather(1, order[..., None].to(states.device).expand_as(states))


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
        rows = maker.drawings.rows
        styles = {word for row in rows for word in row.style_words}
        self.same: dict[str, list[str]] = {}
        for word, label in meanings.same.items():
            self.same.setdefault(label, []).append(word)
        self.phrasing = Phrasing(
            {row.label["en"] for row in rows}, styles, meanings.idle, self._idle_chinese()
        )
        # Styles, and what has none: faces and the empty prompt.
        self.told = {*styles, *CHINESE_STYLE.values(), *PIXEL_ART, *FACE, EMPTY}

    def batch(self, rng: Rng, size: int) -> Batch:
        """Prompts, and the states of what they mean; things as often as the scenes show them."""
        prompts = [self._prompt(rng) for _ in range(size)]
        self.known.to(self.tower.device)
        captions = [ARTICLE, *(prompt.meant for prompt in prompts)]
        with torch.no_grad():
            states = self._states(captions)
        order = torch.tensor([prompt.places or [*range(states.shape[1])] for prompt in prompts])
        wanted = _reordered(states[1:], order.clamp(min=0))
        wanted[order < 0] = states[0, 1]
        return {
            "tokens": tokenize(self.tokenizer, [prompt.said for prompt in prompts]),
            "wanted": wanted,
            "kept": torch.tensor([prompt.said == prompt.meant for prompt in prompts]),
        }

    def _states(self, captions: list[str]) -> Tensor:
        """States that the tower knew, of captions without a style in the house style."""
        if style := self.recipe.house_style:
            return in_house_style(captions, style, self.known, self.tokenizer, self.told)
        tokens = tokenize(self.tokenizer, captions)
        return cast(Tensor, self.known(tokens.to(self.known.device)).last_hidden_state)

    def _idle_chinese(self) -> list[str]:
        """Common characters that no caption holds."""
        rows, rng = self.maker.drawings.rows, np.random.default_rng(0)
        held = {row.label.get("zh", "") for row in rows}
        held |= {caption(self.maker.draw(rng), rows, rng, chinese=1.0) for _ in range(DRAWN)}
        return sorted(common_characters() - {*"".join(held)})

    def _prompt(self, rng: Rng) -> Prompt:
        way = self._way(rng)
        if way == "empty":
            return Prompt.kept(EMPTY)
        scene, rows = self.maker.draw(rng), self.maker.drawings.rows
        label = self.maker.label(scene.placed[0].drawing) if scene.placed else ""
        alone = scene.kind in ("plain", "background")
        if way == "chinese" and label in self.meanings.chinese:
            return self._labelled_in_chinese(label, rng)
        if way == "synonyms" and label in self.meanings.synonyms:
            word = one_of(rng, self.meanings.synonyms[label])
            return Prompt(*in_english(Meaning(word, label), rng))
        share = {"plurals": 0.0, "phrased": self.recipe.phrased_chinese}.get(way, 0.1)
        text = caption(scene, rows, rng, chinese=share, named=self.recipe.named)
        if is_chinese(text) and alone:
            prompt = self._labelled_in_chinese(label, rng)
        else:
            prompt = Prompt.kept(text)
        if way == "plurals":
            return self._plural(prompt, label) if alone else prompt
        return self._phrased(prompt, label, rng) if way == "phrased" else prompt

    def _labelled_in_chinese(self, label: str, rng: Rng) -> Prompt:
        """A thing in Chinese means what it means in English, which mini knows better."""
        return Prompt(*in_chinese(Meaning(one_of(rng, self.meanings.chinese[label]), label), rng))

    def _phrased(self, prompt: Prompt, label: str, rng: Rng) -> Prompt:
        """As people ask, at times with a word that is the very same as the label."""
        text, one = prompt.said, with_article(label)
        if label in self.same and rng.random() < self.recipe.same and text.startswith(one):
            text = with_article(one_of(rng, self.same[label])) + text.removeprefix(one)
        return prompt.phrased(self.phrasing(text, rng), self.tokenizer)

    def _way(self, rng: Rng) -> str:
        """What kind of prompt comes next."""
        point = rng.random()
        for way in ("empty", "captions", "phrased", "plurals", "chinese"):
            point -= getattr(self.recipe, way)
            if point < 0:
                return way
        return "synonyms"

    def _plural(self, prompt: Prompt, label: str) -> Prompt:
        """``cats, flat style`` for ``a cat, flat style``: mini draws one better than several."""
        one, more = with_article(label), plural(label)
        if not prompt.said.startswith(one) or one == more:
            return prompt
        return prompt.phrased(more + prompt.said.removeprefix(one), self.tokenizer)

    def save(self, folder: Path) -> None:
        """``text_encoder/`` and ``tokenizer/`` in the layout of diffusers."""
        self.tokenizer.save_pretrained(folder / "tokenizer")
        self.tower.save_pretrained(folder / "text_encoder")

    def sheet(self, path: Path) -> None:
        """Nothing to look at: this part draws nothing."""


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
    meanings = Meanings(maker.drawings, Teacher(device), recipe.near)
    words = sum(map(len, meanings.synonyms.values()))
    print(
        f"{words} words for {len(meanings.synonyms)} labels, {len(meanings.chinese)} in Chinese",
        flush=True,
    )
    tower, tokenizer = load_text(folder)
    torch.manual_seed(recipe.loop.seed)
    part = WordsPart(tower, tokenizer, recipe, maker, meanings)
    fit(part, recipe.loop, options.out, resume=options.resume)

"""Give other words tokens of their own, each of which stands for a label that mini knows.

The text tower stays as it is, and reads a new token by its embedding alone (Gal et al. 2022, An
Image is Worth One Word). Where the label is one token, its embedding says the same; else one is
learned, under which prompts come near to the states that they have with the label. No caption
holds such a word, so no caption's states move, and a U-Net goes on drawing as it did.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from studio.errors import StudioError
from studio.training.clip import load_text, tokenize
from studio.training.cpu_precision import plain_attention
from studio.training.dataset import Drawings
from studio.training.loop import Batch, Losses, fit
from studio.training.meanings import Meaning, Meanings, in_english, one_of
from studio.training.models import TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.recipe import Recipe
from studio.training.scenes import Rng, SceneMaker, SceneMix
from studio.training.teacher import Teacher
from studio.training.tokens import with_words
from studio.training.wording import caption, plural

_EMBEDDINGS = "embeddings.token_embedding.weight"


class VocabularyRecipe(Recipe):
    """Recipe of the vocabulary.

    Attributes:
        clip: folder that holds ``text_encoder/`` and ``tokenizer/``.
        near: how sure it must be what a word means (see :class:`Meanings`).
        words: the surest so many get a token.
        captions: how many are drawn to find what words captions hold.
    """

    mix: SceneMix = SceneMix()
    clip: Path = Path("runs/words/weights")
    near: float = 0.5
    words: int = 12000
    captions: int = 20000


class EmbeddingObjective(nn.Module):
    """Mean squared distance between the states [B, T, D] of tokens and wanted ones.

    Args:
        tower: reads the tokens, and does not learn.
        learned: embeddings [L, D] that learn; their ids follow the tower's own.
    """

    def __init__(self, tower: TextEncoder, learned: Tensor) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self.learned = nn.Parameter(learned)

    @property
    def embeddings(self) -> Tensor:
        """The tower's own, and those that are learned."""
        return torch.cat([self.tower.get_parameter(_EMBEDDINGS), self.learned])

    def forward(self, tokens: Tensor, wanted: Tensor) -> Losses:
        with plain_attention(tokens.device):
            read = functional_call(self.tower, {_EMBEDDINGS: self.embeddings}, (tokens,))
        return {"loss": (read.last_hidden_state - wanted).square().mean()}


class VocabularyPart:
    """New embeddings as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(
        self, tower: TextEncoder, tokenizer: Tokenizer, meanings: Sequence[Meaning]
    ) -> None:
        self.tower, self.known = tower, tokenizer
        self.tokenizer = with_words(tokenizer, [meaning.word for meaning in meanings])
        ids = [tokenizer(meaning.label, add_special_tokens=False).input_ids for meaning in meanings]
        weights = tower.get_parameter(_EMBEDDINGS).detach()
        long = sorted({tuple(i) for i in ids if len(i) > 1})
        row = {label: n for n, label in enumerate(long, len(weights))}
        # Which embedding each id of the larger vocabulary reads: words of one label share one.
        *plain, start, end = range(len(tokenizer))
        self.rows = torch.tensor([*plain, *(row.get(tuple(i), i[0]) for i in ids), start, end])
        first = [weights[list(label)].mean(0) for label in long]
        self.objective = EmbeddingObjective(
            tower, torch.stack(first) if first else weights.new_empty(0, weights.shape[1])
        )
        self.to_learn: dict[str, list[Meaning]] = {}
        for meaning, label in zip(meanings, ids, strict=True):
            if len(label) > 1:
                self.to_learn.setdefault(meaning.label, []).append(meaning)

    def batch(self, rng: Rng, size: int) -> Batch:
        """Prompts with words of labels of several tokens, and the states of what they mean."""
        labels = list(self.to_learn)
        chosen = (one_of(rng, self.to_learn[one_of(rng, labels)]) for _ in range(size))
        said, meant = zip(*(in_english(meaning, rng) for meaning in chosen), strict=True)
        with torch.no_grad():
            wanted = self.tower(tokenize(self.known, list(meant)).to(self.tower.device))
        return {
            "tokens": self.rows[tokenize(self.tokenizer, list(said))],
            "wanted": wanted.last_hidden_state,
        }

    def save(self, folder: Path) -> None:
        """``text_encoder/`` and ``tokenizer/`` in the layout of diffusers."""
        larger = copy.deepcopy(self.tower)
        larger.resize_token_embeddings(len(self.rows), mean_resizing=False)
        with torch.no_grad():
            rows = self.rows.to(self.tower.device)
            larger.get_parameter(_EMBEDDINGS).copy_(self.objective.embeddings[rows])
        for mark in ("bos", "eos", "pad"):
            setattr(larger.config, f"{mark}_token_id", getattr(self.tokenizer, f"{mark}_token_id"))
        larger.save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")

    def sheet(self, path: Path) -> None:
        """Nothing to look at: this part draws nothing."""


def spoken(maker: SceneMaker, count: int, rng: Rng) -> set[str]:
    """Drawn captions and what they are made of: as a whole, all words, all two side by side."""
    rows = maker.drawings.rows
    texts = {caption(maker.draw(rng), rows, rng, chinese=0.0) for _ in range(count)}
    for row in rows:
        label = row.label["en"]
        texts |= {label, plural(label), *row.keywords.get("en", ()), row.subgroup}
    said: set[str] = set()
    for text in texts:
        for word in (r"\w+", r"[\w'-]+"):
            words = re.findall(word, text.lower())
            said |= {*words, *map(" ".join, pairwise(words)), " ".join(words)}
    return said


def run(options: TrainOptions) -> None:
    """``studio train vocabulary``."""
    recipe = VocabularyRecipe.read(options, "vocabulary")
    if options.data is None:
        raise StudioError("Training needs drawings.", valid="--data FILE (studio train data)")
    folder = options.init_from or recipe.clip
    if not (folder / "text_encoder").exists():
        raise StudioError(f"There is no text tower at {folder}.", valid="--set clip=FOLDER")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    maker = SceneMaker(Drawings.load(options.data), recipe.mix)
    drawings = maker.drawings
    tower, tokenizer = load_text(folder)
    meanings = Meanings(drawings.rows, drawings.dictionary, Teacher(device), recipe.near)
    said = spoken(maker, recipe.captions, np.random.default_rng(recipe.loop.seed))
    chosen = meanings.surest(recipe.words, without=said | set(tokenizer.get_vocab()))
    part = VocabularyPart(tower, tokenizer, chosen)
    print(
        f"{len(chosen)} words for {len({m.label for m in chosen})} labels, of which "
        f"{len(part.to_learn)} are of several tokens",
        flush=True,
    )
    fit(part, recipe.loop, options.out, resume=options.resume)

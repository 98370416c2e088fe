"""Teach the text tower other words for what it knows: synonyms, and Chinese.

A copy of the tower learns to give, for a prompt in other words, the very states that the tower
gives for the prompt in the words of the captions; for the captions themselves it keeps them. So a
U-Net that was trained on the tower draws from the copy without having changed. Which label a word
means, the dictionary says, or else the sentence encoder.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.clip import load_text, tokenize
from studio.training.cpu_precision import called, plain_attention
from studio.training.dataset import Drawings
from studio.training.loop import Batch, Losses, fit
from studio.training.meanings import Meaning, Meanings, in_chinese, in_english, one_of
from studio.training.models import TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.recipe import Recipe
from studio.training.scenes import Rng, SceneMaker, SceneMix
from studio.training.teacher import Teacher
from studio.training.wording import caption


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
                pair = say(Meaning(one_of(rng, others[label]), label), rng)
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

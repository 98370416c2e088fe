"""How well a picture shows what a text says: the CLIP that was trained with mini.

A. Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision.
The image tower lies in ``configs/clip``; the text tower is the one that mini is conditioned by.
It knows drawings of everyday things, not photographs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image, ImageOps
from torch import Tensor

from studio.colours import border_colour, on_background, plain_background
from studio.errors import ModelError
from studio.pipelines.fitting import opaque

_STYLES = (
    "3d render", "flat style", "detailed", "gradient style", "simple cartoon style", "blob style",
    "outlined cartoon style",
)  # fmt: skip

_SIDES = re.compile(r"\b(left|right)\b|[左右]", re.IGNORECASE)


@dataclass(frozen=True)
class Guess:
    """Something that a picture may show, and how sure that is among all guesses (0 to 1)."""

    text: str
    share: float


class Scorer:
    """Both towers of the CLIP, on the CPU.

    Args:
        model: ``open_clip.CLIP``.
        tokenizer: of its text tower.
        labels: what the text tower says of :func:`everyday_labels`, unit vectors [labels, D].
    """

    def __init__(self, model: Any, tokenizer: Any, labels: Tensor) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._labels = labels
        self._side: int = model.visual.image_size
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @classmethod
    def load(cls) -> Scorer:
        """The CLIP in the box.

        Raises:
            ModelError: its weights are missing or broken.
        """
        import open_clip  # type: ignore[import-untyped]
        from safetensors.torch import load_file
        from transformers import CLIPTextModel

        from studio.pipelines.clip_tokenizer import read_tokenizer
        from studio.pipelines.open_clip_text import convert_to_open_clip

        root = Path(str(files("studio.configs")))
        mini, own = root / "mini", root / "clip"
        try:
            shape = json.loads((own / "clip.json").read_text(encoding="utf-8"))
            state = load_file(own / "image_tower.safetensors")
            kind: Any = CLIPTextModel
            encoder = kind.from_pretrained(
                mini / "text_encoder", dtype=torch.float32, local_files_only=True
            )
            text = convert_to_open_clip(encoder)
            model = open_clip.CLIP(**shape)
            state = {name: tensor.float() for name, tensor in state.items()}
            labels = state.pop("labels")
            model.load_state_dict({**text.state_dict(), **state})
            tokenizer = read_tokenizer(mini / "tokenizer")
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"The CLIP in {own} cannot be used: {error}.", valid="an installation that is whole"
            ) from error
        return cls(model, tokenizer, labels)

    def similarities(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """Cosines [pictures, texts] in [-1, 1] between what pictures show and texts say."""
        return self._shown(pictures) @ self._said(tuple(texts)).T

    def score(self, picture: Image.Image, text: str) -> float:
        """How well a picture of any size shows the text: the cosine, in [-1, 1]."""
        return float(self.similarities([picture], [text])[0, 0])

    def ranked(self, pictures: Sequence[Image.Image], text: str) -> tuple[int, ...]:
        """Places of the pictures, the one that shows the text best first.

        So DALL-E chose among its candidates (A. Ramesh et al. 2021), here by :meth:`sureness`: one
        text is nearer to all pictures of some thing, and a candidate that looks like another thing
        as much as like its own is the worse one.
        """
        return tuple(self.sureness(pictures, text).argsort(descending=True, stable=True).tolist())

    def sureness(self, pictures: Sequence[Image.Image], text: str) -> Tensor:
        """How sure it is that each picture shows the text, not an everyday thing unnamed there.

        A picture and its mirror image count alike, unless the text tells sides.

        Returns:
            log-probabilities [pictures], at most 0.
        """
        shown = self._shown(pictures)
        if not _SIDES.search(text):
            mirrored = self._shown([ImageOps.mirror(picture) for picture in pictures])
            shown = F.normalize(shown + mirrored, dim=-1)
        labels, lower = everyday_labels(), text.lower()
        named = torch.tensor([_without_article(label) in lower for label in labels])
        scale = self._model.logit_scale.exp().clamp(max=100)
        rivals = (scale * shown @ self._labels.T).masked_fill(named, float("-inf"))
        asked = scale * shown @ self._said((text,)).T
        return torch.cat([asked, rivals], 1).log_softmax(1)[:, 0]

    def describe(self, picture: Image.Image, *, most: int = 5) -> tuple[Guess, ...]:
        """The likeliest of the everyday things in ``configs/clip/labels.txt``, best first."""
        return self._likeliest(picture, everyday_labels(), self._labels)[:most]

    def caption(self, picture: Image.Image) -> str:
        """One line as a prompt would say it: thing, background where it is plain, style."""
        thing = self.describe(picture, most=1)[0].text
        styled = self._said(tuple(f"{thing}, {words}" for words in _STYLES))
        style = self._likeliest(picture, _STYLES, styled)[0].text
        shown = opaque(picture.convert("RGBA"))
        if plain_background(shown):
            thing = on_background(thing, border_colour(shown))
        return f"{thing}, {style}"

    def _likeliest(
        self, picture: Image.Image, names: Sequence[str], said: Tensor
    ) -> tuple[Guess, ...]:
        near = (self._shown([picture]) @ said.T)[0]
        shares = (near * self._model.logit_scale.exp().clamp(max=100)).softmax(0).tolist()
        guesses = (Guess(name, share) for name, share in zip(names, shares, strict=True))
        return tuple(sorted(guesses, key=lambda guess: -guess.share))

    @torch.inference_mode()
    def _said(self, texts: tuple[str, ...]) -> Tensor:
        if texts not in self._texts:
            tokens = self._tokenizer(
                list(texts), padding="max_length", truncation=True, return_tensors="pt"
            )["input_ids"]
            self._texts[texts] = F.normalize(self._model.encode_text(tokens), dim=-1)
        return self._texts[texts]

    @torch.inference_mode()
    def _shown(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([_pixels(picture, self._side) for picture in pictures])
        return F.normalize(self._model.encode_image(pixels), dim=-1)


def _without_article(label: str) -> str:
    return label.removeprefix("a ").removeprefix("an ")


@cache
def everyday_labels() -> tuple[str, ...]:
    """What :meth:`Scorer.describe` tells apart, with articles: "a fox"."""
    path = Path(str(files("studio.configs"))) / "clip" / "labels.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines())


def _pixels(picture: Image.Image, side: int) -> Tensor:
    """float [3, side, side] in [-1, 1]; the picture whole, transparency and borders white."""
    small = ImageOps.pad(
        opaque(picture.convert("RGBA")), (side, side), Image.Resampling.BICUBIC, color="white"
    )
    values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return values.view(side, side, 3).permute(2, 0, 1).float().div(127.5).sub(1)

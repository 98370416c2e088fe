"""Textual inversion: words whose vectors were learnt apart (https://arxiv.org/abs/2208.01618).

A word may be several vectors. It is read as a word where it stands in a prompt, in any case of
letters: the name of its file, ``embedding:`` and that name, or the token that the file names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor, nn

from studio.errors import ModelError
from studio.pipelines import weights
from studio.pipelines.parts import TOWERS

_FIRST = ("clip_l", "text_encoders_0")
_SECOND = ("clip_g", "text_encoders_1")


@dataclass(frozen=True, eq=False)
class Embedding:
    """The words of one file.

    Args:
        words: how prompts name it.
        vectors: ``[n, D]`` for each text encoder, n the same for all.
    """

    words: tuple[str, ...]
    vectors: tuple[Tensor, ...]


class ExtendedTokenizer:
    """A tokenizer of transformers that knows some words more.

    Args:
        inner: transformers' ``CLIPTokenizer``; all but these words is read by it.
        words: ids of each word.
    """

    def __init__(self, inner: Any, words: Mapping[str, Sequence[int]]) -> None:
        self._inner = inner
        self._ids = {word.lower(): list(ids) for word, ids in words.items()}
        longest_first = sorted(self._ids, key=len, reverse=True)
        either = "|".join(re.escape(word) for word in longest_first)
        self._word = re.compile(rf"(?<!\w)({either})(?!\w)", re.IGNORECASE)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, texts: Sequence[str], **options: Any) -> Any:
        return SimpleNamespace(input_ids=[self._encoded(text, options) for text in texts])

    def _encoded(self, text: str, options: dict[str, Any]) -> list[int]:
        parts = self._word.split(text)  # text between words at even places, the words at odd ones
        between = self._inner(parts[::2], **options).input_ids
        ids = list(between[0])
        for word, after in zip(parts[1::2], between[1:], strict=True):
            ids += self._ids[word.lower()] + list(after)
        return ids


def read(path: Path) -> Embedding:
    """The words of a file: AUTOMATIC1111's, diffusers' or SDXL's form.

    Raises:
        ModelError: the file is broken, unsafe, or of no such form; lists its keys.
    """
    shapes = weights.check(path).shapes
    keys = [next((key for key in either if key in shapes), "") for either in (_FIRST, _SECOND)]
    keys = [key for key in keys if key]
    token: tuple[str, ...] = ()
    if not keys and len(shapes) == 1:
        keys = list(shapes)
        if keys[0] != "emb_params" and not keys[0].startswith("string_to_param"):
            token = (keys[0],)
    sizes = {shapes[key][0] if len(shapes[key]) == 2 else 1 for key in keys}
    usual = all(len(shapes[key]) in (1, 2) for key in keys) and len(sizes) == 1
    if not keys or len(keys) < len(shapes) or not usual:
        listed = ", ".join(f"{key} {'x'.join(map(str, shape))}" for key, shape in shapes.items())
        raise ModelError(
            f"{path} is no textual inversion: it holds {listed[:500]}.",
            valid="emb_params, clip_l and clip_g, or one token, each [vectors, features]",
        )
    with safe_open(path, framework="pt") as file:
        tensors = [file.get_tensor(key) for key in keys]
    vectors = tuple(tensor.reshape(-1, tensor.shape[-1]).float() for tensor in tensors)
    return Embedding((path.stem, f"embedding:{path.stem}", *token), vectors)


@dataclass(frozen=True)
class Vocabulary:
    """The words of several files, for the text encoders of one model.

    Args:
        embeddings: one a file, whose vectors fit.
        towers: names of the text encoders, as many as each embedding has vectors for.
    """

    embeddings: tuple[Embedding, ...]
    towers: tuple[str, ...]

    @classmethod
    def of(cls, components: Any, paths: Sequence[Path]) -> Self:
        """Reads the files for a loaded model.

        Raises:
            ModelError: a file cannot be read, or is for other text encoders.
        """
        towers = tuple(part for part in TOWERS if getattr(components, part) is not None)
        widths = [getattr(components, part).config.hidden_size for part in towers]
        embeddings = tuple(map(read, paths))
        for path, embedding in zip(paths, embeddings, strict=True):
            found = [vectors.shape[1] for vectors in embedding.vectors]
            if found != widths or not all(v.isfinite().all() for v in embedding.vectors):
                raise ModelError(
                    f"{path} is for text encoders of {_words(found)} features, those of "
                    f"{components.name} have {_words(widths)}.",
                    valid="a textual inversion for models of this kind, of finite numbers",
                )
        return cls(embeddings, towers)

    def extend(self, part: str, encoder: Any, eos_token_id: int) -> None:
        """Gives a text encoder the words' vectors, behind those that it has.

        Args:
            part: one of ``towers``.
            encoder: transformers' CLIP text model.
            eos_token_id: of its tokenizer.
        """
        i, table = self.towers.index(part), encoder.get_input_embeddings().weight
        rows = [table, *(embedding.vectors[i].to(table) for embedding in self.embeddings)]
        joined = torch.cat(rows)
        rows_in_all, width = joined.shape
        encoder.set_input_embeddings(nn.Embedding(rows_in_all, width, _weight=joined, _freeze=True))
        # By the default of old configs the text ends at its largest id, which now is a new word's.
        getattr(encoder, "text_model", encoder).eos_token_id = eos_token_id

    def tokenizer(self, inner: Any, first: int) -> ExtendedTokenizer:
        """A tokenizer that knows the words.

        Args:
            inner: transformers' tokenizer.
            first: id of the first vector: how many the text encoder has without them.
        """
        words: dict[str, Sequence[int]] = {}
        for embedding in self.embeddings:
            ids = range(first, first := first + len(embedding.vectors[0]))
            words |= dict.fromkeys(embedding.words, ids)
        return ExtendedTokenizer(inner, words)


def _words(widths: Sequence[int]) -> str:
    return " and ".join(map(str, widths))

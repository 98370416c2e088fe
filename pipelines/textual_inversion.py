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
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from studio.errors import ModelError
from studio.pipelines import weights
from studio.pipelines.parts import TOWERS
from studio.pipelines.sharing import sharing_copy

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


def with_embeddings(components: Any, paths: Sequence[Path]) -> dict[str, Any]:
    """Text encoders and tokenizers that know the words of those files; the given ones stay.

    Args:
        components: a loaded model.
        paths: the files.

    Returns:
        Fields of ``Components``.

    Raises:
        ModelError: a file cannot be read, or is for other text encoders.
    """
    towers = [part for part in TOWERS if getattr(components, part) is not None]
    known = [(path, read(path)) for path in paths]
    widths = [getattr(components, part).config.hidden_size for part in towers]
    for path, embedding in known:
        found = [vectors.shape[1] for vectors in embedding.vectors]
        if found != widths or not all(v.isfinite().all() for v in embedding.vectors):
            raise ModelError(
                f"{path} is for text encoders of {found} features, {components.name} has {widths}.",
                valid="a textual inversion for models of this kind, of finite numbers",
            )
    changed: dict[str, Any] = {}
    for i, part in enumerate(towers):
        name = part.replace("text_encoder", "tokenizer")
        words, tokenizer = {}, getattr(components, name)
        encoder = sharing_copy(getattr(components, part))
        table = encoder.get_input_embeddings().weight
        rows = [table, *(embedding.vectors[i].to(table) for _, embedding in known)]
        first = len(table)
        for _, embedding in known:
            ids = range(first, first := first + len(embedding.vectors[i]))
            words |= dict.fromkeys(embedding.words, ids)
        joined = nn.Embedding.from_pretrained(torch.cat(rows), freeze=True)
        encoder.set_input_embeddings(joined)
        # By the default of old configs the text ends at its largest id, which now is a new word's.
        tower = getattr(encoder, "text_model", encoder)
        tower.eos_token_id = tokenizer.eos_token_id
        changed |= {part: encoder, name: ExtendedTokenizer(tokenizer, words)}
    return changed

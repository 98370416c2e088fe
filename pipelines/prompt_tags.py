"""What in a prompt asks for files rather than says words. Loads no torch.

``<lora:name:0.8>``     a LoRA and its weight, 1 where none is said; ``lyco`` for ``lora`` likewise
``embedding:name``      a textual inversion, read where the tag stands
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from studio.errors import PromptError, RequestError

WEIGHT_LIMIT = 10.0
"""Weights of LoRAs lie within plus and minus this."""

_LORA = re.compile(r"<(?:lora|lyco):([^<>]*)>", re.IGNORECASE)
_EMBEDDING = re.compile(r"(?<!\w)embedding:([\w-]+(?:\.[\w-]+)*)")
_FORM = "<lora:name:0.8>, with the name of a file among your LoRAs"


class Use(NamedTuple):
    """A file that a request asks for.

    Args:
        name: of the file without its ending, or its path.
        weight: how strongly it acts, 1 = as it was trained.
    """

    name: str
    weight: float = 1.0


def loras(prompt: str) -> tuple[Use, ...]:
    """The LoRAs that a prompt's tags ask for, in order.

    Raises:
        PromptError: a tag without a plain name, or whose weight cannot be used.
    """
    found = []
    for tag in _LORA.finditer(prompt):
        name, *weights = (part.strip() for part in tag[1].split(":"))
        if not is_name(name):
            raise _fault(prompt, tag, f"{name!r} is no name of a LoRA")
        if len(set(weights)) > 1:
            raise _fault(prompt, tag, "a LoRA has one weight here, for U-Net and text alike")
        weight = _weight(weights[0]) if weights else 1.0
        if weight is None:
            raise _fault(prompt, tag, f"the weight {weights[0]!r} cannot be used")
        found.append(Use(name, weight))
    return tuple(found)


def embeddings(prompt: str) -> tuple[str, ...]:
    """The names of the textual inversions that a prompt asks for by ``embedding:``."""
    return tuple(dict.fromkeys(_EMBEDDING.findall(prompt)))


def spoken(prompt: str) -> str:
    """The prompt with blanks in place of its LoRA tags, so that every character keeps its place."""
    return _LORA.sub(lambda tag: " " * len(tag[0]), prompt)


def sifted(prompt: str, keep: Callable[[str], bool]) -> tuple[str, tuple[str, ...]]:
    """The prompt without the tags that cannot be used, or whose names are not to be kept.

    Returns:
        The prompt, and the names of those that were taken out.
    """
    lost: list[str] = []

    def kept(tag: re.Match[str]) -> str:
        try:
            (use,) = loras(tag[0])
        except PromptError:
            use = Use(tag[1].split(":")[0])
        else:
            if keep(use.name):
                return tag[0]
        lost.append(use.name)
        return ""

    return _LORA.sub(kept, prompt), tuple(lost)


def lora_use(text: str) -> Use:
    """A LoRA as the request's field names it, ``NAME_OR_PATH`` or ``NAME_OR_PATH:WEIGHT``.

    Raises:
        RequestError: no name, or a weight that cannot be used.
    """
    name, colon, number = text.rpartition(":")
    if not colon or not re.fullmatch(r"\s*[+-]?[\d.].*|\s*[+-]?(?:nan|inf).*", number, re.I):
        name, number = text, "1"
    weight = _weight(number)
    if weight is None or not name.strip():
        raise RequestError(
            "lora",
            text,
            "no name" if not name.strip() else f"the weight {number!r} cannot be used",
            valid=f"NAME:WEIGHT with a weight from {-WEIGHT_LIMIT:g} to {WEIGHT_LIMIT:g}",
        )
    return Use(name.strip(), weight)


def refuse_loras(prompt: str, field: str) -> None:
    """Refuses LoRA tags where they have no effect.

    Raises:
        PromptError: the prompt has one.
    """
    tag = _LORA.search(prompt)
    if tag is not None:
        reason = "a LoRA acts on the whole picture and goes into the prompt"
        raise PromptError(
            prompt, reason, column=tag.start() + 1, field=field, valid="the tag in the prompt"
        )


def is_name(text: str) -> bool:
    """Whether a text names a file without saying a folder."""
    return bool(text) and text.isprintable() and not re.search(r"[/\\]|^\.+$", text)


def _weight(text: str) -> float | None:
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if math.isfinite(weight) and abs(weight) <= WEIGHT_LIMIT else None


def _fault(prompt: str, tag: re.Match[str], reason: str) -> PromptError:
    return PromptError(prompt, reason, column=tag.start() + 1, valid=_FORM)

"""What a drawing shows, in words: labels, keywords and kinds, joined by code point."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from studio.training.data_recipe import DataRecipe
from studio.training.sources import Source

_WORDS = re.compile(r"[a-z][a-z '-]*[a-z]")
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": None, "”": None, "!": None, "_": " "})


@dataclass(frozen=True)
class Concept:
    """One thing that can be drawn. ``code`` is its hexcode, as emojibase writes it."""

    code: str
    character: str
    label: dict[str, str]
    keywords: dict[str, tuple[str, ...]]
    group: str
    subgroup: str
    everyday: bool


def plain_code(code: str) -> str:
    """A hexcode without its variation selectors, which data sets write or leave out at will."""
    return "-".join(part for part in code.upper().split("-") if part != "FE0F")


def slug(name: str) -> str:
    """Letters and digits of a name, so that ``Cat Face``, ``cat-face``, ``catface`` are one."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", ascii_only.lower())


def spoken(label: str) -> str:
    """A label as one would say it: ``man: red hair`` -> ``man with red hair``."""
    label = label.translate(_TYPOGRAPHY).lower().strip()
    head, colon, rest = label.partition(": ")
    if not colon:
        return label
    if head == rest.split(" ")[0] or rest == "bald":
        return f"{rest} {head}"
    if rest.endswith("hair"):
        return f"{head} with {rest}"
    if rest == "beard":
        return f"{head} with a beard"
    if rest.startswith("facing "):
        return f"{head} {rest}"
    *some, last = rest.split(", ")
    joined = f"{', '.join(some)} and {last}" if some else last
    return f"{head} of {joined}"


def english(words: Iterable[str], label: str, recipe: DataRecipe) -> tuple[str, ...]:
    """Clean, distinct keywords of three letters and more, in order, without slang or the label."""
    kept: dict[str, None] = {}
    for word in words:
        clean = word.translate(_TYPOGRAPHY).lower().strip()
        if len(clean) >= 3 and _WORDS.fullmatch(clean) and clean not in recipe.slang | {label}:
            kept.setdefault(clean)
    return tuple(kept)[: recipe.most_keywords]


def read_concepts(labels: Source, keywords: Source, recipe: DataRecipe) -> dict[str, Concept]:
    """Every concept that the recipe keeps, by its plain code."""
    names = labels.json("meta/groups.json")
    more: Mapping[str, list[str]] = keywords.json("dist/emoji-en-US.json")
    by_character = {_bare(character): words for character, words in more.items()}
    chinese = {entry["hexcode"]: entry for entry in labels.json("zh/data.json")}
    concepts = {}
    for entry in labels.json("en/data.json"):
        if "group" not in entry:
            continue
        group = names["groups"][str(entry["group"])]
        subgroup = names["subgroups"][str(entry["subgroup"])]
        raw = entry["label"].translate(_TYPOGRAPHY).lower()
        out = group in recipe.without_groups or {subgroup, raw} & recipe.without_subgroups
        if out and raw not in recipe.keep:
            continue
        label = recipe.relabel.get(raw) or spoken(raw)
        zh = chinese.get(entry["hexcode"], {})
        concepts[plain_code(entry["hexcode"])] = Concept(
            code=entry["hexcode"],
            character=entry["emoji"],
            label={"en": label, "zh": zh.get("label", "").replace(": ", "，").strip()},
            keywords={
                "en": english(
                    [*entry.get("tags", ()), *by_character.get(_bare(entry["emoji"]), ())],
                    label,
                    recipe,
                ),
                "zh": tuple(
                    dict.fromkeys(tag for tag in zh.get("tags", ()) if tag != zh.get("label"))
                )[: recipe.most_keywords],
            },
            group=group,
            subgroup=subgroup,
            everyday=group in recipe.everyday_groups
            and not {subgroup, label, raw} & recipe.not_everyday,
        )
    return concepts


def _bare(character: str) -> str:
    return character.replace("\ufe0f", "")


def name_index(concepts: Mapping[str, Concept], coded: Iterable[Source]) -> dict[str, str]:
    """From the slug of a name to the plain code of what it names.

    ``coded`` are packages whose icons carry both a name and a code point: their names and the
    aliases of them serve to join the packages that know names only.
    """
    index = {slug(concept.label["en"]): code for code, concept in concepts.items()}
    for source in coded:
        icons: dict[str, Any] = source.json("icons.json")
        codes = {name: plain_code(code) for code, name in source.json("chars.json").items()}
        for name, code in codes.items():
            if code in concepts:
                index.setdefault(slug(name), code)
        for alias, target in icons.get("aliases", {}).items():
            code = codes.get(target["parent"], "")
            if len(target) == 1 and code in concepts:
                index.setdefault(slug(alias), code)
    return index

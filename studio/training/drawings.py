"""Render the named drawings of a data recipe into one file: pictures, captions, credits.

The file is a plain zip. ``drawings.jsonl`` has one row a drawing, ``drawings/<id>.webp`` its
picture (RGBA, the subject centred), ``faces.json`` the parts of faces, ``nouns.json`` the nouns of
the dictionary, ``vectors.bin`` word vectors, ``silhouettes.*`` icons of one colour, ``recipe.yaml``
the recipe with the digests of what was used, ``credits.md`` whom to thank. The same recipe gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

import yaml

from studio.errors import OutputError, StudioError
from studio.training.captions import Concept, name_index, plain_code, read_concepts, slug
from studio.training.data_recipe import DataRecipe, Style
from studio.training.dictionary import Dictionary
from studio.training.faces import FaceParts
from studio.training.icons import read_icons
from studio.training.rendering import Rendered, Task, render
from studio.training.silhouettes import collect
from studio.training.sources import Source, fetch
from studio.training.vectors import WordVectors

_DATE = (1980, 1, 1, 0, 0, 0)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What :func:`prepare` made."""

    drawings: int
    concepts: int
    everyday: int
    heldout: int
    per_style: dict[str, int]
    broken: tuple[str, ...]
    size: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Cell:
    """A drawing before it is rendered: what it shows, in which style, its SVG or file bytes."""

    id: str
    concept: Concept
    style: Style
    source: str | bytes


def prepare(
    recipe: DataRecipe,
    out: Path,
    *,
    progress: Progress | None = None,
    cache: Path | None = None,
    processes: int = 2,
) -> Summary:
    """Fetch what the recipe names, render every drawing and write the file ``out`` at once.

    Args:
        progress: called with (drawings done, drawings in all).
        cache: folder of package archives (default: :func:`studio.training.sources.cache_folder`).
        processes: rendering processes; 1 renders in this one. The result does not depend on it.

    Raises:
        UnavailableError: a package has to be fetched and cannot be, or the renderer is missing.
        StudioError: a package is not what the recipe says.
        OutputError: ``out`` cannot be written.
    """
    start = monotonic()
    cells, sources = read_cells(recipe, cache)
    concepts = {plain_code(cell.concept.code): cell.concept for cell in cells}
    extras = _extras(recipe, sources, concepts)
    tasks = [Task(cell.source, recipe.size, recipe.fill, recipe.quality) for cell in cells]
    rows, pictures, broken = [], {}, []
    for index, (cell, drawn) in enumerate(zip(cells, _render(tasks, processes), strict=True)):
        if drawn is None:
            broken.append(cell.id)
        else:
            rows.append(_row(cell, drawn, recipe))
            pictures[cell.id] = drawn.webp
        if progress:
            progress(index + 1, len(cells))
    _write(out, rows, pictures, extras, _stated(recipe, sources))
    everyday = {row["concept"] for row in rows if row["everyday"]}
    return Summary(
        drawings=len(rows),
        concepts=len({row["concept"] for row in rows}),
        everyday=len(everyday),
        heldout=sum(bool(row["heldout"]) for row in rows),
        per_style=dict(Counter(str(row["style"]) for row in rows)),
        broken=tuple(broken),
        size=out.stat().st_size,
        sha256=hashlib.sha256(out.read_bytes()).hexdigest(),
        seconds=monotonic() - start,
    )


def read_cells(
    recipe: DataRecipe, cache: Path | None = None
) -> tuple[list[Cell], dict[str, Source]]:
    """Every drawing that the recipe keeps, and its packages by name.

    Args:
        cache: folder of package archives (default: :func:`studio.training.sources.cache_folder`).

    Raises:
        UnavailableError: a package has to be fetched and cannot be.
        StudioError: a package is not what the recipe says, or no drawing is kept.
    """
    sources = {package.name: fetch(package, cache) for package in recipe.packages}
    concepts = read_concepts(
        sources[recipe.package(recipe.labels).name],
        sources[recipe.package(recipe.keywords).name],
        recipe,
    )
    names = _names(recipe, sources, concepts)
    cells = [
        cell
        for style in recipe.styles
        for cell in _cells(style, sources[recipe.package(style.package).name], concepts, names)
    ]
    if not cells:
        raise StudioError(f"The data recipe {recipe.name!r} keeps no drawing at all.")
    return cells, sources


def _names(
    recipe: DataRecipe, sources: Mapping[str, Source], concepts: Mapping[str, Concept]
) -> dict[str, str]:
    coded = [sources[style.package] for style in recipe.styles if style.naming == "code"]
    return name_index(concepts, coded)


def _cells(
    style: Style, source: Source, concepts: dict[str, Concept], names: dict[str, str]
) -> Iterator[Cell]:
    """The style's drawings in order of code, one a concept (more only where numbered)."""
    found: dict[str, dict[str, str | bytes]] = {}
    for icon in read_icons(source, style.naming):
        if icon.name in style.without:
            continue
        stem, _, number = icon.name.rpartition("-")
        name = stem if style.numbered and number.isdigit() else icon.name
        code = plain_code(style.aliases.get(name) or icon.code or names.get(slug(name), ""))
        if code in concepts:
            found.setdefault(code, {})[icon.name] = icon.source
    for code, drawings in sorted(found.items()):
        concept = concepts[code]
        # The icon called exactly as its concept goes first; then names in order.
        order = sorted(drawings, key=lambda n: (slug(n) != slug(concept.label["en"]), n))
        distinct = dict.fromkeys(drawings[name] for name in order)
        for place, drawing in enumerate(distinct if style.numbered else list(distinct)[:1]):
            tail = f"-{place + 1}" if place else ""
            yield Cell(f"{style.id}-{code.lower()}{tail}", concept, style, drawing)


def _render(tasks: list[Task], processes: int) -> Iterator[Rendered | None]:
    if processes == 1:
        yield from map(render, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(render, tasks, chunksize=16)


def _extras(
    recipe: DataRecipe, sources: Mapping[str, Source], concepts: Mapping[str, Concept]
) -> dict[str, bytes]:
    """The members of the file beside rows and pictures, by name."""
    found: dict[str, bytes] = {}
    texts = {
        word for one in concepts.values() for word in (one.label["en"], *one.keywords.get("en", ()))
    }
    if recipe.faces:
        parts = FaceParts.read(sources[recipe.package(recipe.faces).name])
        found["faces.json"] = parts.to_json().encode()
    if recipe.dictionary:
        nouns = Dictionary.read(sources[recipe.package(recipe.dictionary).name])
        texts |= nouns.words.keys()
        found["nouns.json"] = nouns.to_json().encode()
    if recipe.vectors:
        vectors = WordVectors.read(sources[recipe.package(recipe.vectors).name], texts)
        found["vectors.bin"] = vectors.to_bytes()
    if recipe.silhouettes:
        names = _names(recipe, sources, concepts)
        heldout = partial(is_heldout, share=recipe.heldout)
        drawn = collect(recipe, sources, concepts, names, heldout)
        found |= drawn.to_members()
    return found


def _row(cell: Cell, drawn: Rendered, recipe: DataRecipe) -> dict[str, object]:
    concept, style = cell.concept, cell.style
    return {
        "id": cell.id,
        "concept": concept.code,
        "style": style.id,
        "style_words": list(style.words),
        "label": concept.label,
        "keywords": {language: list(words) for language, words in concept.keywords.items()},
        "group": concept.group,
        "subgroup": concept.subgroup,
        "everyday": concept.everyday,
        "hue": drawn.hue,
        "heldout": is_heldout(concept.code, style.family, recipe.heldout),
    }


def is_heldout(concept: str, family: str, share: float) -> bool:
    """Whether a (concept, family of styles) cell is kept from training: by digest, for ever."""
    digest = hashlib.sha256(f"{concept}/{family}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _stated(recipe: DataRecipe, sources: dict[str, Source]) -> DataRecipe:
    packages = tuple(
        package.model_copy(update={"sha256": sources[package.name].sha256})
        for package in recipe.packages
    )
    return recipe.model_copy(update={"packages": packages})


def credits(recipe: DataRecipe) -> str:
    """The credits of a recipe's packages, as Markdown."""
    lines = ["# Credits", "", "The drawings and captions come from these packages.", ""]
    lines += [f"- `{p.spec}`: {p.credit} ({p.licence})" for p in recipe.packages]
    return "\n".join(lines) + "\n"


def _write(
    out: Path,
    rows: list[dict[str, object]],
    pictures: dict[str, bytes],
    extras: dict[str, bytes],
    recipe: DataRecipe,
) -> None:
    jsonl = "".join(
        json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"
        for row in sorted(rows, key=lambda row: str(row["id"]))
    )
    stated = recipe.model_dump(mode="json", exclude_defaults=True)
    for field in DataRecipe.model_fields:  # JSON lists of a set come in no fixed order
        if isinstance(getattr(recipe, field), frozenset) and field in stated:
            stated[field] = sorted(stated[field])
    members = {
        "credits.md": credits(recipe).encode(),
        "drawings.jsonl": jsonl.encode(),
        "recipe.yaml": yaml.safe_dump(stated, allow_unicode=True, sort_keys=True).encode(),
        **{f"drawings/{name}.webp": data for name, data in pictures.items()},
        **extras,
    }
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w") as archive:
            for name in sorted(members):
                picture = name.endswith(".webp")
                archive.writestr(
                    zipfile.ZipInfo(name, _DATE), members[name],
                    zipfile.ZIP_STORED if picture else zipfile.ZIP_DEFLATED,
                )  # fmt: skip
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{out} cannot be written: {error}.") from error

"""Wildcards: a folder of text files, one option a line.

Blank lines and lines that begin with ``#`` are passed over. A line may be a template itself, with
other wildcards in it and ``3::`` before it for three times the share. Nothing outside the folder
is ever read, neither by ``..`` nor by a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from studio.batch.reading import decode
from studio.batch.templates import Option, TemplateError, Wildcard, parse, wildcards

_SHARE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)::")
_NAME = re.compile(r"(?<!\\)__([^\W_][\w.\-/]*?)__")
_ENDING = ".txt"
_MOST_NAMES = 10_000  # that are looked through for the nearest


class Wildcards:
    """The wildcards of one folder; every file is read once.

    Args:
        folder: of ``.txt`` files, also in folders within; None = there are no wildcards.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._options: dict[str, tuple[Option, ...]] = {}
        self._sound: set[str] = set()

    def options(self, name: str) -> tuple[Option, ...]:
        """The lines of a wildcard, at least one.

        Raises:
            TemplateError: there is no such file in the folder, or it cannot be read.
        """
        if name not in self._options:
            self._options[name] = tuple(self._read(name))
        return self._options[name]

    def faults(self, template: str) -> Iterator[TemplateError]:
        """Everything wrong with a template, whatever would be drawn from it."""
        try:
            found = list(wildcards(parse(template)))
        except TemplateError as error:
            yield error
            found = [Wildcard(name[1], name.start() + 1) for name in _NAME.finditer(template)]
        for wildcard in found:
            try:
                self._check(wildcard.name, ())
            except TemplateError as error:
                yield TemplateError(wildcard.column, error.reason, error.valid)

    def _check(self, name: str, above: tuple[str, ...]) -> None:
        """Raises the first fault of a wildcard and of all that it holds."""
        if name in self._sound:
            return
        if name in above:
            ring = " > ".join([*above[above.index(name) :], name])
            raise TemplateError(1, f"wildcards hold each other: {ring}", "lists without a ring")
        if len(above) >= 16:
            ring = " > ".join(above)
            raise TemplateError(1, f"wildcards are nested too deep: {ring}", "up to 16")
        for option in self.options(name):
            for inner in wildcards(option.nodes):
                try:
                    self._check(inner.name, (*above, name))
                except TemplateError as error:
                    hold = "" if "__" in error.reason and above else f" (in __{name}__)"
                    raise TemplateError(1, error.reason + hold, error.valid) from None
        self._sound.add(name)

    def _read(self, name: str) -> Iterator[Option]:
        path = self._path(name)
        try:
            document = decode(path.read_bytes())
        except OSError as error:
            reason = f"__{name}__ cannot be read: {error.strerror or error}"
            raise TemplateError(1, reason, "a text file") from None
        for problem in document.problems:
            raise TemplateError(1, f"__{name}__: {problem}", "")
        empty = True
        for number, line in enumerate(document.lines, start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            share = _SHARE.match(text)
            weight = float(share[1]) if share else 1.0
            try:
                yield Option(parse(text[share.end() :] if share else text), weight)
            except TemplateError as error:
                where = f"__{name}__, line {number}, column {error.column}"
                raise TemplateError(1, f"{where}: {error.reason}", error.valid) from None
            empty = empty and weight == 0
        if empty:
            raise TemplateError(1, f"__{name}__ holds no line to draw", "one option a line")

    def _path(self, name: str) -> Path:
        if self._folder is None:
            reason = f"__{name}__ is a wildcard, and no folder of wildcards is given"
            raise TemplateError(
                1, reason, f"--wildcards FOLDER, or \\__{name}__ for the text itself"
            )
        root = self._folder.resolve()
        if not root.is_dir():
            raise TemplateError(1, f"{self._folder} is not a folder", "--wildcards FOLDER")
        try:
            path = (root / f"{name}{_ENDING}").resolve()
            there = path.is_file()
        except (OSError, ValueError):
            path, there = root, False
        if not path.is_relative_to(root):
            reason = f"__{name}__ lies outside the folder of wildcards"
            raise TemplateError(1, reason, "a file in it, named without .. and without links")
        if not there:
            names = self._names(root)
            near = get_close_matches(name, names, n=1) or names[:10]
            valid = f"the nearest, {', '.join(f'__{one}__' for one in near)}" if near else ""
            raise TemplateError(1, f"there is no wildcard file {name}{_ENDING}", valid)
        return path

    def _names(self, root: Path) -> list[str]:
        files = islice(root.rglob(f"*{_ENDING}"), _MOST_NAMES)
        return sorted(path.relative_to(root).as_posix()[: -len(_ENDING)] for path in files)

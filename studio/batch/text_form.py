"""The text form of AUTOMATIC1111's "Prompts from file or textbox": one job a line.

A line without ``--`` is the prompt; ``#`` begins a comment line. Any other line is words as in a
shell: the flags of that script, and every field of a request as a flag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import NamedTuple

from studio.batch.entries import Cell, Entry, from_text
from studio.batch.problems import Problem, shown
from studio.batch.sheet import PROMPTS
from studio.pipelines.request import Request
from studio.styles import styled, styles

_SWALLOW = set(PROMPTS)  # they take words up to the next flag
_FIELDS = {
    "cfg_scale": "guidance_scale",
    "sampler_index": "sampler",
    "sampler_name": "sampler",
    "sd_model": "model",
    "subseed": "variation_seed",
    "subseed_strength": "variation_strength",
    "tiling": "seamless",
}
_COUNTS = ("batch_size", "n_iter")
_REFUSED = {
    "restore_faces": ("faces are not restored here", "false"),
    "seed_resize_from_h": ("noise is not resized here", "0"),
    "seed_resize_from_w": ("noise is not resized here", "0"),
}
_PASSED_OVER = {
    "do_not_save_grid": "whether there is a sheet is said once for the whole batch",
    "do_not_save_samples": "every picture of a batch is saved",
    "outpath_grids": "everything goes into the folder of the batch",
    "outpath_samples": "everything goes into the folder of the batch",
    "prompt_for_display": "the prompt itself is shown",
}
_OFF = {"", "-1", "0", "0.0", "false"}  # values by which those flags ask for nothing
_BOOLEANS = {"tiling", "restore_faces", "do_not_save_grid", "do_not_save_samples"} | {
    name for name, about in Request.model_fields.items() if about.annotation is bool
}
FLAGS = tuple(
    sorted({"styles", *_COUNTS, *_FIELDS, *_PASSED_OVER, *_REFUSED, *Request.model_fields})
)
"""All the flags of a line, without ``--``."""

_WORD = re.compile(r"""(?:[^\s'"\\]+|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""")
_PART = re.compile(r"""([^'"\\]+)|\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"""")
_QUOTING = re.compile(r"""['"\\]""")
_ROOM = re.compile(r"\s+")
_IN_QUOTES = re.compile(r'\\(["\\])')


class _Word(NamedTuple):
    text: str
    column: int
    is_flag: bool


@dataclass
class _Line:
    """What is being gathered from one line."""

    number: int
    cells: dict[str, Cell] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def wrong(self, column: int, flag: str, reason: str, valid: str, value: str = "") -> None:
        self.problems.append(Problem(self.number, column, flag, reason, valid, value))


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The rows of a file in the text form; what is wrong with them is in them."""
    for number, text in enumerate(lines, start=1):
        bare = text.strip()
        if not bare or bare.startswith("#"):
            continue
        if "--" in bare:
            yield _flags(number, text)
        else:
            column = text.index(bare) + 1
            yield Entry(number, text, {"prompt": Cell(bare, number, column)})


def _flags(number: int, text: str) -> Entry:
    line = _Line(number)
    words = _words(line, text)
    if line.problems:  # where a word ends is not known
        return Entry(number, text, problems=tuple(line.problems))
    flags = [index for index, word in enumerate(words) if word.is_flag]
    for word in words[: flags[0] if flags else None]:
        _stray(line, word)
        break
    given: set[str] = set()
    for index, end in pairwise([*flags, len(words)]):
        flag, values = words[index], words[index + 1 : end]
        name = flag.text[2:].replace("-", "_")
        if name in given:
            line.wrong(flag.column, name, "given twice", "one value")
        elif name not in FLAGS:
            _unknown(line, flag)
        elif name in _SWALLOW and values:
            prompt = " ".join(word.text for word in values)
            line.cells[name] = Cell(prompt, number, values[0].column)
        else:
            for stray in values[1:2]:
                _stray(line, stray)
            _take(line, name, flag, values[0] if values else None)
        given.add(name)
    if "styles" in line.cells:
        _put_styles(line, line.cells.pop("styles"))
    return Entry(number, text, line.cells, tuple(line.problems), tuple(line.warnings))


def _put_styles(line: _Line, cell: Cell) -> None:
    """Puts the words of the named styles into the prompts."""
    names = [name.strip() for name in str(cell.value).split(",") if name.strip()]
    known = {name.lower(): name for name in styles()}
    for name in names:
        if name.lower() not in known:
            near = get_close_matches(name.lower(), known, n=1) or list(known)
            valid = ", ".join(known[one] for one in near)
            line.wrong(cell.column, "styles", "unknown style", valid, shown(name))
            return
    given = {name: line.cells.get(name, replace(cell, value="")) for name in PROMPTS}
    prompt, negative = (str(given[name].value) for name in PROMPTS)
    texts = styled(prompt, negative, [known[name.lower()] for name in names])
    for name, text in zip(PROMPTS, texts, strict=True):
        if text:
            line.cells[name] = replace(given[name], value=text)


def _take(line: _Line, name: str, flag: _Word, word: _Word | None) -> None:
    if word is None and name not in _BOOLEANS:
        line.wrong(flag.column, name, "has no value", f'--{name} "" for an empty one')
        return
    value, column = (word.text, word.column) if word else ("true", flag.column)
    asks = value.strip().lower() not in _OFF
    if name in _PASSED_OVER:
        if asks:
            line.warnings.append(
                Problem(line.number, flag.column, name, f"passed over: {_PASSED_OVER[name]}")
            )
    elif name in _REFUSED:
        if asks:
            line.wrong(flag.column, name, *_REFUSED[name], value=shown(value))
    elif name in _COUNTS:
        _count(line, name, value, column)
    elif name == "sampler_index" and value.isdecimal():
        reason = "a number means another sampler in every version"
        line.wrong(column, name, reason, "--sampler_name and its name", shown(value))
    else:
        target = _FIELDS.get(name, name)
        if target in line.cells:
            line.wrong(flag.column, name, f"the {target} is given already", "one of them")
        else:
            line.cells[target] = Cell(from_text(target, value), line.number, column)


def _count(line: _Line, name: str, value: str, column: int) -> None:
    """``--n_iter`` times ``--batch_size``."""
    number = from_text("count", value)
    before = line.cells.get("count", Cell(1, line.number, column))
    if not isinstance(number, int) or number < 1:
        line.wrong(column, name, "not a number of pictures", "an integer from 1", shown(value))
    elif isinstance(before.value, int):
        line.cells["count"] = Cell(before.value * number, line.number, column)


def _stray(line: _Line, word: _Word) -> None:
    line.wrong(
        word.column,
        "",
        f"{shown(word.text)} belongs to no flag, in a line with --",
        'a prompt after --prompt, a value of several words in quotes ("...")',
    )


def _unknown(line: _Line, flag: _Word) -> None:
    name, equals, value = flag.text[2:].partition("=")
    if equals and name.replace("-", "_") in FLAGS:
        valid = f"--{name} {value}"
    else:
        near = get_close_matches(name.lower().replace("-", "_"), FLAGS, n=1)
        valid = f"the nearest, --{near[0]}" if near else " ".join(f"--{one}" for one in FLAGS)
    line.wrong(flag.column, flag.text, "unknown flag", valid)


def _words(line: _Line, text: str) -> list[_Word]:
    """Words as a POSIX shell splits them, with their columns; only unquoted ones are flags."""
    words: list[_Word] = []
    position = 0
    while position < len(text):
        if room := _ROOM.match(text, position):
            position = room.end()
            continue
        found = _WORD.match(text, position)
        if found is None or not _ends(text, found.end()):
            start = found.end() if found else position
            what = "a backslash" if text[start] == "\\" else f"the quote {text[start]}"
            line.wrong(
                start + 1,
                "",
                f"{what} has no partner up to the end of the line",
                'the prompt in double quotes, and \\" for one inside',
            )
            return words
        raw = found[0]
        word = _PART.sub(_unquoted, raw) if _QUOTING.search(raw) else raw
        words.append(_Word(word, position + 1, raw.startswith("--")))
        position = found.end()
    return words


def _ends(text: str, position: int) -> bool:
    return position == len(text) or text[position].isspace()


def _unquoted(part: re.Match[str]) -> str:
    plain, escaped, single, double = part.groups()
    if double is not None:
        return _IN_QUOTES.sub(r"\1", double)
    return str(next(group for group in (plain, escaped, single) if group is not None))

"""From the values of a row to a request that can run, or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from studio.batch.entries import Cell
from studio.batch.problems import Problem, from_error, shown
from studio.errors import ModelError, PictureError, PromptError, RequestError
from studio.facade import Studio
from studio.inputs import ALPHA, HASHED, PICTURES, Inputs
from studio.pipelines.adapter_files import Asked
from studio.pipelines.request import Request

_BLANK = {"prompt": "", "negative_prompt": "", "seed": 0, "variation_seed": 0}


class Checker:
    """Checks rows one by one; what is the same in many of them is looked at once.

    Args:
        folder: that the picture files of the rows are named from.
        inputs: takes the pictures in.
    """

    def __init__(self, folder: Path, inputs: Inputs) -> None:
        self._folder = folder
        self._inputs = inputs
        self._studios: dict[str, Studio] = {}
        self._resolved: dict[str, Request | ModelError | RequestError] = {}
        self._asked: dict[Asked, ModelError | None] = {}
        self._pictures: dict[str, str | PictureError] = {}

    def request(
        self, cells: Mapping[str, Cell], lines: Mapping[int, str]
    ) -> tuple[Request | None, list[Problem]]:
        """The request of a row, or None and all its problems.

        Args:
            cells: the row's values by field.
            lines: the row's own lines by their numbers, to point into its prompts.
        """
        fields = {name: cell.value for name, cell in cells.items()}
        problems: list[Problem] = []
        for name in PICTURES:
            path = fields.get(name)
            if isinstance(path, str) and path:
                fields[name] = path = self.absolute(name, path)
                problems += self._missing(name, path, cells[name])
        while True:
            try:
                request = Request.of(**fields)
            except RequestError as error:
                problems.append(_located(error, cells, lines))
                if fields.pop(error.field, self) is self and error.field != "prompt":
                    return None, problems
                if error.field == "prompt":
                    fields["prompt"] = ""
                continue
            return (None if problems else request), problems

    def resolved(
        self, request: Request, cells: Mapping[str, Cell], lines: Mapping[int, str]
    ) -> tuple[Request | None, list[Problem]]:
        """The request as it will run on its model, every field filled. Loads no weights.

        Args:
            request: what :meth:`request` gave, with its seeds set.
            cells: the row's values by field.
            lines: the row's own lines by their numbers.
        """
        # Thousands of rows differ in prompts and seeds alone, on which nothing else depends.
        own = {name: getattr(request, name) for name in _BLANK}
        key = request.model_copy(update=_BLANK).to_json()
        if key not in self._resolved:
            try:
                self._resolved[key] = self._resolve(request.model_copy(update=_BLANK))
            except (ModelError, RequestError) as error:
                self._resolved[key] = error
        found = self._resolved[key]
        if isinstance(found, Request):
            whole = found.model_copy(update=own)
            problem = self._not_there(whole)
            return (None if problem else whole), [_located(e, cells, lines) for e in problem]
        if isinstance(found, ModelError):
            reason = found.what.removeprefix(f"model = {request.model!r} ").rstrip(".")
            found = RequestError("model", request.model, reason, valid=found.valid)
        return None, [_located(found, cells, lines)]

    def _not_there(self, request: Request) -> list[RequestError]:
        """What the tags of a row's prompt ask for and cannot have."""
        asked = Asked.by(request)
        if asked not in self._asked:
            try:
                asked.check()
                self._asked[asked] = None
            except ModelError as error:
                self._asked[asked] = error
        found = self._asked[asked]
        if found is None:
            return []
        return [RequestError("prompt", request.prompt, found.what.rstrip("."), valid=found.valid)]

    def _resolve(self, request: Request) -> Request:
        if request.model not in self._studios:
            self._studios[request.model] = Studio(request.model, inputs=self._inputs)
        known = {name: self._pictures.get(str(getattr(request, name))) for name in PICTURES}
        update = {name: found for name, found in known.items() if isinstance(found, str)}
        return self._studios[request.model].resolve(request.model_copy(update=update))

    def absolute(self, field: str, name: str) -> str:
        """A picture's path from anywhere; hashes and ``alpha`` stay what they are."""
        if name.startswith(HASHED) or (field, name) == ("mask", ALPHA) or "\0" in name:
            return name
        return os.path.normpath(self._folder / name)

    def _missing(self, field: str, path: str, cell: Cell) -> list[Problem]:
        if path.startswith(HASHED) or (field, path) == ("mask", ALPHA):
            return []
        if path not in self._pictures:
            try:
                self._pictures[path] = self._inputs.add(path)
            except PictureError as error:
                self._pictures[path] = error
        found = self._pictures[path]
        if isinstance(found, str):
            return []
        reason = found.what.rstrip(".")
        return [Problem(cell.line, cell.column, field, reason, found.valid, shown(cell.value))]


def _located(error: RequestError, cells: Mapping[str, Cell], lines: Mapping[int, str]) -> Problem:
    """Where in the file the field of an error stands."""
    cell = cells.get(error.field)
    if cell is None:
        return from_error(error, min(lines, default=0), 0)
    problem = from_error(error, cell.line, cell.column)
    if isinstance(error, PromptError) and isinstance(cell.value, str):
        # Where the prompt stands in the file as it is, the very character is known.
        start = lines.get(cell.line, "").find(cell.value, max(cell.column - 1, 0))
        if start in {cell.column - 1, cell.column}:
            return problem.at(cell.line, start + error.column)
    return problem

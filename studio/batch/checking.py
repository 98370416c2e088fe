"""From the values of a row to a request that can run, or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from studio.batch.entries import Cell
from studio.batch.problems import Problem, from_error, shown
from studio.errors import ModelError, PictureError, PromptError, RequestError
from studio.facade import Studio
from studio.inputs import ALPHA, HASHED, Inputs
from studio.pipelines.request import Request

PICTURES = ("init_image", "mask")
"""The fields that may name a picture file."""


class Checker:
    """Checks rows one by one; what is the same in many of them is looked at once.

    Args:
        folder: that the picture files of the rows are named from.
        inputs: takes the pictures in.
    """

    def __init__(self, folder: Path, inputs: Inputs) -> None:
        self._folder = folder
        self._inputs = inputs
        self._studios: dict[str, Studio | ModelError] = {}
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
        """The request as it will run on its model, every field filled. Loads no weights."""
        studio = self._studio(request.model)
        if isinstance(studio, ModelError):
            at = cells.get("model", Cell(None, min(lines, default=0), 0))
            problem = Problem(at.line, at.column, "model", studio.what.rstrip("."), studio.valid)
            return None, [problem]
        known = {
            name: self._pictures.get(str(getattr(request, name)))
            for name in PICTURES
            if getattr(request, name) is not None
        }
        update = {name: found for name, found in known.items() if isinstance(found, str)}
        try:
            return studio.resolve(request.model_copy(update=update)), []
        except RequestError as error:
            return None, [_located(error, cells, lines)]

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

    def _studio(self, model: str) -> Studio | ModelError:
        if model not in self._studios:
            try:
                self._studios[model] = Studio(model, inputs=self._inputs)
            except ModelError as error:
                self._studios[model] = error
        return self._studios[model]


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

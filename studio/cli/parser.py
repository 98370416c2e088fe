"""The argument parser that all commands share: one layout, and hints for near misses."""

from __future__ import annotations

import argparse
import difflib
import shutil
from argparse import Namespace as Namespace
from collections.abc import Sequence
from typing import Any, NoReturn

MAX_WIDTH = 100


class Layout(argparse.HelpFormatter):
    """Help in at most 100 columns, so that long lines stay readable on a wide terminal."""

    def __init__(self, prog: str, **_: Any) -> None:
        width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
        super().__init__(prog, max_help_position=30, width=width)


class Parser(argparse.ArgumentParser):
    """An :class:`argparse.ArgumentParser` that takes no abbreviations and names the nearest flag.

    Mistakes end the program with exit code 2, as usual.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=Layout, **settings)

    # The base class has three overloads for the type of the namespace; we only use one.
    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> Namespace:
        options, extras = self.parse_known_args(args, namespace)
        if extras:
            self.error(self._explain(extras))
        return options

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2 and one message."""
        self.exit(2, f"studio: error: {message}. See '{self.prog} --help'.\n")

    def _explain(self, extras: list[str]) -> str:
        first = extras[0].partition("=")[0]
        if not first.startswith("-"):
            return f"unexpected {' '.join(extras)!r}; put a text of several words in quotes"
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        nearest = difflib.get_close_matches(first, flags, n=1)
        hint = f", the nearest is {nearest[0]}" if nearest else ""
        return f"unknown flag {first}{hint}"

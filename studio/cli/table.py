"""Tables on standard output: wrapped on a terminal, one line a row in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

_ENDLESS = 100_000


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints the rows under their heads; texts are shown as they are, never as markup."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD if on_terminal else None, pad_edge=False)
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if on_terminal else _ENDLESS).print(table)


def human_size(size: float) -> str:
    """Bytes in decimal units: ``43.1 MB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"

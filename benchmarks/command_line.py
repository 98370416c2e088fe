"""What the benchmarks take on the command line alike."""

from __future__ import annotations

import argparse
from pathlib import Path


def command_line(
    module: str, text: str | None, *, model: bool = False, data: bool = False
) -> argparse.ArgumentParser:
    """A parser for ``python -m benchmarks.<module>`` that shows ``text`` as it is written.

    Args:
        model: whether it takes ``--model``, mini where none is named.
        data: whether it needs ``--data``, the file of drawings.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if data:
        made.add_argument("--data", type=Path, required=True, help="file made by studio train data")
    if model:
        made.add_argument("--model", default="mini", help="model or folder of weights (mini)")
    return made

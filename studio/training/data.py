"""``studio train data``: fetch the named packages and make the one file of drawings."""

from __future__ import annotations

import time

from studio.errors import StudioError
from studio.training.data_recipe import load_recipe
from studio.training.drawings import prepare
from studio.training.options import TrainOptions

_SECONDS = 10.0


def run(options: TrainOptions) -> None:
    """Write the file of drawings to ``options.out`` and print what is in it.

    Raises:
        StudioError: an option that this part does not know, or see
            :func:`studio.training.drawings.prepare`.
    """
    if options.data or options.init_from or options.overrides or options.resume:
        raise StudioError("studio train data takes --recipe and --out only.")
    began = shown = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > _SECONDS or done == total:
            shown = now
            left = (now - began) * (total - done) / done
            print(f"rendered {done}/{total}  ETA {left:.0f} s", flush=True)

    summary = prepare(load_recipe(options.recipe), options.out, progress=progress)
    print(
        f"{summary.drawings} drawings of {summary.concepts} concepts ({summary.everyday} everyday)"
    )
    for style, count in sorted(summary.per_style.items()):
        print(f"  {style}: {count}")
    print(f"{summary.heldout} held out; {len(summary.broken)} broken: {', '.join(summary.broken)}")
    print(f"{options.out}: {summary.size / 1e6:.1f} MB, sha256 {summary.sha256}")

"""``studio verify``: draws pictures again from their recipes and compares the pixels."""

from __future__ import annotations

import json
import math
from pathlib import Path

from studio.cli.flags import add_json_flag, add_machine_flags
from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.metadata import read_recipe
from studio.verify import Verdict, verify


def configure(parser: Parser) -> None:
    """Adds the pictures and what to draw them with."""
    parser.usage = "studio verify [options] PICTURE..."
    parser.add_argument(
        "pictures", type=Path, nargs="+", metavar="PICTURE", help="PNG, JPEG or WebP files"
    )
    parser.add_argument(
        "--model", metavar="TEXT", help="draw with this model instead of the recipe's"
    )
    parser.add_argument(
        "--init-image", type=Path, metavar="PICTURE", help="what it started from, if from a picture"
    )
    parser.add_argument("--mask", type=Path, metavar="PICTURE", help="its mask, if it had one")
    for name in ("control-image", "ip-adapter-image"):
        about = f"its {name.replace('-', ' ')}, if it had one"
        parser.add_argument(f"--{name}", type=Path, metavar="PICTURE", help=about)
    add_json_flag(parser, "one JSON object a line")
    add_machine_flags(parser)


def run(options: Namespace) -> int:
    """Prints a verdict a picture: exit code 0 where all are bit-exact, 1 where not.

    That each has a recipe is checked before the first is drawn.
    """
    for path in options.pictures:
        read_recipe(path)
    quiet_libraries()
    exact = True
    for path in options.pictures:
        verdict = verify(
            path,
            model=options.model,
            device=options.device,
            precision=options.precision,
            attention=options.attention,
            memory=options.memory,
            init_image=options.init_image,
            mask=options.mask,
            control_image=options.control_image,
            ip_adapter_image=options.ip_adapter_image,
        )
        print(_as_json(verdict) if options.json else as_text(verdict), flush=True)
        exact = exact and verdict.exact
    return 0 if exact else 1


def as_text(verdict: Verdict) -> str:
    """The verdict in one line, then the likely causes of a difference, one a line."""
    if verdict.exact:
        return f"{verdict.path}: bit-exact"
    likeness = "another size" if verdict.psnr_db is None else f"PSNR {verdict.psnr_db:.1f} dB"
    return "\n".join(
        [f"{verdict.path}: differs, {likeness}", *(f"  {cause}" for cause in verdict.causes)]
    )


def _as_json(verdict: Verdict) -> str:
    psnr_db = verdict.psnr_db
    return json.dumps(
        {
            "path": str(verdict.path),
            "exact": verdict.exact,
            # JSON has no infinity: null stands for a picture of another size or an exact one.
            "psnr_db": psnr_db if psnr_db is not None and math.isfinite(psnr_db) else None,
            "causes": list(verdict.causes),
        }
    )

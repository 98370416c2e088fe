"""``studio score``: how well pictures show what a text says."""

from __future__ import annotations

import json
from pathlib import Path

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.picture_files import read_picture


def configure(parser: Parser) -> None:
    """Adds the pictures and the text."""
    parser.usage = "studio score [options] PICTURE [PICTURE ...] TEXT"
    parser.epilog = 'Example: studio score outputs/*.png "a red apple"'
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="picture files")
    parser.add_argument("text", metavar="TEXT", help="what they should show")
    add_json_flag(parser, "one JSON object a line")


def run(options: Namespace) -> int:
    """Prints each picture's cosine to the text, the best first."""
    pictures = [read_picture(path) for path in options.pictures]
    quiet_libraries()
    from studio.scoring import Scorer

    scorer = Scorer.load()
    near = scorer.similarities(pictures, [options.text])[:, 0].tolist()
    for score, path in sorted(zip(near, options.pictures, strict=True), key=lambda row: -row[0]):
        line = {"path": str(path), "score": round(score, 4)}
        print(json.dumps(line) if options.json else f"{score:+.3f}  {path}")
    return 0

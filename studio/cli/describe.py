"""``studio describe``: what a picture shows."""

from __future__ import annotations

import json
from pathlib import Path

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.picture_files import read_picture


def configure(parser: Parser) -> None:
    """Adds the picture."""
    parser.usage = "studio describe [options] PICTURE"
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="picture file")
    add_json_flag(parser, "one JSON object: caption and guesses")


def run(options: Namespace) -> int:
    """Prints a caption that can be used as a prompt, then the likeliest things."""
    picture = read_picture(options.picture)
    quiet_libraries()
    from studio.scoring import Scorer

    scorer = Scorer.load()
    caption, guesses = scorer.caption(picture), scorer.describe(picture)
    if options.json:
        things = [{"text": guess.text, "share": round(guess.share, 4)} for guess in guesses]
        print(json.dumps({"caption": caption, "guesses": things}))
        return 0
    print(caption)
    for guess in guesses:
        print(f"{guess.share:6.1%}  {guess.text}")
    return 0

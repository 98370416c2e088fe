"""``studio generate``: draws the pictures of one request into a folder."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

from studio.cli import progress
from studio.cli.flags import add_json_flag, add_machine_flags, add_request_flags, request_fields
from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.contact_sheet import ContactSheet
from studio.errors import OutputError
from studio.facade import Studio
from studio.picture import Picture
from studio.pipelines.request import Request


def configure(parser: Parser) -> None:
    """Adds the request's fields and where the pictures go."""
    parser.usage = "studio generate [options] PROMPT"
    parser.epilog = 'Example: studio generate "a red apple" --count 4 --seed 1 --grid'
    add_request_flags(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="where the pictures go (default outputs)",
    )
    output.add_argument("--grid", action="store_true", help="also one labelled sheet of them all")
    output.add_argument(
        "--rank",
        type=_positive,
        default=1,
        metavar="N",
        help="draw N candidates for each picture and keep those that show the prompt best",
    )
    output.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="pictures drawn at once (default: as fits)",
    )
    add_json_flag(output, "one JSON object a line on standard output: start, step, picture, grid")
    output.add_argument("-q", "--quiet", action="store_true", help="print nothing but the paths")
    machine = add_machine_flags(parser)
    machine.add_argument(
        "--allow-download", action="store_true", help="fetch a model of the hub that is not here"
    )


def run(options: Namespace) -> int:
    """Draws, and saves each picture as soon as it is there."""
    quiet_libraries()
    request = Request.of(**request_fields(options))
    studio = Studio(
        request.model,
        device=options.device,
        precision=options.precision,
        attention=options.attention,
        memory=options.memory,
        allow_download=options.allow_download,
    )
    request = studio.resolve(request)
    wanted = request.count
    request = Request.of(**{**request.model_dump(), "count": wanted * options.rank})
    _check_folder(options.out)
    sheet: ContactSheet | None = None
    with progress.choose(as_json=options.json, quiet=options.quiet) as report:
        pictures = studio.generate(request, on_step=report.step, batch_size=options.batch_size)
        report.start(request)
        if options.rank > 1:
            pictures = _best(pictures, wanted)
        for picture in pictures:
            report.picture(picture, picture.save(options.out))
            if options.grid:
                sheet = sheet or ContactSheet(wanted, picture.image.size)
                sheet.add(picture.image, _label(picture))
        if sheet:
            report.file("grid", sheet.save(options.out, f"grid_{request.seed}"))
    return 0


def _best(pictures: Iterator[Picture], wanted: int) -> Iterator[Picture]:
    """The pictures that show their prompt best, best first."""
    from studio.scoring import Scorer

    drawn = list(pictures)
    places = Scorer.load().ranked([one.image for one in drawn], drawn[0].request.prompt)
    return iter([drawn[place] for place in places[:wanted]])


def _check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be written to now, not after the first picture is drawn."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usable = there.is_dir() and os.access(there, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise OutputError(
            f"--out {folder} cannot be written to.", valid="a folder, there or yet to be made"
        )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def _label(picture: Picture) -> str:
    """What tells this picture from the others of its sheet."""
    request = picture.request
    if request.variation_strength > 0:
        return f"variation {request.variation_seed}"
    return f"seed {request.seed}"

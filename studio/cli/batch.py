"""``studio batch``: draws what a file of prompts asks for, and goes on where it was ended."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from studio.batch.artist import StudioArtist
from studio.batch.batch import run_batch
from studio.batch.engine import Engine, Here
from studio.batch.forms import FORMS
from studio.batch.history import remember
from studio.batch.job import Job, Result, jobs_of
from studio.batch.journal import HIDDEN
from studio.batch.naming import TEMPLATE
from studio.batch.rows import BadRow, Sheet, read
from studio.cli import batch_progress as progress
from studio.cli.batch_tables import print_plan
from studio.cli.flags import add_json_flag, add_machine_flags, add_request_flags, request_fields
from studio.cli.interruption import Interruption
from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.errors import OutputError, RequestError, RunError
from studio.inputs import Inputs

if TYPE_CHECKING:
    from studio.pipelines.drawing import Step

INTERRUPTED = 130

_ENGINES = ("local", "ray")


def configure(parser: Parser) -> None:
    """Adds the file, where the pictures go, and how they are drawn."""
    parser.usage = "studio batch [options] FILE --out FOLDER"
    parser.epilog = (
        "Examples: studio batch prompts.txt --out pictures; "
        'studio batch prompts.csv --out pictures --each seed=1..4 --each "sampler=Euler a,DPM++ 2M"'
    )
    parser.add_argument("file", metavar="FILE", help="text, CSV or JSONL; - is standard input")
    files = parser.add_argument_group("file")
    files.add_argument("--form", choices=FORMS, default="auto", help="of the file (default auto)")
    files.add_argument(
        "--each",
        action="append",
        default=[],
        metavar="FIELD=VALUES",
        help='draw every row with each of the values: seed=1..4, sampler="Euler a,DPM++ 2M"',
    )
    files.add_argument("--wildcards", type=Path, metavar="FOLDER", help="files for __name__")
    files.add_argument(
        "--choices-seed",
        type=_natural,
        default=0,
        metavar="N",
        help="what random choices, and seeds left open, follow from (default 0)",
    )
    files.add_argument(
        "--iterate-seed", action="store_true", help="rows without a seed count on from --seed"
    )
    files.add_argument("--same-seed", action="store_true", help="rows without a seed have --seed")
    files.add_argument(
        "--rows", type=_range, metavar="A-B", help="only these rows of the file, from 1"
    )
    files.add_argument(
        "--skip-bad", action="store_true", help="rows that cannot be drawn fail; the others go on"
    )
    before = parser.add_argument_group("instead of drawing")
    before.add_argument("--check", action="store_true", help="report every problem of the file")
    before.add_argument(
        "--plan", action="store_true", help="count pictures and estimate time and disk"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="FOLDER", help="where the pictures go")
    output.add_argument(
        "--name",
        default=TEMPLATE,
        metavar="TEXT",
        help=f"template of the file names (default {TEMPLATE})",
    )
    add_json_flag(output, "one JSON object a line on standard output")
    output.add_argument("-q", "--quiet", action="store_true", help="print nothing but the paths")
    workers = parser.add_argument_group("workers")
    workers.add_argument(
        "--engine",
        choices=_ENGINES,
        default="local",
        help="this machine, or the machines of a Ray cluster (default local)",
    )
    workers.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes that draw at the same time, one a GPU (default 1; ray: all GPUs)",
    )
    add_request_flags(parser, prompt=False)
    add_machine_flags(parser)


def run(options: Namespace) -> int:
    """Checks the whole file first; then plans, or draws what is missing."""
    quiet_libraries()
    drawing = not (options.check or options.plan)
    if not (options.check or options.out):
        raise RequestError("--out", None, "is missing", valid="a folder for the pictures")
    inputs = options.out / HIDDEN / "inputs" if drawing else None
    sheet = read(
        "-" if options.file == "-" else Path(options.file),
        form=options.form,
        wildcards=options.wildcards,
        each=options.each,
        choices_seed=options.choices_seed,
        iterate_seed=options.iterate_seed,
        same_seed=options.same_seed,
        base=request_fields(options),
        inputs=Inputs(inputs),
    )
    _show_problems(options, sheet)
    if sheet.fatal or (sheet.bad and not options.skip_bad) or options.check:
        return RequestError.exit_code if sheet.problems else 0
    rows = options.rows or range(1, len(sheet.rows) + len(sheet.bad) + 1)
    jobs = [job for job in jobs_of(sheet.rows, sheet.choices_seed) if job.row.index in rows]
    bad = [row for row in sheet.bad if row.index in rows]
    if options.plan:
        print_plan(options.out, jobs, bad, as_json=options.json)
        return 0
    return _draw(options, jobs, bad, inputs)


def _draw(
    options: Namespace, jobs: Sequence[Job], bad: Sequence[BadRow], inputs: Path | None
) -> int:
    ended: list[Result] = []
    with progress.choose(as_json=options.json, quiet=options.quiet) as report:

        def notice() -> None:
            report.say("finishing the picture in hand; Ctrl-C again stops at once")

        with Interruption(notice) as interruption:
            results = run_batch(
                options.out,
                jobs,
                lambda: _engine(options, inputs, report.step),
                bad=bad,
                template=options.name,
                stop=lambda: interruption.asked,
                watcher=report,
            )
            try:
                for result in results:
                    report.result(result)
                    ended.append(result)
            except OutputError:
                report.say(_resume("nothing is partial; once that is mended"))
                raise
            finally:
                remember(ended)
    report.end(options.out, len(bad))
    if interruption.asked and report.ended < report.total:
        report.say(_resume("to go on"))
        return INTERRUPTED
    return RunError.exit_code if report.failed or bad else 0


def _engine(options: Namespace, inputs: Path | None, on_step: Callable[[Step], None]) -> Engine:
    def artist(device: str, threads: int | None) -> StudioArtist:
        runtime = device, options.precision, options.attention, options.memory
        return StudioArtist(*runtime, inputs=inputs, threads=threads)

    if options.engine == "ray":
        from studio.batch.ray_engine import cluster

        return cluster(artist, options.device, options.workers)
    if (options.workers or 1) > 1:
        from studio.batch.process_engine import Processes, each_device

        return Processes(*each_device(options.workers, artist, options.device))
    runtime = options.device, options.precision, options.attention, options.memory
    return Here(StudioArtist(*runtime, inputs=inputs, on_step=on_step))


def _show_problems(options: Namespace, sheet: Sheet) -> None:
    """All that is wrong with the file, one problem a line."""
    for kind, problems in (("warning", sheet.warnings), ("error", sheet.problems)):
        for problem in problems:
            if options.json:
                print(json.dumps({"event": kind, **asdict(problem)}))
            else:
                print(f"studio: {kind}: {options.file}: {problem}", file=sys.stderr)
    if options.check and not options.json:
        rows = f"{len(sheet.rows)} rows can be drawn"
        count = len(sheet.problems)
        found = "no problems" if not count else f"{count} problem{'s' * (count > 1)}"
        print(f"{options.file}: {found}, {rows}")


def _resume(why: str) -> str:
    return f"{why}: {shlex.join(['studio', *sys.argv[1:]])}"


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if not _natural(text):
        raise ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) > 0):
        raise ArgumentTypeError(f"{text!r} is not a range like 1-500")
    return range(int(first), int(last or first) + 1)

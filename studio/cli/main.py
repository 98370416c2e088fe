"""``studio``: finds the command, runs it, and turns what went wrong into one line and an exit code.

Only the module of the chosen command is imported, and torch only by the commands that draw, so
that ``studio --help`` and every refusal answer at once.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Protocol, cast

import studio
from studio.cli.parser import Namespace, Parser
from studio.errors import StudioError

COMMANDS = {
    "generate": "draw pictures from a prompt",
    "batch": "draw what a file of prompts asks for, and go on where it was ended",
    "upscale": "make pictures larger",
    "samplers": "list the samplers and the schedules that each can run on",
    "models": "list the models, add yours, or forget them",
    "info": "show the recipes that pictures carry",
    "verify": "draw pictures again from their recipes and compare",
    "score": "say how well pictures show what a text says",
    "describe": "say what a picture shows",
    "web": "serve the page, and the doors for other programs",
    "train": "train the model in the box, part by part",
}
"""Name of each command, which is also its module in ``studio.cli``, and what it does."""

_ELSEWHERE = {"web": "studio.webui.command"}
"""Modules above this room: found by name when they are asked for."""

INTERRUPTED = 130


class Command(Protocol):
    """What a command's module offers."""

    def configure(self, parser: Parser) -> None:
        """Adds the command's arguments to its parser."""

    def run(self, options: Namespace) -> int:
        """Runs the command and returns its exit code; mistakes of the user are StudioErrors."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Codes: 0 done, 1 ``verify`` found a difference, 2 usage or request, 130 interrupted; the other
    errors have the ``exit_code`` of their class in :mod:`studio.errors`.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    before = _on_interrupt(interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any prompt can be shown on any terminal
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except StudioError as error:
        return INTERRUPTED if interrupted else _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        interrupted = True
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (``studio samplers | head``): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        # An import that is interrupted may surface as any error of the imported library.
        if interrupted:
            return INTERRUPTED
        raise
    finally:
        if interrupted:
            _on_interrupt(signal.SIG_IGN)
            _fail("interrupted; what was saved so far is complete", INTERRUPTED)
            if argv is None:  # as a program: torch, half imported, takes seconds to take down
                sys.stdout.flush()
                os._exit(INTERRUPTED)
        _on_interrupt(before)


def parser() -> Parser:
    """The parser of ``studio`` itself: it only knows the names of the commands."""
    top = Parser(
        prog="studio",
        usage="studio COMMAND ...",
        description="latent-studio: pictures from a line of text.",
        epilog="'studio COMMAND --help' explains a command.",
    )
    top.add_argument("--version", action="version", version=f"latent-studio {studio.__version__}")
    commands = top.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    return top


def _run(argv: list[str]) -> int:
    if not argv or argv[0] not in COMMANDS:
        parser().parse_args(argv or ["--help"])
        raise AssertionError("the parser ends where no command is named")
    name = argv[0]
    command = cast(Command, importlib.import_module(_ELSEWHERE.get(name, f"studio.cli.{name}")))
    own = Parser(prog=f"studio {name}", description=f"{COMMANDS[name].capitalize()}.")
    command.configure(own)
    return command.run(own.parse_args(argv[1:]))


def _fail(message: str, exit_code: int) -> int:
    print(f"studio: error: {message}", file=sys.stderr)
    return exit_code


def _on_interrupt(handler: object) -> object:
    """Sets what Ctrl-C does and returns what it did; outside the main thread nothing changes."""
    try:
        return signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
    except ValueError:
        return handler


if __name__ == "__main__":
    sys.exit(main())

"""Flags that several commands share. Those of a request are read off the request itself."""

from __future__ import annotations

from argparse import _ActionsContainer
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

from studio.cli.parser import Namespace, Parser
from studio.pipelines.attention import AUTO, BACKENDS
from studio.pipelines.placement import MEMORY
from studio.pipelines.request import Request

_METAVARS = {int: "N", float: "X", str: "TEXT"}


def add_request_flags(parser: Parser, *, prompt: bool = True) -> None:
    """Adds one flag per field of :class:`Request`, of the same name.

    Args:
        prompt: whether the prompt is an argument; without it, the flags are for many prompts.
    """
    about = "What is left out is the model's own default, and the seed is drawn at random."
    if not prompt:
        about = "For rows that say nothing else."
    group = parser.add_argument_group("request", about)
    for name, field in Request.model_fields.items():
        kind, choices = _kind(field.annotation)
        text = (field.description or "").replace("%", "%%")
        if field.is_required():
            if not prompt:
                continue
            parser.add_argument(name, metavar=name.upper(), type=_reader(kind), help=text)
            continue
        if field.default not in (None, "", ()):
            shown = f"{field.default:g}" if kind is float else field.default
            text += f" (default {shown})" if kind is not bool else ""
        flag = f"--{name.replace('_', '-')}"
        if kind is bool:
            group.add_argument(flag, dest=name, action="store_true", default=None, help=text)
            continue
        if get_origin(field.annotation) is tuple:
            text += "; as often as you like"
            group.add_argument(flag, dest=name, action="append", metavar="TEXT", help=text)
            continue
        group.add_argument(
            flag,
            dest=name,
            metavar="|".join(choices) or _METAVARS[kind],
            type=_reader(kind),
            default=None,
            help=text,
        )


def request_fields(options: Namespace) -> dict[str, object]:
    """The fields of a request that were given on the command line."""
    given = {name: getattr(options, name, None) for name in Request.model_fields}
    return {name: value for name, value in given.items() if value is not None}


def add_machine_flags(parser: Parser) -> _ActionsContainer:
    """Adds, as a group, what says where and how to draw; it is no part of the request."""
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps"
    )
    group.add_argument("--precision", default="auto", metavar="NAME", help="auto, fp32, bf16, fp16")
    backends = ", ".join([AUTO, *(backend.name for backend in BACKENDS)])
    group.add_argument("--attention", default="auto", metavar="NAME", help=backends)
    group.add_argument("--memory", default="auto", metavar="MODE", help=", ".join([AUTO, *MEMORY]))
    return group


def add_json_flag(parser: _ActionsContainer, text: str) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", help=text)


def _kind(annotation: Any) -> tuple[type, tuple[str, ...]]:
    """The plain type inside ``Annotated[int, ...] | None`` and the like, and a literal's texts."""
    if annotation is bool or annotation in _METAVARS:
        return annotation, ()
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return str, inner
    if get_origin(annotation) is Annotated:
        inner = inner[:1]
    for part in inner:
        if part is not type(None):
            return _kind(part)
    raise TypeError(f"a request field of type {annotation} has no flag yet")


def _reader(kind: type) -> Callable[[str], object]:
    """Reads a flag's value; what cannot be read stays text, which the request refuses by name."""

    def read(text: str) -> object:
        try:
            return kind(text)
        except ValueError:
            return text

    return read

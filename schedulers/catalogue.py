"""The sampler catalogue: names, aliases and which pairs of sampler and spacing can work.

The table itself is data, ``configs/samplers.yaml``. This module loads neither torch nor
diffusers, so that a request can be checked before either is needed; :func:`build` loads them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from studio.errors import RequestError

if TYPE_CHECKING:
    from studio.schedulers.stepping import Scheduler

AUTOMATIC = "Automatic"


@dataclass(frozen=True)
class Schedule:
    """How the noise levels of the steps are spaced."""

    name: str
    description: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sampler:
    """One way to walk from noise to a picture.

    Attributes:
        name: the name that people use ("DPM++ 2M").
        aliases: other names of it, from A1111, ComfyUI and diffusers.
        scheduler: import path of the scheduler class; ``diffusers.X`` or a class of ours.
        options: what ``from_config`` gets over the model's own scheduler configuration.
        explicit: import path of an equal solver for what ``scheduler`` cannot do: other spacings,
            zero terminal SNR, sample prediction (empty: ``scheduler`` itself).
        explicit_options: its ``options``.
        predictions: the kinds of model output that ``scheduler`` knows.
        final_sigma: the last noise level of explicit spacings.
        order: order of convergence (weak order where stochastic).
        evaluations: model calls a step.
        stochastic: whether it adds noise on the way.
        distilled: whether it is right only for models distilled for it.
        spacings: names of the schedules that it works with.
    """

    name: str
    scheduler: str
    order: int
    description: str
    spacings: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    explicit: str = ""
    explicit_options: Mapping[str, Any] = field(default_factory=dict)
    predictions: tuple[str, ...] = ("epsilon", "v_prediction", "sample")
    final_sigma: float = 0.0
    evaluations: int = 1
    stochastic: bool = False
    distilled: bool = False


@cache
def _tables() -> tuple[tuple[Sampler, ...], tuple[Schedule, ...]]:
    text = resources.files("studio.configs").joinpath("samplers.yaml").read_text("utf-8")
    table = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    every = tuple(
        Schedule(**{name: _frozen(value) for name, value in row.items()})
        for row in table["schedules"]
    )
    names = tuple(schedule.name for schedule in every)
    rows = tuple(
        Sampler(**{"spacings": names, **{name: _frozen(value) for name, value in row.items()}})
        for row in table["samplers"]
    )
    return rows, every


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def samplers() -> tuple[Sampler, ...]:
    """Every sampler, in the order of the table."""
    return _tables()[0]


def schedules() -> tuple[Schedule, ...]:
    """Every schedule (spacing of the noise levels), in the order of the table."""
    return _tables()[1]


def sampler(name: str) -> Sampler:
    """The sampler of this canonical name; raises KeyError for any other."""
    return {row.name: row for row in samplers()}[name]


def table() -> list[dict[str, str]]:
    """The catalogue as rows of text, one a sampler, for printing.

    Keys: ``sampler``, ``order``, ``model calls``, ``noise``, ``schedules``, ``aliases``,
    ``description``.
    """
    total = len(schedules())
    return [
        {
            "sampler": row.name,
            "order": str(row.order),
            "model calls": str(row.evaluations),
            "noise": "yes" if row.stochastic else "no",
            "schedules": "all" if len(row.spacings) == total else ", ".join(row.spacings),
            "aliases": ", ".join(row.aliases),
            "description": row.description,
        }
        for row in samplers()
    ]


def resolve(sampler: str, schedule: str | None = None) -> tuple[str, str]:
    """Canonical names of a sampler and a schedule.

    Spelling is loose: case, spaces, ``_`` and ``-`` do not matter, ``++`` equals ``pp``, a
    trailing ``_gpu`` is dropped, and a schedule may follow the sampler ("DPM++ 2M Karras").

    Args:
        sampler: any name of a sampler.
        schedule: any name of a schedule; None means what the sampler's name says, or Automatic.

    Returns:
        (sampler, schedule), names of :func:`samplers` and :func:`schedules`.

    Raises:
        RequestError: an unknown name (the nearest are named), two schedules that contradict each
            other, or a pair that cannot work (the schedules that would are named).
    """
    row, implied = _split(sampler)
    if schedule is None:
        chosen = implied or AUTOMATIC
    else:
        chosen = _schedule(schedule)
        if implied and implied != chosen:
            raise RequestError(
                "schedule",
                schedule,
                f"the sampler {sampler!r} already names the schedule {implied}",
                valid=f"{implied}, or the sampler {row.name} without a schedule in its name",
            )
    if chosen not in row.spacings:
        raise RequestError(
            "schedule",
            schedule or chosen,
            f"{row.name} cannot work with it",
            valid=f"for {row.name}: {', '.join(row.spacings)}",
        )
    return row.name, chosen


def build(
    sampler: str,
    schedule: str,
    steps: int,
    scheduler_config: Mapping[str, Any],
    device: str = "cpu",
) -> Scheduler:
    """A diffusers scheduler with its timesteps set; see :func:`studio.schedulers.building.build`.

    Loads torch and diffusers.
    """
    from studio.schedulers import building

    return building.build(sampler, schedule, steps, scheduler_config, device)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "p")).removesuffix("gpu")


@cache
def _sampler_keys() -> dict[str, Sampler]:
    return {_key(name): row for row in samplers() for name in (row.name, *row.aliases)}


@cache
def _schedule_keys() -> dict[str, str]:
    return {_key(name): row.name for row in schedules() for name in (row.name, *row.aliases)}


def _split(name: str) -> tuple[Sampler, str | None]:
    """The sampler of a name, and the schedule that the name ends in, if any."""
    key, known = _key(name), _sampler_keys()
    if key in known:
        return known[key], None
    for suffix, schedule in _schedule_keys().items():
        stem = key.removesuffix(suffix)
        if stem != key and _key(stem) in known:
            return known[_key(stem)], schedule
    raise RequestError("sampler", name, "unknown sampler", valid=_nearest(key, samplers()))


def _schedule(name: str) -> str:
    key = _key(name)
    if key not in _schedule_keys():
        raise RequestError("schedule", name, "unknown schedule", valid=_nearest(key, schedules()))
    return _schedule_keys()[key]


def _nearest(key: str, rows: tuple[Sampler, ...] | tuple[Schedule, ...]) -> str:
    """Names near to a key, or all of them where none is near."""
    owners = {_key(name): row.name for row in rows for name in (row.name, *row.aliases)}
    near = difflib.get_close_matches(key, owners, n=5, cutoff=0.6)
    names = list(dict.fromkeys(owners[match] for match in near))
    if names:
        return f"nearest: {', '.join(names)}"
    return ", ".join(row.name for row in rows)

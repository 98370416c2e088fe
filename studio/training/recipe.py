"""Training recipes: YAML in ``configs/training`` or a file of one's own, with overrides."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from studio.errors import StudioError
from studio.training.options import TrainOptions


class Frozen(BaseModel):
    """A part of a recipe: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoopRecipe(Frozen):
    """How long and how fast to learn; the same for every part of the model."""

    seed: int = 0
    steps: int = Field(gt=0, description="optimiser steps in all")
    batch_size: int = Field(gt=0, description="examples a step and process")
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    decay_steps: int = Field(
        default=0, ge=0, description="last steps, where the rate falls to zero"
    )
    weight_decay: float = Field(default=0.01, ge=0)
    muon: bool = Field(default=False, description="matrices learn by Muon, the rest by AdamW")
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    precision: Literal["no", "fp16", "bf16"] = "no"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    log_seconds: float = Field(default=15.0, gt=0)
    workers: int = Field(default=0, ge=0, description="processes that draw batches ahead")
    minutes: float | None = Field(
        default=None, gt=0, description="ends earlier by the clock; then no run is like another"
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _no_is_a_word(cls, value: object) -> object:
        return "no" if value is False else value  # YAML reads a bare no as false


class Recipe(Frozen):
    """Base of the parts' recipes."""

    loop: LoopRecipe

    @classmethod
    def read(cls, options: TrainOptions, name: str) -> Self:
        """The recipe named by the options, or the part's own, with the overrides applied.

        Args:
            options: ``overrides`` are ``dotted.key=value`` with YAML values.
            name: file name (without ``.yaml``) in ``configs/training``.

        Raises:
            StudioError: the file cannot be read, or a key or value is not valid.
        """
        where = options.recipe or own_recipe(name)
        return read(cls, where, "training recipe", options.overrides)


T = TypeVar("T", bound=Frozen)


def own_recipe(name: str) -> Traversable:
    """The recipe ``name`` (without ``.yaml``) that comes with the studio."""
    return resources.files("studio.configs") / "training" / f"{name}.yaml"


def read(kind: type[T], where: Traversable, what: str, overrides: Sequence[str] = ()) -> T:
    """A recipe of any kind from a YAML file, with the overrides applied.

    Args:
        what: names the recipe in errors.
        overrides: ``dotted.key=value`` with YAML values.

    Raises:
        StudioError: the file cannot be read, or a key or value is not valid.
    """
    try:
        values: dict[str, Any] = yaml.safe_load(where.read_text(encoding="utf-8"))
        for override in overrides:
            _override(values, override)
        return kind.model_validate(values)
    except OSError as error:
        raise StudioError(f"The {what} {where} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise StudioError(f"The {what} {where} is not YAML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StudioError(f"The {what} {where} is wrong at {key}: {first['msg']}.") from error


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *path, last = key.split(".")
    if not equals or not last:
        raise StudioError(f"--set {override} is not an override.", valid="dotted.key=value")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise StudioError(f"--set {override}: {part} holds a value, not keys.")
    values[last] = yaml.safe_load(value)

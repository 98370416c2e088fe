"""The one job spec: what to draw, checked before any weights load.

Page, HTTP, Python, command line and prompt files all come in through :class:`Request`. The module
loads neither torch nor diffusers.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from studio.errors import RequestError
from studio.pipelines import prompt_grammar
from studio.pipelines.refusals import as_request_error
from studio.pipelines.request_rules import (
    check_adapters,
    check_company,
    check_interval,
    listed,
)
from studio.schedulers import catalogue

SEEDS = 2**64
"""Seeds run from 0 to ``SEEDS - 1`` and wrap around."""

_DRAWN_SEEDS = 2**32  # drawn seeds stay in the range that other tools can type in
_STRENGTH, _HIRES_STRENGTH, _REFINER_START = 0.75, 0.5, 0.8
_LONGEST_NAME = 100  # of a sampler or a schedule; what is longer is not even compared

_PATHS = (
    "model", "refiner", "init_image", "mask", "hires_upscaler",
    "control", "control_image", "ip_adapter", "ip_adapter_image",
)  # fmt: skip

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]
PromptText = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(max_length=_LONGEST_NAME)]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Paths = Annotated[tuple[Path, ...], Field(max_length=32), BeforeValidator(listed)]
Edge = Annotated[int, Field(ge=0, le=2048, multiple_of=8)]


@dataclass(frozen=True)
class Defaults:
    """What a model card asks for where a request leaves a field open.

    Args:
        sampler: canonical name of a sampler.
        schedule: canonical name of a spacing that the sampler can run on.
        steps: denoising steps, 1 to 1000.
        guidance_scale: strength of classifier-free guidance, 0 to 100 (1 = none).
        width: pixels, a multiple of 8.
        height: pixels, a multiple of 8.
        upscale: how many times an upscaler enlarges, None = the model is none.
        noise_level: of an upscaler.
    """

    sampler: str
    schedule: str
    steps: int
    guidance_scale: float
    width: int
    height: int
    upscale: int | None = None
    noise_level: int | None = None


class Request(BaseModel):
    """What to draw. Frozen; an open field (``None``) means the model's own default.

    Build it with :meth:`of` or :meth:`from_json`, whose failures are all
    :class:`~studio.errors.RequestError`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    prompt: PromptText = Field(description="what to draw")
    negative_prompt: PromptText = Field("", description="what to keep away from")
    model: Path = Field("mini", description="name of a model card, or a folder of weights")
    lora: Paths = Field((), description="LoRA by name or path, and its weight after a colon")
    embedding: Paths = Field((), description="textual inversion by name or path")
    vae: Path | None = Field(None, description="decoder in place of the model's own")
    sampler: Name | None = Field(None, description="sampler, under any name people use for it")
    schedule: Name | None = Field(None, description="spacing of the noise levels")
    steps: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="denoising steps")
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        None, description="classifier-free guidance, 1 = none"
    )
    guidance_rescale: Share = Field(
        0.0, description="how far guidance keeps the contrast of the unguided prediction"
    )
    guidance_start: Share = Field(0.0, description="share of the steps after which guidance acts")
    guidance_end: Share = Field(1.0, description="share of the steps until which guidance acts")
    reuse: Annotated[int, Field(ge=1, le=10)] = Field(
        1, description="steps that share the U-Net's deep blocks: faster, less exact"
    )
    clip_skip: Annotated[int, Field(ge=1, le=12)] = Field(
        1, description="text encoder layer counted from the last, 1 = the last"
    )
    seed: Seed | None = Field(None, description="seed of the noise, open or -1 = drawn at random")
    count: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="pictures; picture i has seed + i"
    )
    variation_seed: Seed | None = Field(None, description="seed of the noise that is mixed in")
    variation_strength: Share = Field(0.0, description="share of the variation noise, 0 = none")
    width: Size | None = Field(None, description="pixels, a multiple of 8")
    height: Size | None = Field(None, description="pixels, a multiple of 8")
    refiner: Path | None = Field(None, description="model that draws the last steps")
    refiner_start: Share | None = Field(
        None, description="share of the way after which the refiner draws"
    )
    seamless: bool = Field(False, description="left joins right and top joins bottom")

    init_image: Path | None = Field(None, description="picture to start from")
    strength: Share | None = Field(
        None, description="how far from the init image: 0 keeps it, 1 forgets it"
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="how an init image of other proportions is fitted"
    )
    keep_luminance: bool = Field(
        False, description="keep the init image's light and shade, take colours only"
    )
    mask: Path | None = Field(
        None,
        description="picture, white where drawn anew; or alpha = where transparent",
    )
    mask_feather: Annotated[int, Field(ge=0, le=256)] = Field(
        4, description="pixels over which the mask's edge fades"
    )
    mask_fill: Literal["original", "noise", "blur"] = Field(
        "original", description="what the masked place starts from"
    )
    only_masked: bool = Field(False, description="draw the masked place alone, at full size")
    only_masked_padding: Annotated[int, Field(ge=0, le=512)] = Field(
        32, description="pixels around the masked place that are seen"
    )
    extend_left: Edge = Field(0, description="pixels drawn anew beyond the left edge")
    extend_right: Edge = Field(0, description="pixels drawn anew beyond the right edge")
    extend_top: Edge = Field(0, description="pixels drawn anew above the top edge")
    extend_bottom: Edge = Field(0, description="pixels drawn anew below the bottom edge")

    control: Path | None = Field(None, description="ControlNet: a folder or a .safetensors file")
    control_image: Path | None = Field(None, description="picture whose lines are followed")
    control_preprocessor: Literal["none", "canny", "scribble", "invert"] = Field(
        "none", description="how the lines are found in the control image"
    )
    control_strength: Strength = Field(1.0, description="how closely the lines are followed")
    control_start: Share = Field(0.0, description="share of the steps after which control acts")
    control_end: Share = Field(1.0, description="share of the steps until which control acts")
    ip_adapter: Path | None = Field(None, description="IP-Adapter: a folder or a .safetensors file")
    ip_adapter_image: Path | None = Field(None, description="picture that prompts beside the text")
    ip_adapter_scale: Strength = Field(1.0, description="how much that picture counts")

    upscale: Annotated[int, Field(ge=1, le=4)] | None = Field(
        None, description="enlarge the init image so many times, with an upscaler as the model"
    )
    noise_level: Annotated[int, Field(ge=0, le=999)] | None = Field(
        None, description="noise on what is enlarged; more invents more detail"
    )
    hires_scale: Annotated[float, Field(ge=1, le=4, allow_inf_nan=False)] = Field(
        1.0, description="draw, enlarge so many times and draw again, 1 = not"
    )
    hires_steps: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="steps of the second drawing"
    )
    hires_strength: Share | None = Field(
        None, description="how far the second drawing goes from the first"
    )
    hires_upscaler: Path = Field(
        "latent", description="what enlarges in between: latent, lanczos or an upscaler"
    )

    @field_validator("prompt", "negative_prompt", *_PATHS)
    @classmethod
    def _no_nul(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and "\0" in text:
            reason = f"a NUL character at column {text.index(chr(0)) + 1}"
            raise RequestError(str(info.field_name), text, reason, valid="any other text")
        return text

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _follows_grammar(cls, text: str, info: ValidationInfo) -> str:
        _check_grammar(text, str(info.field_name))
        return text

    @field_validator("seed", "variation_seed", mode="before")
    @classmethod
    def _minus_one_is_open(cls, seed: object) -> object:
        return None if type(seed) is int and seed == -1 else seed

    @model_validator(mode="before")
    @classmethod
    def _canonical_names(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        sampler, schedule = fields.get("sampler"), fields.get("schedule")
        if not all(name is None or _is_name(name) for name in (sampler, schedule)):
            return fields  # refused by their types
        if sampler is not None:
            sampler, schedule = catalogue.resolve(sampler, schedule)
        elif schedule is not None:
            schedule = _canonical_schedule(schedule)
        return {**fields, "sampler": sampler, "schedule": schedule}

    @model_validator(mode="after")
    def _intervals_run_forward(self) -> Self:
        check_interval(self, "guidance_start", "guidance_end")
        check_interval(self, "control_start", "control_end")
        return self

    @model_validator(mode="after")
    def _company(self) -> Self:
        check_company(self)
        check_adapters(self)
        return self

    @classmethod
    def of(cls, **fields: object) -> Self:
        """Checks the fields and builds the request.

        Raises:
            RequestError: the first problem: its field, value and what would be valid.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise as_request_error(error, cls) from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what :meth:`to_json` wrote.

        Raises:
            RequestError: the text is no JSON object, or a field cannot be used.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise as_request_error(error, cls) from None

    def to_json(self) -> str:
        """This request as one JSON object that :meth:`from_json` reads back to an equal one."""
        return self.model_dump_json()

    def resolve(self, defaults: Defaults) -> Self:
        """Fills every open field: seeds at random, the rest from the model's defaults.

        A sampler that is named without a schedule already has its own (see the catalogue), so the
        model's default schedule only goes with the model's default sampler.

        Raises:
            RequestError: a schedule was asked for that the default sampler cannot run on.
        """
        fields = self.model_dump()
        filled = {
            "sampler": defaults.sampler,
            "schedule": defaults.schedule,
            "steps": defaults.steps,
            "guidance_scale": defaults.guidance_scale,
            "seed": secrets.randbelow(_DRAWN_SEEDS),
        }
        enlarges = self.init_image is not None and (self.upscale or defaults.upscale) is not None
        if enlarges:  # the size is the picture's times that
            filled |= {"upscale": defaults.upscale, "noise_level": defaults.noise_level}
        else:
            filled |= {"width": defaults.width, "height": defaults.height}
        if self.init_image is not None and not enlarges:
            filled["strength"] = _STRENGTH
        if self.refiner is not None:
            filled["refiner_start"] = _REFINER_START
        if self.hires_scale > 1:
            filled["hires_steps"] = self.steps or defaults.steps
            filled["hires_strength"] = _HIRES_STRENGTH
        if self.variation_strength > 0:
            filled["variation_seed"] = secrets.randbelow(_DRAWN_SEEDS)
        filled = {name: value for name, value in filled.items() if fields[name] is None}
        return type(self).of(**{**fields, **filled})

    def singles(self) -> tuple[Self, ...]:
        """The ``count`` requests of one picture each, in order.

        Picture i has seed + i; where a variation is mixed in, the plain seed and variation
        seed + i. Seeds wrap modulo 2**64.

        Raises:
            RequestError: the seed is still open (call :meth:`resolve` first).
        """
        counting = "variation_seed" if self.variation_strength > 0 else "seed"
        for name in {"seed", counting}:
            if getattr(self, name) is None:
                raise RequestError(name, None, "still open", valid="a resolved request")
        first: int = getattr(self, counting)
        return tuple(
            self.model_copy(update={"count": 1, counting: (first + i) % SEEDS})
            for i in range(self.count)
        )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= _LONGEST_NAME


def _canonical_schedule(name: str) -> str:
    every = len(catalogue.schedules())
    works_with_all = next(row for row in catalogue.samplers() if len(row.spacings) == every)
    return catalogue.resolve(works_with_all.name, name)[1]


@lru_cache(maxsize=256)  # a request is checked again when it is resolved
def _check_grammar(text: str, field: str) -> None:
    prompt_grammar.parse(text, field=field)

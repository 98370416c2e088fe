"""Turns pydantic's validation errors into ours, which say what would be valid."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from studio.errors import RequestError

_KNOWN_ELSEWHERE = {
    "batch_size": "count",
    "denoising_strength": "strength",
    "image": "init_image",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "n_iter": "count",
    "num_images_per_prompt": "count",
    "num_inference_steps": "steps",
    "sampler_index": "sampler",
    "sampler_name": "sampler",
    "scheduler": "schedule",
    "sd_model": "model",
    "mask_image": "mask",
    "subseed": "variation_seed",
    "subseed_strength": "variation_strength",
    "tiling": "seamless",
}
_REASONS = {
    "missing": "missing",
    "finite_number": "not a finite number",
    "int_type": "not an integer",
    "int_from_float": "not an integer",
    "float_type": "not a number",
    "string_type": "not a text",
    "bool_type": "not true or false",
    "literal_error": "unknown",
    "string_unicode": "holds a lone surrogate, so it is no Unicode text",
    "model_type": "not an object of fields",
}
_LONGEST_SHOWN = 80
_KINDS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list of texts",
}


def as_request_error(error: ValidationError, model: type[BaseModel]) -> RequestError:
    """The first problem of ``error`` as one :class:`RequestError`."""
    first = error.errors(include_url=False)[0]
    kind = first["type"]
    if kind == "json_invalid":
        detail = first.get("ctx", {}).get("error", "")
        return RequestError("request", first["input"], f"not JSON: {detail}", valid="a JSON object")
    if not first["loc"]:
        fields = f"an object with the fields {', '.join(model.model_fields)}"
        return RequestError("request", first["input"], _reason(first), valid=fields)
    name = str(first["loc"][0])[:_LONGEST_SHOWN]
    if kind == "extra_forbidden":
        return RequestError(name, first["input"], "unknown field", valid=_nearest(name, model))
    value = None if kind == "missing" else first["input"]
    return RequestError(name, value, _reason(first), valid=valid_values(model, name, value))


def valid_values(model: type[BaseModel], field: str, refused: object = None) -> str:
    """What a field of ``model`` takes, in words: ``an integer from 1 to 1000``.

    Where the field takes multiples only, the ones nearest to the ``refused`` integer are named.
    """
    schema: dict[str, Any] = model.model_json_schema()["properties"][field]
    options = schema.get("anyOf", [schema])
    option = next(option for option in options if option["type"] != "null")
    if "enum" in option:
        return ", ".join(option["enum"])
    words = _KINDS.get(option["type"], str(option["type"]))
    low, high, step = (option.get(key) for key in ("minimum", "maximum", "multipleOf"))
    if "exclusiveMaximum" in option:
        high = option["exclusiveMaximum"] - 1
    if step is not None:
        words = f"a multiple of {step}"
    if low is not None and high is not None:
        words += f" from {low} to {high}"
    if step is not None and type(refused) is int:
        below = refused - refused % step
        nearest = sorted({min(max(size, low), high) for size in (below, below + step)})
        words += f", the nearest {' and '.join(map(str, nearest))}"
    if "maxLength" in option:
        words += f" of {option.get('minLength', 0):,} to {option['maxLength']:,} characters"
    return words


def _reason(details: ErrorDetails) -> str:
    kind = details["type"]
    if kind in {"greater_than_equal", "less_than_equal", "less_than", "greater_than"}:
        return "out of range"
    if kind == "multiple_of":
        return f"not a multiple of {details['ctx']['multiple_of']}"
    if kind == "string_too_long":
        return f"too long ({len(details['input']):,} characters)"
    if kind == "string_too_short":
        return "empty"
    return _REASONS.get(kind) or details["msg"]


def _nearest(name: str, model: type[BaseModel]) -> str:
    known = list(model.model_fields)
    spelt = name.lower().replace("-", "_").replace(" ", "_")
    if spelt in _KNOWN_ELSEWHERE:
        return f"its name here, {_KNOWN_ELSEWHERE[spelt]!r}"
    near = get_close_matches(spelt, known, n=1, cutoff=0.6)
    if near:
        return f"the nearest field, {near[0]!r}"
    return f"one of {', '.join(known)}"

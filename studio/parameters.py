"""The text that AUTOMATIC1111 writes under the PNG key ``parameters``, read by nearly every viewer.

The prompt, the negative prompt and one last line of ``Key: value`` pairs. Others read it; the exact
record of a picture is its :class:`~studio.metadata.Recipe`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from studio.pipelines.adapter_files import Applied
from studio.pipelines.request import Request

_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_FEWEST_PAIRS = 3  # a last line with fewer belongs to the prompt
_PROMPT_LINES = "Prompt lines"  # ours: how many lines are the prompt, where that is ambiguous


def parameters_text(
    request: Request,
    *,
    model: str,
    weights_sha256: str,
    version: str,
    adapters: Sequence[Applied] = (),
) -> str:
    """The text form of a resolved request of one picture.

    Args:
        request: what was drawn.
        model: name of the model that drew it.
        weights_sha256: hash of its weights, 64 hex digits.
        version: name and version of the program that drew it.
        adapters: LoRAs, textual inversions and a VAE that took part.
    """
    pairs: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "Schedule type": request.schedule,
        "CFG scale": request.guidance_scale,
        "CFG rescale": request.guidance_rescale or None,
        "Guidance start": request.guidance_start or None,
        "Guidance end": None if request.guidance_end == 1 else request.guidance_end,
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}" if request.width else None,
        "Model hash": weights_sha256[:10],
        "Model": model,
    }
    if request.variation_strength > 0:
        pairs["Variation seed"] = request.variation_seed
        pairs["Variation seed strength"] = request.variation_strength
    if request.clip_skip > 1:
        pairs["Clip skip"] = request.clip_skip
    if request.init_image is not None:
        pairs["Denoising strength"] = request.strength
        pairs["Init image"] = request.init_image
    if request.mask is not None:
        pairs |= {"Mask": request.mask, "Mask blur": request.mask_feather}
    if request.control is not None:
        pairs["ControlNet 0"] = _control(request)
    if request.seamless:
        pairs["Tiling"] = True
    if request.hires_scale > 1:
        pairs |= {
            "Hires upscale": request.hires_scale,
            "Hires steps": request.hires_steps,
            "Hires upscaler": _shown(request.hires_upscaler),
            "Denoising strength": request.hires_strength,
        }
    pairs |= _adapters(adapters)
    pairs |= {"RNG": "CPU", "Version": version}

    lines = request.prompt.split("\n")
    ambiguous = any(line.startswith(_NEGATIVE) for line in lines)
    if ambiguous:
        pairs[_PROMPT_LINES] = len(lines)
    if request.negative_prompt:
        lines.append(f"{_NEGATIVE} {request.negative_prompt}")
    shown = (f"{key}: {_quote(value)}" for key, value in pairs.items() if value is not None)
    return "\n".join([*lines, ", ".join(shown)])


def _control(request: Request) -> str:
    """A ControlNet as AUTOMATIC1111's extension writes it; the picture's hash is ours."""
    said = {
        "Module": request.control_preprocessor,
        "Model": Path(request.control or "").stem,
        "Weight": request.control_strength,
        "Guidance Start": request.control_start,
        "Guidance End": request.control_end,
        "Image": request.control_image,
    }
    return ", ".join(f"{key}: {value}" for key, value in said.items())


def parse_parameters(text: str) -> Request:
    """Reads the text form back. Fields that it does not hold stay open.

    Prompts come back exactly as :func:`parameters_text` wrote them. Where the last line holds no
    parameters, the whole text is prompt. Keys that stand for nothing in a request are passed over.

    Raises:
        RequestError: a value that cannot be used, such as an unknown sampler.
    """
    prompt, negative, pairs = split_parameters(text)
    return Request.of(prompt=prompt, negative_prompt=negative, **_request_fields(pairs))


def split_parameters(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and the pairs of the last line, whichever tool wrote them.

    Where the last line holds no parameters, there are no pairs and all of it is prompt.
    """
    lines = text.split("\n")
    found = _PAIR.findall(lines[-1])
    pairs: dict[str, str] = {}
    if len(found) >= _FEWEST_PAIRS:
        pairs = {key: _unquote(value) for key, value in found}
        lines.pop()
    if pairs.get(_PROMPT_LINES, "").isdecimal():
        split = int(pairs[_PROMPT_LINES])
    else:
        starts = (i for i, line in enumerate(lines) if line.startswith(_NEGATIVE))
        split = next(starts, len(lines))
    negative = "\n".join(lines[split:]).removeprefix(_NEGATIVE).removeprefix(" ")
    return "\n".join(lines[:split]), negative, pairs


def _request_fields(pairs: Mapping[str, str]) -> dict[str, object]:
    fields = {
        field: convert(pairs[key]) for key, (field, convert) in _FIELDS.items() if key in pairs
    }
    if "Init image" not in pairs:  # the picture is lost, and with it what its strength meant
        fields.pop("strength", None)
    if "Size" in pairs:
        width, _, height = pairs["Size"].partition("x")
        fields |= {"width": _integer(width), "height": _integer(height)}
    if "Hires upscale" in pairs:
        fields |= {field: convert(pairs[k]) for k, (field, convert) in _HIRES.items() if k in pairs}
    if "hires_upscaler" in fields:
        name = str(fields["hires_upscaler"])
        fields["hires_upscaler"] = _HIRES_UPSCALERS.get(name.lower(), name)
    return fields


def _adapters(adapters: Sequence[Applied]) -> dict[str, object]:
    """Names and hashes as AUTOMATIC1111 cuts them, and ours: the weight of each LoRA."""
    named: dict[str, list[str]] = {}
    for one in adapters:
        if one.kind == "lora":
            named.setdefault("Lora hashes", []).append(f"{one.name}: {one.tensors_sha256[:12]}")
            named.setdefault("Lora weights", []).append(f"{one.name}: {one.weight:g}")
        elif one.kind == "embedding":
            named.setdefault("TI hashes", []).append(f"{one.name}: {one.sha256[:10]}")
        else:
            named |= {"VAE hash": [one.sha256[:10]], "VAE": [one.name]}
    return {key: ", ".join(values) for key, values in named.items()}


def _quote(value: object) -> str:
    text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
    plain = text == text.strip() and not text.startswith('"')
    if plain and not any(mark in text for mark in ",:\n"):
        return text
    return json.dumps(text, ensure_ascii=False)


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text.strip()
    try:
        return str(json.loads(text))
    except ValueError:
        return text.strip()


def _integer(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        return text  # the request refuses it and says why


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


_HIRES_UPSCALERS = {"latent": "latent", "lanczos": "lanczos"}
"""Our name of an upscaler by AUTOMATIC1111's, in small letters."""


def _shown(upscaler: str) -> str:
    return upscaler.capitalize() if upscaler in _HIRES_UPSCALERS else upscaler


_HIRES: dict[str, tuple[str, Callable[[str], object]]] = {
    "Hires upscale": ("hires_scale", _number),
    "Hires steps": ("hires_steps", _integer),
    "Hires upscaler": ("hires_upscaler", str),
    "Denoising strength": ("hires_strength", _number),
}
_FIELDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "Steps": ("steps", _integer),
    "Sampler": ("sampler", str),
    "Schedule type": ("schedule", str),
    "CFG scale": ("guidance_scale", _number),
    "CFG rescale": ("guidance_rescale", _number),
    "Guidance start": ("guidance_start", _number),
    "Guidance end": ("guidance_end", _number),
    "Seed": ("seed", _integer),
    "Model": ("model", str),
    "Variation seed": ("variation_seed", _integer),
    "Variation seed strength": ("variation_strength", _number),
    "Clip skip": ("clip_skip", _integer),
    "Denoising strength": ("strength", _number),
    "Init image": ("init_image", str),
    "Mask": ("mask", str),
    "Mask blur": ("mask_feather", _integer),
    "Tiling": ("seamless", lambda text: text == "True"),
}

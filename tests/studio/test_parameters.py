from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from studio.errors import PromptError, RequestError
from studio.parameters import parameters_text, parse_parameters
from studio.pipelines.request import SEEDS, Request
from tests.studio.recipes import DEFAULTS

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
spiky = st.sampled_from(
    ["\n", ",", ":", '"', "\\", " ", "Negative prompt:", "Steps: 20, Sampler: x, Seed: 1", "\r"]
)
prompts = st.lists(spiky | st.text(characters, max_size=8), max_size=8).map("".join)
shares = st.floats(0, 1)


def text_of(request: Request) -> str:
    return parameters_text(
        request, model=request.model, weights_sha256="ab" * 32, version="latent-studio 1"
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    prompt=prompts,
    negative_prompt=prompts,
    model=st.text(characters, min_size=1, max_size=12),
    guidance_scale=st.floats(0, 100),
    guidance_rescale=shares,
    interval=st.tuples(shares, shares).map(sorted),
    variation=st.none() | st.tuples(st.integers(0, SEEDS - 1), st.floats(0, 1, exclude_min=True)),
    clip_skip=st.integers(1, 12),
    seed=st.integers(0, SEEDS - 1),
)
@example(
    prompt="a\nNegative prompt: b\n",
    negative_prompt="",
    model='"mini", v1: the first\n',
    guidance_scale=7.0,
    guidance_rescale=0.0,
    interval=[0.0, 1.0],
    variation=None,
    clip_skip=1,
    seed=0,
)
def test_the_text_parses_back_to_the_request(
    interval: list[float], variation: tuple[int, float] | None, **fields: Any
) -> None:
    fields["guidance_start"], fields["guidance_end"] = interval
    if variation:
        fields["variation_seed"], fields["variation_strength"] = variation
    try:
        request = Request.of(**fields).resolve(DEFAULTS)
    except PromptError:
        return
    assert parse_parameters(text_of(request)) == request


def test_the_text_is_what_other_tools_write() -> None:
    request = Request.of(
        prompt="a cat,\non a mat",
        negative_prompt="dog: big",
        sampler="dpmpp_2m",
        schedule="karras",
        steps=20,
        guidance_scale=7,
        guidance_rescale=0.5,
        guidance_end=0.75,
        seed=1,
        width=512,
        height=768,
        variation_seed=3,
        variation_strength=0.2,
        clip_skip=2,
    )
    assert text_of(request) == (
        "a cat,\non a mat\n"
        "Negative prompt: dog: big\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, CFG rescale: 0.5, "
        "Guidance end: 0.75, Seed: 1, Size: 512x768, Model hash: ababababab, Model: mini, "
        "Variation seed: 3, Variation seed strength: 0.2, Clip skip: 2, RNG: CPU, "
        "Version: latent-studio 1"
    )


@pytest.mark.parametrize(
    ("model", "written"),
    [
        ("a, é", '"a, é"'),
        ("C:\\é", r'"C:\\é"'),
        ("a\né", r'"a\né"'),
        ('"é"', r'"\"é\""'),
        (" é", '" é"'),
        ("é b/c-1.0", "é b/c-1.0"),
    ],
)
def test_values_that_could_be_misread_are_quoted(model: str, written: str) -> None:
    request = Request.of(prompt="a", model=model).resolve(DEFAULTS)
    assert f"Model: {written}, RNG" in text_of(request)


def test_the_text_of_another_tool_is_read() -> None:
    request = parse_parameters(
        "a (cat:1.2), 8k\nsecond line\nNegative prompt: blurry,\nugly\n"
        "Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 42, Size: 512x640, "
        'Model hash: 1234567890, Model: "dream, v8", Lora hashes: "a: 1, b: 2", Version: v1.7.0'
    )
    assert request == Request.of(
        prompt="a (cat:1.2), 8k\nsecond line",
        negative_prompt="blurry,\nugly",
        steps=30,
        sampler="DPM++ 2M",
        schedule="Karras",
        guidance_scale=6.5,
        seed=42,
        width=512,
        height=640,
        model="dream, v8",
    )


def test_a_last_line_of_fewer_than_three_pairs_is_prompt() -> None:
    text = "a cat\ncolour: red, size: big"
    assert parse_parameters(text) == Request.of(prompt=text)


@pytest.mark.parametrize(
    ("pair", "field"),
    [
        ("Steps: many", "steps"),
        ("Sampler: Eulr", "sampler"),
        ("Size: 512", "height"),
        ("CFG scale: nan", "guidance_scale"),
        ("Seed: 1.5", "seed"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(pair: str, field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_parameters(f"a cat\nVersion: x, RNG: CPU, {pair}")
    assert refusal.value.field == field


def test_hires_fix_is_written_and_read_as_automatic1111_does() -> None:
    request = Request.of(
        prompt="a cat", seed=1, hires_scale=1.5, hires_steps=9, hires_strength=0.4, seamless=True
    ).resolve(DEFAULTS)
    text = text_of(request)
    for pair in ("Hires upscale: 1.5", "Hires steps: 9", "Hires upscaler: Latent", "Tiling: True"):
        assert pair in text
    assert "Denoising strength: 0.4" in text
    assert parse_parameters(text) == request
    theirs = (
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, "
        "Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Lanczos"
    )
    read = parse_parameters(theirs)
    assert (read.hires_scale, read.hires_upscaler, read.hires_strength) == (2.0, "lanczos", 0.7)
    assert read.hires_steps is None


def test_a_picture_that_was_enlarged_has_no_size_in_its_request() -> None:
    request = Request.of(prompt="", model="lanczos", init_image="x", upscale=4).resolve(DEFAULTS)
    assert "Size" not in text_of(request)
    assert (request.width, request.height) == (None, None)

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from studio.errors import PromptError, RequestError
from studio.pipelines.request import SEEDS, Defaults, Request

DEFAULTS = Defaults(
    sampler="DPM++ 2M", schedule="Karras", steps=20, guidance_scale=5.0, width=128, height=128
)

WITHOUT_AN_IMAGE = {
    "init_image", "strength", "mask", "upscale", "noise_level", "hires_steps", "hires_strength",
    "refiner", "refiner_start", "control", "control_image", "ip_adapter", "ip_adapter_image", "vae",
}  # fmt: skip

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
seeds = st.integers(0, SEEDS - 1)
shares = st.floats(0, 1)
sizes = st.integers(8, 512).map(lambda eighth: 8 * eighth)
named = st.sampled_from([("Euler a", None), ("dpmpp_2m", "karras"), (None, "karras"), (None, None)])


def requests() -> st.SearchStrategy[Request]:
    def build(fields: dict[str, Any]) -> Request | None:
        fields["sampler"], fields["schedule"] = fields.pop("names")
        fields["guidance_start"], fields["guidance_end"] = sorted(fields.pop("interval"))
        try:
            return Request.of(**fields)
        except PromptError:
            return None

    fields = {
        "prompt": texts,
        "negative_prompt": texts,
        "model": st.text(st.characters(categories=["L", "N", "P"]), min_size=1),
        "names": named,
        "steps": st.none() | st.integers(1, 1000),
        "guidance_scale": st.none() | st.floats(0, 100),
        "guidance_rescale": shares,
        "interval": st.tuples(shares, shares),
        "clip_skip": st.integers(1, 12),
        "seed": st.none() | seeds,
        "count": st.integers(1, 10_000),
        "variation_seed": st.none() | seeds,
        "variation_strength": shares,
        "width": st.none() | sizes,
        "height": st.none() | sizes,
    }
    return st.fixed_dictionaries(fields).map(build).filter(lambda made: made is not None)  # type: ignore[return-value]


@unhurried
@given(requests())
def test_json_round_trip_is_exact(request: Request) -> None:
    text = request.to_json()
    back = Request.from_json(text)
    assert back == request
    assert back.to_json() == text


@unhurried
@given(texts)
@example("a 🍎 on a 🟨 table, 👩‍👩‍👧")
@example("\u202eתפוח אדום\u202c על رقعة صفراء")
@example("e\u0301 is not \u00e9; \ufeff\r\n\t\x85\u2028\x1b")
def test_prompts_keep_every_byte(text: str) -> None:
    try:
        request = Request.of(prompt=text)
    except PromptError:
        return
    assert Request.from_json(request.to_json()).prompt.encode() == text.encode()


BAD: list[tuple[str, object, str]] = [
    ("stepz", 20, "'steps'"),
    ("cfg_scale", 7, "'guidance_scale'"),
    ("qqq", 7, "prompt, negative_prompt, model"),
    ("steps", 0, "from 1 to 1000"),
    ("steps", -1, "from 1 to 1000"),
    ("steps", 10**9, "from 1 to 1000"),
    ("steps", "20", "an integer"),
    ("steps", True, "an integer"),
    ("steps", 20.0, "an integer"),
    ("guidance_scale", float("nan"), "from 0 to 100"),
    ("guidance_scale", float("inf"), "from 0 to 100"),
    ("guidance_scale", 1e6, "from 0 to 100"),
    ("guidance_scale", -0.5, "from 0 to 100"),
    ("guidance_rescale", 1.01, "from 0 to 1"),
    ("guidance_start", -0.1, "from 0 to 1"),
    ("guidance_end", float("nan"), "from 0 to 1"),
    ("clip_skip", 0, "from 1 to 12"),
    ("clip_skip", 13, "from 1 to 12"),
    ("seed", -2, "from 0 to 18446744073709551615"),
    ("seed", 2**64, "from 0 to 18446744073709551615"),
    ("count", 0, "from 1 to 10000"),
    ("variation_seed", -2, "from 0"),
    ("variation_strength", 2, "from 0 to 1"),
    ("width", 511, "504 and 512"),
    ("height", 4097, "the nearest 4096"),
    ("width", 8, "the nearest 64"),
    ("width", 0, "the nearest 64"),
    ("sampler", "Eulr", "Euler"),
    ("sampler", "dpm++ 2n", "DPM++ 2M"),
    ("sampler", "x" * 10**6, "a text"),
    ("sampler", 7, "a text"),
    ("schedule", "karas", "Karras"),
    ("model", "", "1 to 4,096 characters"),
    ("prompt", None, "a text"),
    ("prompt", b"a cat", "a text"),
    ("prompt", "x" * 10**6, "100,000 characters"),
    ("prompt", "a\0b", "any other text"),
    ("prompt", "a \ud83d cat", "a text"),
    ("negative_prompt", "a\0b", "any other text"),
]


@pytest.mark.parametrize(
    ("field", "value", "valid"), BAD, ids=[f"{f}={str(v)[:12]!a}" for f, v, _ in BAD]
)
def test_a_refusal_names_field_value_and_what_would_be_valid(
    field: str, value: object, valid: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        Request.of(**{"prompt": "a cat", field: value})
    assert refusal.value.field == field
    assert refusal.value.value is value or refusal.value.value == value
    assert str(refusal.value).startswith(f"{field} = {value!r}"[:60])
    assert valid in refusal.value.valid
    assert len(str(refusal.value)) < 700


def test_a_missing_prompt_is_refused() -> None:
    with pytest.raises(RequestError, match=r"prompt.*missing"):
        Request.of(steps=3)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_that_breaks_the_grammar_is_refused_with_its_column(field: str) -> None:
    with pytest.raises(PromptError, match="column 8") as refusal:
        Request.of(**{"prompt": "a", field: "a (cat:1e9)"})
    assert refusal.value.field == field
    assert refusal.value.column == 8


def test_the_guidance_interval_runs_forward() -> None:
    with pytest.raises(RequestError, match=r"guidance_start = 0\.6.*guidance_end = 0\.2"):
        Request.of(prompt="a", guidance_start=0.6, guidance_end=0.2)


def test_a_pair_that_cannot_work_is_refused() -> None:
    with pytest.raises(RequestError, match="PLMS") as refusal:
        Request.of(prompt="a", sampler="PLMS", schedule="Karras")
    assert refusal.value.field == "schedule"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "request"),
        ("{", "request"),
        ("[]", "request"),
        ("3", "request"),
        (b"\xff\xfe", "request"),
        ('{"prompt": "\\ud800"}', "request"),
        ('{"prompt": "a", "steps": 1e9}', "steps"),
        ('{"prompt": "a", "guidance_scale": NaN}', "guidance_scale"),
        ('{"prompt": "a", "colour": "red"}', "colour"),
        ('{"steps": 3}', "prompt"),
    ],
)
def test_bad_json_is_a_request_error(text: str | bytes, field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        Request.from_json(text)
    assert refusal.value.field == field
    assert refusal.value.valid


@pytest.mark.parametrize(
    ("given_names", "canonical"),
    [
        (("euler_ancestral", None), ("Euler a", "Automatic")),
        (("dpmpp_2m_karras", None), ("DPM++ 2M", "Karras")),
        (("DPM++ 2M Karras", None), ("DPM++ 2M", "Karras")),
        (("dpmpp_2m", "karras"), ("DPM++ 2M", "Karras")),
        ((None, "karras"), (None, "Karras")),
        ((None, None), (None, None)),
    ],
)
def test_names_become_canonical(
    given_names: tuple[str | None, str | None], canonical: tuple[str | None, str | None]
) -> None:
    request = Request.of(prompt="a", sampler=given_names[0], schedule=given_names[1])
    assert (request.sampler, request.schedule) == canonical


def test_it_is_frozen() -> None:
    request = Request.of(prompt="a")
    with pytest.raises(ValueError, match="frozen"):
        request.prompt = "b"


@unhurried
@given(requests())
def test_resolve_fills_what_is_open_and_keeps_the_rest(request: Request) -> None:
    resolved = request.resolve(DEFAULTS)
    before, after = json.loads(request.to_json()), json.loads(resolved.to_json())
    if request.variation_strength == 0:
        before.pop("variation_seed"), after.pop("variation_seed")
    assert {name for name, value in after.items() if value is None} == WITHOUT_AN_IMAGE
    assert {name: after[name] for name, value in before.items() if value is not None} == {
        name: value for name, value in before.items() if value is not None
    }
    assert resolved.resolve(DEFAULTS) == resolved


def test_open_fields_get_the_defaults_of_the_model() -> None:
    resolved = Request.of(prompt="a", seed=1).resolve(DEFAULTS)
    assert resolved == Request.of(
        prompt="a",
        seed=1,
        sampler="DPM++ 2M",
        schedule="Karras",
        steps=20,
        guidance_scale=5.0,
        width=128,
        height=128,
    )


def test_the_default_schedule_goes_with_the_default_sampler_only() -> None:
    assert Request.of(prompt="a", sampler="PLMS").resolve(DEFAULTS).schedule == "Automatic"


def test_seed_minus_one_is_drawn_at_random() -> None:
    request = Request.of(prompt="a", seed=-1)
    assert request.seed is None
    assert len({request.resolve(DEFAULTS).seed for _ in range(8)}) > 1


def test_picture_i_has_seed_plus_i_and_seeds_wrap() -> None:
    singles = Request.of(prompt="a", seed=SEEDS - 1, count=3).singles()
    assert [single.seed for single in singles] == [SEEDS - 1, 0, 1]
    assert {single.count for single in singles} == {1}
    assert Request.from_json(singles[1].to_json()) == singles[1]


def test_a_variation_counts_up_its_own_seed() -> None:
    fields: dict[str, Any] = {"seed": 5, "variation_seed": 9, "variation_strength": 0.2}
    singles = Request.of(prompt="a", count=3, **fields).singles()
    assert [single.seed for single in singles] == [5, 5, 5]
    assert [single.variation_seed for single in singles] == [9, 10, 11]


def test_singles_want_a_resolved_request() -> None:
    with pytest.raises(RequestError, match="seed"):
        Request.of(prompt="a", count=2).singles()


def test_requests_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "from studio.pipelines.request import Request\n"
        "Request.of(prompt='(a cat:1.2)', sampler='euler_ancestral', width=512)\n"
        "print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

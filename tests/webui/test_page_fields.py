"""Forms: from what widgets hold to a request, and back."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from studio import styles
from studio.pipelines.request import Request
from studio.webui.page import fields, sources, texts, tokens
from studio.webui.page.form import Choices, Form


def _form() -> Form:
    form = Form(Choices(models=("mini",)))
    form.add(*(name for name in fields.CONTROLS if name not in ("upscale", "noise_level")))
    return form


def _read(form: Form, **changed: Any) -> dict[str, object]:
    values = {name: widget.value for name, widget in form.widgets.items()} | changed
    return form.read([values[name] for name in form.widgets])


def test_every_field_of_a_request_but_pictures_can_be_edited() -> None:
    # For the command line and the doors alone.
    beside = ("refiner", "control", "ip_adapter", "lora", "embedding", "vae", "reuse")
    expected = {name for name in Request.model_fields if not name.startswith(beside)}
    assert set(fields.CONTROLS) == expected - {"init_image", "mask"}


def test_an_untouched_form_makes_a_request() -> None:
    form = Form(Choices(models=("mini",)))
    form.add(*(n for n in fields.CONTROLS if n not in ("upscale", "noise_level", "strength")))
    request = Request.of(**_read(form, prompt="a cat"))
    assert request.hires_scale == 1
    assert request.seed is None


def test_numbers_come_in_the_fields_own_kind() -> None:
    found = _read(_form(), steps=12.0, guidance_scale=6, seed=" 18446744073709551615 ")
    assert (found["steps"], found["guidance_scale"]) == (12, 6)
    assert type(found["steps"]) is int
    assert found["seed"] == 2**64 - 1


def test_what_has_no_effect_is_left_out() -> None:
    form = _form()
    assert "hires_steps" not in _read(form)
    assert _read(form, hires_scale=2)["hires_steps"] == 20
    assert "variation_seed" not in _read(form, variation_seed="7")


def test_no_number_is_left_to_the_request_to_refuse() -> None:
    assert _read(_form(), seed="many")["seed"] == "many"


def test_a_form_shows_a_request_again() -> None:
    form = Form(Choices(models=("mini",)))
    form.add("prompt", "steps", "seed", "hires_scale", "model")
    request = Request.of(prompt="a cat", steps=250, seed=2**64 - 1, model="elsewhere")
    shown = dict(zip(form.widgets, form.updates(request), strict=True))
    assert shown["prompt"]["value"] == "a cat"
    assert shown["steps"]["value"] == 250
    assert shown["steps"]["maximum"] == 250, "above the slider's usual end"
    assert shown["seed"]["value"] == str(2**64 - 1)
    assert "value" not in shown["model"], "a model that is not here is not chosen"


def test_styles_go_around_and_behind_the_prompt() -> None:
    prompt, negative = styles.styled("a cat", "", ["Ink", "Night"])
    assert prompt == "ink drawing of a cat, black and white, fine lines, at night, moonlight"
    assert negative == "colour, photograph, daylight"


def test_languages_have_the_same_words() -> None:
    english, chinese = (texts.words(language) for language in texts.LANGUAGES)
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        names = {part.split("}")[0] for part in text.split("{")[1:]}
        assert names == {part.split("}")[0] for part in chinese[key].split("{")[1:]}, key


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.34, "0.3 s"), (12.4, "12 s"), (125, "2 min 5 s")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert texts.duration(seconds, None) == shown


def test_tokens_are_counted_without_weights_and_marks() -> None:
    plain, room = tokens.count("a red barn", "mini")
    assert tokens.count("a (red:1.4) [barn]", "mini") == (plain, room)
    assert 0 < plain < room


def test_strokes_of_any_layer_become_the_mask() -> None:
    first, second = (Image.new("RGBA", (8, 8), (255, 255, 255, 0)) for _ in range(2))
    first.putpixel((1, 1), (255, 255, 255, 255))
    second.putpixel((6, 6), (0, 0, 0, 200))
    second.putpixel((3, 3), (0, 0, 0, 40))
    mask = sources.painted_mask((8, 8), [first, second])
    assert mask.mode == "L"
    white = [i for i, value in enumerate(mask.tobytes()) if value == 255]
    assert white == [9, 54], "a faint touch is none"

"""The Python way in, on a tiny random model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio import Picture, Request, Studio
from studio.errors import Cancelled, ModelError, RequestError, UnavailableError
from studio.metadata import pixel_sha256, read_recipe
from studio.pipelines import components
from studio.pipelines.text_to_image import Step
from tests.tiny import tiny_components

FIELDS: dict[str, Any] = {"steps": 2, "seed": 7}


@pytest.fixture(scope="module")
def model() -> str:
    return str(tiny_components("v_prediction", zero_snr=True))


@pytest.fixture(scope="module")
def studio(model: str) -> Studio:
    return Studio(model, device="cpu")


def test_pictures_come_one_by_one_with_seeds_counted_up(studio: Studio) -> None:
    pictures = studio.generate("a cat", count=3, **FIELDS)
    assert isinstance(pictures, Iterator)
    drawn = list(pictures)
    assert [picture.seed for picture in drawn] == [7, 8, 9]
    assert [picture.request.count for picture in drawn] == [1, 1, 1]
    assert {picture.image.size for picture in drawn} == {(64, 64)}
    assert len({pixel_sha256(picture.image) for picture in drawn}) == 3


def test_a_picture_of_several_equals_the_same_drawn_alone(studio: Studio) -> None:
    together = list(studio.generate("a cat", count=2, **FIELDS))
    (alone,) = studio.generate("a cat", steps=2, seed=8)
    assert pixel_sha256(alone.image) == pixel_sha256(together[1].image)
    (again,) = studio.generate(together[1].request)
    assert pixel_sha256(again.image) == pixel_sha256(together[1].image)


def test_a_picture_knows_how_it_was_drawn(studio: Studio, model: str, tmp_path: Path) -> None:
    (picture,) = studio.generate("a cat", **FIELDS)
    recipe = picture.recipe
    assert recipe.request == picture.request
    assert (recipe.device, recipe.precision, recipe.attention) == ("cpu", "fp32", "sdpa")
    assert recipe.model == Path(model).name
    assert recipe.weights_sha256 == studio.load().weights_sha256
    assert recipe.pixel_sha256 == pixel_sha256(picture.image)
    assert picture.timings is not None
    assert picture.timings.total_s > 0
    assert picture.recovery == ()
    assert read_recipe(picture.save(tmp_path)) == recipe


def test_open_fields_are_filled_from_the_card_and_the_seed_is_drawn(studio: Studio) -> None:
    request = studio.resolve("a cat")
    defaults = studio.card.defaults
    assert (request.steps, request.sampler) == (defaults.steps, defaults.sampler)
    assert (request.width, request.height) == (64, 64)
    assert request.seed is not None
    assert request.seed != studio.resolve("a cat").seed


def test_fields_replace_those_of_a_whole_request(studio: Studio) -> None:
    request = studio.resolve(Request.of(prompt="a cat", steps=5, seed=1), steps=6)
    assert (request.prompt, request.steps, request.seed) == ("a cat", 6, 1)


@pytest.mark.parametrize(
    "fields", [{"steps": 0}, {"stepz": 5}, {"width": 68}, {"model": "another"}, {"batch_size": 0}]
)
def test_a_bad_request_is_refused_at_the_call_before_weights_load(
    fields: dict[str, Any], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.facade.load", lambda *_: pytest.fail("loaded weights"))
    with pytest.raises(RequestError) as caught:
        Studio(model).generate("a cat", **fields)
    assert caught.value.field == next(iter(fields))


def test_an_unknown_model_is_refused_at_once() -> None:
    with pytest.raises(ModelError, match="nowhere"):
        Studio("nowhere")


def test_a_device_that_is_not_here_is_refused(model: str) -> None:
    with pytest.raises(UnavailableError, match="cuda:99"):
        Studio(model, device="cuda:99").load()


def test_weights_load_once_for_several_threads(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def counted(*args: Any) -> components.Components:
        loads.append(args)
        return components.load(*args)

    monkeypatch.setattr("studio.facade.load", counted)
    studio = Studio(model, device="cpu")
    drawn: dict[int, Picture] = {}

    def draw(seed: int) -> None:
        (drawn[seed],) = studio.generate("a cat", seed=seed, steps=2)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    for seed, picture in drawn.items():
        (alone,) = studio.generate("a cat", seed=seed, steps=2)
        assert pixel_sha256(alone.image) == pixel_sha256(picture.image)


def test_steps_are_reported_with_previews(studio: Studio) -> None:
    seen: list[tuple[int, int, int]] = []

    def on_step(step: Step) -> None:
        previews = step.preview()
        seen.append((step.index, step.total, len(previews)))

    pictures = list(studio.generate("a cat", count=2, batch_size=2, on_step=on_step, **FIELDS))
    assert len(pictures) == 2
    assert seen == [(1, 2, 2), (2, 2, 2)]


def test_cancel_stops_between_steps_and_the_studio_stays_usable(studio: Studio) -> None:
    steps: list[Step] = []
    pictures = studio.generate(
        "a cat", steps=50, seed=7, on_step=steps.append, cancel=lambda: len(steps) >= 2
    )
    with pytest.raises(Cancelled):
        next(pictures)
    assert len(steps) == 2
    assert len(list(studio.generate("a cat", **FIELDS))) == 1

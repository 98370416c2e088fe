"""The CLIP in the box, on the pictures that it never saw and on real drawings of the docs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from studio.cli.main import main
from studio.errors import ModelError
from studio.scoring import Scorer, everyday_labels


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load()


def circle(colour: str, background: str = "white", side: int = 128) -> Image.Image:
    image = Image.new("RGB", (side, side), background)
    edge = side // 6
    ImageDraw.Draw(image).ellipse((edge, edge, side - edge, side - edge), fill=colour)
    return image


def test_the_text_tower_is_minis_own(scorer: Scorer) -> None:
    from studio.pipelines.components import load
    from studio.pipelines.placement import Runtime

    mini = load("mini", Runtime("cpu", "fp32", "auto"))
    tokens = mini.tokenizer(["a red fox"], padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        theirs = mini.text_encoder(tokens).pooler_output @ scorer._model.text_projection
    cosine = torch.cosine_similarity(theirs, scorer._said(("a red fox",)))
    torch.testing.assert_close(cosine, torch.ones(1), atol=1e-4, rtol=0)


def test_labels_are_kept_as_the_text_tower_says_them(scorer: Scorer) -> None:
    labels = everyday_labels()
    assert len(scorer._labels) == len(labels)
    some = slice(0, None, 30)
    said = torch.cosine_similarity(scorer._said(labels[some]), scorer._labels[some])
    torch.testing.assert_close(said, torch.ones_like(said), atol=1e-4, rtol=0)


def test_colours_are_told_apart(scorer: Scorer) -> None:
    grounds = ("red", "green", "blue", "yellow")
    pictures = [circle("white", ground) for ground in grounds]
    texts = [f"a ball on a {ground} background" for ground in grounds]
    assert scorer.similarities(pictures, texts).argmax(1).tolist() == [0, 1, 2, 3]


def test_ranking_is_by_sureness(scorer: Scorer) -> None:
    pictures = [circle("orange", ground) for ground in ("white", "blue", "black")]
    sure = scorer.sureness(pictures, "a ball on a blue background").tolist()
    order = scorer.ranked(pictures, "a ball on a blue background")
    assert [sure[place] for place in order] == sorted(sure, reverse=True)
    assert order[0] == 1
    assert max(sure) <= 0


def half(side: str) -> Image.Image:
    """A ring in one half: its mirror image is the same ring in the other."""
    image = Image.new("RGB", (128, 128), "white")
    left = 4 if side == "left" else 68
    ImageDraw.Draw(image).ellipse((left, 36, left + 55, 91), outline="gold", width=8)
    return image


@pytest.mark.parametrize(
    ("text", "alike"), [("a ring", True), ("a ring on the left", False), ("左边的戒指", False)]
)
def test_mirror_images_are_alike_unless_sides_are_told(
    scorer: Scorer, text: str, alike: bool
) -> None:
    left, right = scorer.sureness([half("left"), half("right")], text).tolist()
    assert (abs(left - right) < 1e-3) == alike


def test_what_the_text_names_is_no_rival_of_it(scorer: Scorer) -> None:
    """Asked for a label it is as sure as of that guess; as its own rival it would be less so."""
    picture = circle("red")  # which is its own mirror image
    likeliest = scorer.describe(picture, most=1)[0]
    sure = float(scorer.sureness([picture], likeliest.text)[0].exp())
    assert sure == pytest.approx(likeliest.share, abs=0.01)
    assert float(scorer.sureness([picture], "a whale")[0].exp()) < 0.01


def test_ranking_puts_the_asked_background_first_for_most_balls(scorer: Scorer) -> None:
    grounds = ("white", "blue", "black", "red", "yellow")
    first = []
    for ball in ("white", "red", "orange", "yellow", "green", "purple"):
        pictures = [circle(ball, ground) for ground in grounds]
        for place, ground in enumerate(grounds):
            order = scorer.ranked(pictures, f"a ball on a {ground} background")
            first.append(order[0] == place)
    assert sum(first) / len(first) > 2 / 3


def test_size_mode_and_shape_do_not_matter_much(scorer: Scorer) -> None:
    small, large = circle("red"), circle("red", side=512)
    wide = Image.new("RGB", (256, 128), "white")
    transparent = circle("red").convert("RGBA")
    transparent.putalpha(circle("white", "black").convert("L"))
    near = scorer.similarities([small, large, transparent], ["a tomato"])[:, 0]
    assert near.max() - near.min() < 0.05
    assert -1 <= scorer.score(wide, "a tomato") <= 1


def test_guesses_are_everyday_things_and_add_up(scorer: Scorer) -> None:
    guesses = scorer.describe(circle("red"), most=2000)
    assert len(guesses) == len(everyday_labels()) > 300
    assert sum(guess.share for guess in guesses) == pytest.approx(1, abs=1e-4)
    assert [g.share for g in guesses] == sorted((g.share for g in guesses), reverse=True)


def test_a_caption_has_the_article_of_its_colour(scorer: Scorer) -> None:
    assert " on an orange background, " in scorer.caption(circle("royalblue", "orange"))


def test_score_and_describe_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / f"{ground}.png") for ground in ("white", "blue")]
    for ground, path in zip(("white", "royalblue"), paths, strict=True):
        circle("orange", ground).save(path)
    assert main(["score", *paths, "a ball on a blue background"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(paths[1])
    assert float(first.split()[0]) > float(second.split()[0])
    assert main(["describe", paths[1], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "on a blue background" in said["caption"]
    assert len(said["guesses"]) == 5


def test_a_picture_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "missing.png", "a cat"]) != 0
    assert "missing.png" in capsys.readouterr().err


def test_broken_weights_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("studio.scoring.files", lambda _: tmp_path)
    with pytest.raises(ModelError, match="cannot be used"):
        Scorer.load()

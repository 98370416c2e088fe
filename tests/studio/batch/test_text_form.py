"""The text form of A1111: every flag is kept, refused by name or passed over by name."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.batch.entries import Entry
from studio.batch.problems import Problem
from studio.batch.text_form import FLAGS, entries

A1111 = """
prompt negative_prompt styles seed subseed subseed_strength seed_resize_from_h seed_resize_from_w
sampler_index sampler_name batch_size n_iter steps cfg_scale width height restore_faces tiling
do_not_save_samples do_not_save_grid sd_model outpath_samples outpath_grids prompt_for_display
"""


def one(line: str) -> Entry:
    (entry,) = entries([line])
    return entry


def values(line: str) -> dict[str, object]:
    entry = one(line)
    assert entry.problems == ()
    return {name: cell.value for name, cell in entry.cells.items()}


def problem(line: str) -> Problem:
    (found,) = one(line).problems
    return found


def test_one_prompt_a_line() -> None:
    found = list(entries(["a cat", "", "  # a comment", "  a dog, (red:1.2)  "]))
    assert [(entry.line, entry.cells["prompt"].value) for entry in found] == [
        (1, "a cat"),
        (4, "a dog, (red:1.2)"),
    ]
    assert found[1].cells["prompt"].column == 3


def test_every_flag_of_the_script_has_an_answer() -> None:
    assert set(A1111.split()) <= set(FLAGS)


def test_flags_become_fields() -> None:
    assert values(
        '--prompt a "big cat" sat --negative_prompt no dogs --seed 5 --subseed 6 '
        '--subseed_strength 0.5 --sampler_name "Euler a" --steps 20 --cfg_scale 7 --width 512 '
        "--height 768 --tiling true --sd_model mini"
    ) == {
        "prompt": "a big cat sat",
        "negative_prompt": "no dogs",
        "seed": 5,
        "variation_seed": 6,
        "variation_strength": 0.5,
        "sampler": "Euler a",
        "steps": 20,
        "guidance_scale": 7.0,
        "width": 512,
        "height": 768,
        "seamless": True,
        "model": "mini",
    }


def test_every_field_of_a_request_is_a_flag() -> None:
    assert values("--prompt a --init_image in/a.png --strength 0.4 --hires-scale 2") == {
        "prompt": "a",
        "init_image": "in/a.png",
        "strength": 0.4,
        "hires_scale": 2.0,
    }


def test_pictures_are_batch_size_times_n_iter() -> None:
    assert values("--prompt a --n_iter 3 --batch_size 4")["count"] == 12
    assert values("--prompt a --batch_size 4")["count"] == 4
    assert problem("--prompt a --n_iter many").field == "n_iter"


def test_a_sampler_index_may_be_a_name_but_no_number() -> None:
    assert values("--prompt a --sampler_index Euler")["sampler"] == "Euler"
    assert "--sampler_name" in problem("--prompt a --sampler_index 3").valid


@pytest.mark.parametrize(
    ("line", "column", "says"),
    [
        ("--prompt a --restore_faces true", 12, "faces"),
        ("--prompt a --seed_resize_from_h 512", 12, "noise"),
        ("--prompt a --seed_resize_from_w 512", 12, "noise"),
        ('--prompt a --styles "Oli painting"', 21, "Oil painting"),
        ("--prompt a --sede 4", 12, "--seed"),
        ("--prompt a --steps=20", 12, "--steps 20"),
        ("--prompt a --steps", 12, "no value"),
        ("--prompt a --steps 20 30", 23, "'30'"),
        ("--prompt a --sampler_name Euler a", 33, "quotes"),
        ("--prompt a --steps 20 --steps 30", 23, "twice"),
        ("--prompt a --sampler_name Euler --sampler Heun", 33, "sampler"),
        ("a cat --steps 20", 1, "--prompt"),
        ('--prompt "half', 10, "no partner"),
        ("--prompt a cat's hat --steps 20", 15, "no partner"),
        ("--prompt a\\", 11, "no partner"),
        ("--prompt --steps 20", 1, "no value"),
    ],
)
def test_what_cannot_be_honoured_is_an_error_with_its_column(
    line: str, column: int, says: str
) -> None:
    found = problem(line)
    assert found.line == 1
    assert found.column == column
    assert says in str(found)


def test_all_problems_of_a_line_are_told() -> None:
    line = "--prompt a --sede 4 --restore_faces true --n_iter x --foo 1"
    assert [p.field for p in one(line).problems] == ["--sede", "restore_faces", "n_iter", "--foo"]


def test_flags_that_ask_for_nothing_are_honoured() -> None:
    assert values("--prompt a --restore_faces false --seed_resize_from_h 0 --styles ''") == {
        "prompt": "a"
    }


def test_where_pictures_go_is_passed_over_by_name() -> None:
    line = "--prompt a --outpath_samples /etc --do_not_save_grid true --prompt_for_display b"
    assert [w.field for w in one(line).warnings] == [
        "outpath_samples",
        "do_not_save_grid",
        "prompt_for_display",
    ]


def test_styles_put_their_words_in() -> None:
    found = values('--prompt a cat --styles "oil painting, Night" --negative_prompt dogs')
    assert found == {
        "prompt": "oil painting of a cat, visible brush strokes, canvas, at night, moonlight",
        "negative_prompt": "dogs, photograph, daylight",
    }


def test_a_quoted_word_is_no_flag() -> None:
    assert values('--prompt cats "--and" dogs') == {"prompt": "cats --and dogs"}


_CHARACTERS = st.text(alphabet="ab- '\"\\\tπ", max_size=12)


@given(_CHARACTERS)
def test_words_are_those_of_a_posix_shell(text: str) -> None:
    line = f"--prompt x {text}"
    try:
        expected = shlex.split(line)
    except ValueError:
        assert one(line).problems
        return
    if not any(word.startswith("--") for word in expected[2:]):
        assert values(line) == {"prompt": " ".join(expected[1:])}


@given(st.text())
def test_no_line_crashes_it(text: str) -> None:
    for entry in entries([text, f"--prompt {text}", f"--{text}"]):
        assert entry.cells or entry.problems

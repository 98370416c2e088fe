"""The prompt language means what A1111 means by it, and no text can crash it."""

from __future__ import annotations

import contextlib
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.errors import PromptError
from studio.pipelines.prompt_grammar import (
    EMPTY,
    NESTING_LIMIT,
    WEIGHT_LIMIT,
    Chunk,
    Run,
    parse,
)


def runs(prompt: str) -> list[tuple[str, float]]:
    """The runs of a prompt without BREAK and schedules."""
    (chunk,) = parse(prompt).at(0, 10)
    return [(run.text, round(run.weight, 6)) for run in chunk]


def text_at(prompt: str, step: int, steps: int = 10) -> str:
    return " BREAK ".join(
        "".join(run.text for run in chunk) for chunk in parse(prompt).at(step, steps)
    )


WEIGHTS = {
    "normal text": [("normal text", 1)],
    "an (important) word": [("an ", 1), ("important", 1.1), (" word", 1)],
    "(unbalanced": [("unbalanced", 1.1)],
    "[unbalanced": [("unbalanced", 0.909091)],
    "unbalanced)": [("unbalanced)", 1)],
    r"\(literal\]": [("(literal]", 1)],
    r"a \\ b": [("a \\ b", 1)],
    r"dropped\ backslash": [("dropped backslash", 1)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (b:1.5) c": [("a ", 1), ("b", 1.5), (" c", 1)],
    "a (b: 1.5 ) c": [("a ", 1), ("b", 1.5), (" c", 1)],
    "(a:.5)(b:+2)(c:-1)(d:0)": [("a", 0.5), ("b", 2), ("c", -1), ("d", 0)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1),
        ("house", 1.573),
        (" ", 1.1),
        ("on", 1),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641),
        (".", 1.1),
    ],
    "([same])": [("same", 1)],
    "((a:1.2):1.5)": [("a", 1.8)],
    "(a [b) c]": [("a ", 1.1), ("b", 1), (" c", 0.909091)],
    "(a:b)": [("a:b", 1.1)],
    "(see:...)": [("see:...", 1.1)],
    "a:1.2)": [("a:1.2)", 1)],
    "16:9 | wide": [("16:9 | wide", 1)],
    "a AND b": [("a AND b", 1)],
    "": [("", 1)],
    "()": [("", 1)],
}


@pytest.mark.parametrize("prompt", WEIGHTS)
def test_weights_are_those_of_a1111(prompt: str) -> None:
    assert runs(prompt) == WEIGHTS[prompt]


SCHEDULES: dict[str, dict[int, str]] = {
    # prompt -> first step (of 10, from 0) -> text from there on
    "test": {0: "test"},
    "a [b:3]": {0: "a ", 3: "a b"},
    "a [b: 3 ]": {0: "a ", 3: "a b"},
    "a [b::3]": {0: "a b", 3: "a "},
    "a [[[b]]:2]": {0: "a ", 2: "a b"},
    "[(a:2):3]": {0: "", 3: "a"},
    "a [b : c : 1] d": {0: "a b  d", 1: "a  c  d"},
    "a[b:[c:d:2]:1]e": {0: "abe", 1: "ace", 2: "ade"},
    "a [unbalanced": {0: "a unbalanced"},
    "a [b:.5] c": {0: "a  c", 5: "a b c"},
    "a [b:0.25] c": {0: "a  c", 2: "a b c"},
    "a [{b|d{:.5] c": {0: "a  c", 5: "a {b|d{ c"},
    "((a][:b:c [d:3]": {0: "a]:b:c ", 3: "a]:b:c d"},
    "[a:b:0]": {0: "b"},
    "[a:b:-1]": {0: "b"},
    "[a:b:1]": {0: "a", 1: "b"},
    "[a:b:1.0]": {0: "a"},
    "[a:b:10]": {0: "a"},
    "[a:b:1e999]": {0: "a"},
    "[a:b:nan]": {0: "a:b:nan"},
    "[a:b]": {0: "a:b"},
    "[a:b:c:3]": {0: "a:b:c:3"},
    r"[a\:b:3]": {0: "", 3: "a:b"},
    r"\[a:b:3\]": {0: "[a:b:3]"},
    "[x (a:b:2] y)": {0: "x a:b:2 y"},
    "a [b BREAK c:5]": {0: "a ", 5: "a b BREAK c"},
}


@pytest.mark.parametrize("prompt", SCHEDULES)
def test_schedules_are_those_of_a1111(prompt: str) -> None:
    expected = SCHEDULES[prompt]
    shown = ""
    for step in range(10):
        shown = expected.get(step, shown)
        assert text_at(prompt, step) == shown, step
    assert set(expected) <= set(parse(prompt).boundaries(10))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a|b]", "a b a b a b"),
        ("[a|b|c]", "a b c a b c"),
        ("[a|(b:1.1)]", "a b a b a b"),
        ("[fe|]male", "female male female male female male"),
        ("[fe|||]male", "female male male male female male"),
        ("[[a|b]|c]", "a c a c a c"),
        ("[[a|b]:c:3]", "a b a c c c"),
        (r"[a\|b|c]", "a|b c a|b c a|b c"),
    ],
)
def test_alternation_takes_turns(prompt: str, expected: str) -> None:
    assert [text_at(prompt, step) for step in range(6)] == expected.split()
    assert parse(prompt).boundaries(6) == tuple(range(6))


def test_a_schedule_may_stand_where_a_weight_belongs() -> None:
    prompt = parse("(cat:[1.2:0.8:5])")
    assert prompt.at(0, 10) == ((Run("cat", 1.2),),)
    assert prompt.at(5, 10) == ((Run("cat", 0.8),),)


@pytest.mark.parametrize("steps", [1, 4, 7, 20])
def test_the_text_changes_at_boundaries_only(steps: int) -> None:
    prompt = parse("a [b:c:3] [d:.5] [e::15]")
    boundaries = prompt.boundaries(steps)
    assert boundaries[0] == 0
    for step in range(1, steps):
        changed = prompt.at(step, steps) != prompt.at(step - 1, steps)
        assert changed == (step in boundaries)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a BREAK b", ["a", "b"]),
        ("a\nBREAK\nb BREAK c", ["a", "b", "c"]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("BREAK a", ["", "a"]),
        ("a BREAK", ["a"]),
        ("BREAK", [""]),
        ("BREAKFAST, aBREAK, BREAKb, break, B", ["BREAKFAST, aBREAK, BREAKb, break, B"]),
    ],
)
def test_break_begins_a_new_chunk(prompt: str, expected: list[str]) -> None:
    assert ["".join(run.text for run in chunk) for chunk in parse(prompt).at(0, 1)] == expected


def test_a_weight_reaches_across_break() -> None:
    assert parse("(a BREAK b:1.5)").at(0, 1) == ((Run("a", 1.5),), (Run("b", 1.5),))


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [("a cat", True), ("([cat])", True), ("(cat)", False), ("[a|b]", False), ("a BREAK b", False)],
)
def test_plain_prompts_are_told_apart(prompt: str, plain: bool) -> None:
    assert parse(prompt).plain is plain


@pytest.mark.parametrize(
    ("prompt", "column"),
    [
        ("(a:nan)", 4),
        ("(a:1e999)", 4),
        ("(a: -inf)", 5),
        ("ok (a:1.2.3)", 7),
        (f"(a:{WEIGHT_LIMIT + 1:g})", 4),
        ("(" * 60 + "a" + ")" * 60, 61),
        ("((a:50):50)", 3),
        ("[b|(a:500)]", 7),
        ("[x: (a:500):3]", 8),
        ("x [" + "[" * NESTING_LIMIT + "a" + ":3]" * (NESTING_LIMIT + 1), 3),
    ],
)
def test_impossible_prompts_are_errors_with_a_column(prompt: str, column: int) -> None:
    with pytest.raises(PromptError, match=re.escape(f"at column {column}.")) as caught:
        parse(prompt, field="negative_prompt")
    assert caught.value.column == column
    assert caught.value.field == "negative_prompt"
    assert caught.value.valid


def test_columns_count_in_the_prompt_as_typed() -> None:
    """The weight is put together from two places; the column is where its number stands."""
    prompt = "[aaaaaaa|b] (c:[1:2:3]0[0|00])"
    with pytest.raises(PromptError) as caught:
        parse(prompt).at(5, 10)
    assert caught.value.column == prompt.index("2") + 1


def test_nesting_up_to_the_limit_is_fine() -> None:
    prompt = "[" * NESTING_LIMIT + "a" + ":3]" * NESTING_LIMIT
    assert text_at(prompt, 5) == "a"


@pytest.mark.parametrize("mark", ["(", ")", "[", "]", ":", "|", "\\", "[a|", "(a:", "([", "B", " "])
def test_long_prompts_of_nothing_but_marks_end(mark: str) -> None:
    """Such a prompt takes hours where parsing is quadratic, or blows the stack."""
    prompt = mark * (5_000 // len(mark))
    with contextlib.suppress(PromptError):
        assert parse(prompt).at(0, 10)


marks = st.sampled_from(
    ["(", ")", "[", "]", ":", "|", "\\", ":1.5)", ":3]", ":.5]", "BREAK", " ", "nan", "1e9", ","]
)
prompts = st.one_of(st.text(), st.lists(st.one_of(marks, st.text(max_size=3))).map("".join))


@settings(deadline=None)
@given(prompts, st.integers(0, 30), st.integers(1, 30))
def test_no_prompt_crashes(prompt: str, step: int, steps: int) -> None:
    try:
        chunks = parse(prompt).at(step, steps)
    except PromptError as error:
        column = error.column
    else:
        column = 0
        assert chunks == parse(prompt).at(step, steps)
        check(chunks)
    assert 0 <= column <= len(prompt)


def check(chunks: tuple[Chunk, ...]) -> None:
    assert chunks
    for chunk in chunks:
        assert chunk == EMPTY or all(run.text for run in chunk)
        assert all(abs(run.weight) <= WEIGHT_LIMIT for run in chunk)
        assert all(a.weight != b.weight for a, b in pairwise(chunk))


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="()[]\\")))
def test_text_without_brackets_is_left_alone(text: str) -> None:
    if "BREAK" not in text:
        assert parse(text).at(3, 10) == ((Run(text),),)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_escaped_text_is_left_alone(text: str) -> None:
    if "BREAK" not in text:
        escaped = re.sub(r"([()\[\]\\])", r"\\\1", text)
        assert parse(escaped).at(0, 10) == ((Run(text),),)

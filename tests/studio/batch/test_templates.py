"""Templates: what is drawn, what stays the prompt's own, and wildcards in a folder."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.batch.templates import TemplateError, draw, escaped, parse
from studio.batch.wildcards import Wildcards

NONE = Wildcards(None)


def all_of(template: str, source: Wildcards = NONE, draws: int = 60) -> set[str]:
    return {draw(template, seed, source) for seed in range(draws)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "colours").mkdir()
    (tmp_path / "animal.txt").write_text("\ufeffcat\n# no\n\n  dog \n", encoding="utf-8")
    (tmp_path / "colours" / "dark.txt").write_text("black\n3::deep {blue|red}\n__animal__ brown\n")
    return tmp_path


def test_alternatives() -> None:
    assert all_of("a {red|blue} car") == {"a red car", "a blue car"}
    assert all_of("{big |}cat") == {"big cat", "cat"}
    assert all_of("{a|{b|c}}") == {"a", "b", "c"}


def test_the_same_seed_draws_the_same() -> None:
    template = "{a|b|c} {d|e|f} {2$$g|h|i}"
    assert draw(template, 7, NONE) == draw(template, 7, NONE)
    # Recipes of pictures rely on these staying what they are.
    assert [draw("{a|b|c|d}", seed, NONE) for seed in range(6)] == ["d", "d", "d", "c", "a", "c"]


def test_weights_say_how_often() -> None:
    drawn = Counter(draw("{9::a|b}", seed, NONE) for seed in range(500))
    assert 400 < drawn["a"] < 490


def test_several_different_ones() -> None:
    assert all_of("{2$$a|b}") == {"a, b", "b, a"}
    assert all_of("{1-2$$ and $$a|b}") == {"a", "b", "a and b", "b and a"}


@pytest.mark.parametrize(
    "prompt",
    ["(word:1.2) [a|b] [cat:dog:0.5]", "50% #1 // a", "costs $5", "snake_case a__b", r"\(x\) a\|b"],
)
def test_the_prompts_own_marks_stay(prompt: str) -> None:
    assert all_of(prompt, draws=3) == {prompt}
    assert all_of(prompt + " {x}", draws=3) == {prompt + " x"}


def test_the_bar_in_square_brackets_is_the_prompts_own() -> None:
    assert all_of("{[a|b] c|d}") == {"[a|b] c", "d"}


def test_marks_are_escaped_with_a_backslash() -> None:
    assert all_of(r"\{a|b\} \__init__ {x\|y}", draws=3) == {"{a|b} __init__ x|y"}


@pytest.mark.parametrize(
    ("template", "column"),
    [("a {red|blue", 3), ("a } b", 3), ("{a [b|c}", 8), ("{a]|b}", 3), ("x { y {z}", 3)],
)
def test_braces_that_do_not_pair_are_errors_with_their_column(template: str, column: int) -> None:
    with pytest.raises(TemplateError) as error:
        parse(template)
    assert error.value.column == column


def test_too_deep_is_an_error() -> None:
    with pytest.raises(TemplateError, match="bounds"):
        draw("{" * 50 + "}" * 50, 0, NONE)


def test_wildcards_are_lines_of_files(folder: Path) -> None:
    source = Wildcards(folder)
    assert all_of("a __animal__", source) == {"a cat", "a dog"}
    dark = {"black", "deep blue", "deep red", "cat brown", "dog brown"}
    assert all_of("__colours/dark__", source) == dark
    assert all_of("{x|__animal__}", source) == {"x", "cat", "dog"}


def faults(template: str, folder: Path | None) -> list[TemplateError]:
    return list(Wildcards(folder).faults(template))


def test_a_missing_wildcard_names_the_nearest_wherever_it_stands(folder: Path) -> None:
    (fault,) = faults("{a|b __animals__}", folder)
    assert fault.column == 6
    assert "__animal__" in fault.valid


def test_a_missing_wildcard_is_told_beside_a_missing_brace(folder: Path) -> None:
    assert [fault.column for fault in faults("__anmal__ {x", folder)] == [11, 1]


def test_without_a_folder_wildcards_are_errors() -> None:
    (fault,) = faults("__animal__", None)
    assert "--wildcards" in fault.valid


@pytest.mark.parametrize("name", ["../secret", "colours/../../secret", "/secret", "link", "away/x"])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, folder: Path, name: str) -> None:
    inside = folder / "inside"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "away").symlink_to(tmp_path)
    (tmp_path / "x.txt").write_text("secret")
    (fault,) = faults(f"__{name}__", inside)
    assert "outside" in fault.reason


def test_wildcards_that_hold_each_other_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n__b__\n")
    (tmp_path / "b.txt").write_text("__a__\n")
    (fault,) = faults("__a__", tmp_path)
    assert "a > b > a" in fault.reason


def test_what_grows_without_bounds_is_an_error(tmp_path: Path) -> None:
    for number in range(15):
        (tmp_path / f"w{number}.txt").write_text(f"__w{number + 1}__ __w{number + 1}__ x\n")
    (tmp_path / "w15.txt").write_text("x\n")
    with pytest.raises(TemplateError, match="bounds"):
        draw("__w0__", 0, Wildcards(tmp_path))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"# none\n", "no line"), (b"a\nb\xff\n", "line 2"), (b"a\n{b\n", "line 2, column 1")],
)
def test_a_broken_wildcard_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "broken.txt").write_bytes(content)
    (fault,) = faults("x __broken__", tmp_path)
    assert fault.column == 3
    assert "__broken__" in fault.reason
    assert says in fault.reason


@given(st.text(alphabet="ab{}_|[ ", max_size=20))
def test_escaped_text_draws_itself(text: str) -> None:
    assert draw(escaped(text), 0, NONE) == text


@given(st.text(alphabet="ab{}|[]\\_$:2- .", max_size=30), st.integers(0, 99))
def test_no_template_crashes_it(template: str, seed: int) -> None:
    try:
        text = draw(template, seed, NONE)
    except TemplateError as error:
        column = error.column
    else:
        column = 1
        assert len(text) <= len(template)
    assert 1 <= column <= max(1, len(template))

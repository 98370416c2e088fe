"""CSV and JSONL: keys are the request's fields, places are those of the file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.batch.entries import Entry
from studio.batch.tables import csv_entries, jsonl_entries


def values(entry: Entry) -> dict[str, object]:
    return {name: cell.value for name, cell in entry.cells.items()}


def places(entry: Entry) -> dict[str, tuple[int, int]]:
    return {name: (cell.line, cell.column) for name, cell in entry.cells.items()}


def test_csv_cells_are_read_by_the_type_of_their_field() -> None:
    (row,) = csv_entries(["prompt,steps,guidance_scale,seamless,sampler", "a cat,20,7,yes,Euler"])
    assert values(row) == {
        "prompt": "a cat",
        "steps": 20,
        "guidance_scale": 7.0,
        "seamless": True,
        "sampler": "Euler",
    }


def test_an_empty_cell_leaves_its_field_open() -> None:
    (row,) = csv_entries(["prompt,steps,seed", "a,,3"])
    assert values(row) == {"prompt": "a", "seed": 3}


def test_blank_csv_rows_are_none() -> None:
    assert [entry.line for entry in csv_entries(["", "prompt,seed", "", ",", "a,1", ""])] == [5]


def test_csv_places_are_physical_lines_and_columns() -> None:
    _, row = csv_entries(["prompt,steps", "a,1", '"two', 'lines, ""so""",x'])
    assert row.line == 3
    assert values(row) == {"prompt": 'two\nlines, "so"', "steps": "x"}
    assert places(row) == {"prompt": (3, 1), "steps": (4, 16)}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_delimiters_are_known_by_the_header(mark: str) -> None:
    (row,) = csv_entries([f"prompt{mark}steps", f"a, b{mark}3"])
    assert values(row) == {"prompt": "a, b", "steps": 3}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a", "1 cells under a header of 3"),
        ("a,1,2,3", "4 cells under a header of 3"),
        ('"a"b,1,2', "not CSV"),
        ('"half a row,1', "not CSV"),
    ],
)
def test_broken_csv_rows_are_problems_and_the_others_go_on(line: str, says: str) -> None:
    good, bad = csv_entries(["prompt,steps,seed", "a,1,2", line])
    assert not good.problems
    assert bad.line == 3
    assert bad.text == line
    assert says in bad.problems[0].reason


def test_a_name_twice_in_the_header_is_a_problem() -> None:
    found = list(csv_entries(["prompt,seed,seed", "a,1,2"]))
    assert "twice" in found[0].problems[0].reason


def test_jsonl_values_keep_their_types_and_places() -> None:
    (row,) = jsonl_entries(['{"prompt": "a", "steps": "20", "seed": null, "#note": [1]}'])
    assert values(row) == {"prompt": "a", "steps": "20"}
    assert places(row) == {"prompt": (1, 12), "steps": (1, 26)}


@pytest.mark.parametrize(
    ("line", "column", "says"),
    [
        ('{"prompt": "a", "prompt": "b"}', 27, "twice"),
        ('{"prompt": "half', 12, "unterminated"),
        ('{"prompt": "a"', 15, "the end of the line"),
        ('{"prompt": "a",}', 16, "expecting value"),
        ('{"prompt": "a"} b', 17, "follows"),
        ("[1]", 1, "where '{' belongs"),
        ('{"steps": NaN}', 11, "NaN"),
        ('{"prompt": ' + "[" * 100_000, 12, "deep"),
        ('{"seed": ' + "9" * 5000 + "}", 10, ""),
    ],
)
def test_broken_json_is_a_problem_with_its_column(line: str, column: int, says: str) -> None:
    (row,) = jsonl_entries([line])
    assert row.problems[0].column == column
    assert says.lower() in row.problems[0].reason.lower()


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(), _JSON, max_size=5))
def test_every_object_is_read_as_json_reads_it(value: dict[str, object]) -> None:
    (row,) = jsonl_entries([json.dumps(value)])
    assert not row.problems
    assert values(row) == {
        name: one for name, one in value.items() if one is not None and not name.startswith("#")
    }


@given(st.text())
def test_no_text_crashes_them(text: str) -> None:
    lines = text.split("\n")
    for entry in (
        *jsonl_entries(lines),
        *csv_entries(lines),
        *csv_entries(["prompt,seed", *lines]),
    ):
        assert entry.line >= 1

"""Bytes become lines, or problems that say where."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.batch.reading import decode


@pytest.mark.parametrize(
    "data",
    [
        "käse\nπ\n".encode(),
        codecs.BOM_UTF8 + "käse\nπ".encode(),
        codecs.BOM_UTF16_LE + "käse\r\nπ".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "käse\rπ\r\n".encode("utf-16-be"),
    ],
)
def test_utf_8_and_utf_16_with_a_mark_are_read(data: bytes) -> None:
    assert decode(data).lines == ("käse", "π")
    assert decode(data).problems == ()


def test_only_line_ends_end_lines() -> None:
    assert decode("a\u2028b\x0bc\x85d".encode()).lines == ("a\u2028b\x0bc\x85d",)


def test_other_bytes_are_named_by_line_column_and_offset() -> None:
    document = decode(codecs.BOM_UTF8 + b"good\nb\xe4d\n\xff")
    assert [(p.line, p.column) for p in document.problems] == [(2, 2), (3, 1)]
    assert "0xe4 at byte 9" in document.problems[0].reason
    assert "0xff at byte 12" in document.problems[1].reason
    assert "UTF-8" in document.problems[0].valid


def test_a_nul_is_named_by_line_and_offset() -> None:
    (problem,) = decode(b"a\n\xc3\xa4\0b\0").problems
    assert (problem.line, problem.column) == (2, 2)
    assert "NUL character at byte 4" in problem.reason


def test_half_a_utf_16_character_is_a_problem() -> None:
    data = codecs.BOM_UTF16_LE + "ab".encode("utf-16-le") + b"\0"
    (problem,) = decode(data).problems
    assert "at byte 6" in problem.reason


def test_a_file_that_is_no_text_is_not_read_to_its_end() -> None:
    document = decode(b"\xff\n" * 100_000)
    assert len(document.problems) == 101
    assert "the rest was not read" in document.problems[-1].reason


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"))
)
def test_text_comes_through_whole(text: str) -> None:
    for data in (text.encode(), codecs.BOM_UTF16_BE + text.encode("utf-16-be")):
        assert decode(data).lines == ((text,) if text else ())


@given(st.binary())
def test_no_bytes_crash_it(data: bytes) -> None:
    document = decode(data)
    assert all(1 <= p.line <= max(1, len(document.lines) + 1) for p in document.problems)

"""A dictionary in WordNet's form: which words can be drawn, and what they are kinds of."""

from __future__ import annotations

import pytest

from studio.errors import StudioError
from studio.training.data_recipe import Package
from studio.training.dictionary import Dictionary
from studio.training.sources import Source

PACKAGE = Package(name="words", version="1.0.0", licence="MIT", credit="us", sha256=None)
DATA = b"""  1 This software is provided to you under the following licence.
00000001 05 n 01 animal 0 000 | something that lives
00000002 05 n 02 equine 0 Equus 0 001 @ 00000001 n 0000 | like a horse
00000003 05 n 02 horse 0 Equus_caballus 0 003 @ 00000002 n 0000 ~ 00000004 n 0000 + 09 v 0101 | a
00000004 05 n 02 stallion 0 male_horse 0 001 @ 00000003 n 0000 | male horse | uncut
00000005 21 n 01 kitty 0 000 | money of all players
00000006 05 n 02 kitty 1 kitty-cat 0 001 @ 00000007 n 0000 | young cat
00000007 05 n 01 cat 0 001 @ 00000001 n 0000 | it meows
00000008 15 n 01 Paris 0 000 | a town
"""
INDEX = b"""  1 This software is provided to you under the following licence.
animal n 1 0 1 1 00000001
cat n 1 1 @ 1 1 00000007
equine n 1 1 @ 1 0 00000002
equus n 1 1 @ 1 0 00000002
horse n 1 3 @ ~ + 1 1 00000003
kitty n 2 1 @ 2 1 00000005 00000006
kitty-cat n 1 1 @ 1 0 00000006
male_horse n 1 1 @ 1 0 00000004
paris n 1 0 1 0 00000008
stallion n 1 1 @ 1 0 00000004
"""


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return Dictionary.read(_source(data=DATA, index=INDEX))


def test_words_that_can_be_drawn_are_kept(dictionary: Dictionary) -> None:
    """Neither money nor towns nor Latin."""
    assert sorted(dictionary.words) == [
        "animal", "cat", "equine", "horse", "kitty", "kitty-cat", "male horse", "stallion",
    ]  # fmt: skip
    assert dictionary.explained("kitty") == ("kitty, kitty-cat, cat, animal",)
    assert dictionary.explained("stallion") == ("stallion, male horse, horse, equine",)
    assert dictionary.explained("paris") == ()
    assert dictionary.kinds("stallion") == {"stallion", "male horse", "horse", "equine"}
    assert dictionary.kinds("paris") == set()


def test_it_survives_json(dictionary: Dictionary) -> None:
    assert Dictionary.from_json(dictionary.to_json()) == dictionary


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"data": DATA}, r"words@1\.0\.0 holds no dict/index\.noun"),
        ({"data": DATA, "index": b"cat n many\n"}, r"words@1\.0\.0 is broken"),
        ({"data": b"00000001 05\n", "index": INDEX}, r"words@1\.0\.0 is broken"),
    ],
)
def test_what_is_no_dictionary_is_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(StudioError, match=message):
        Dictionary.read(_source(**files))


def _source(**files: bytes) -> Source:
    return Source(PACKAGE, "0" * 64, {f"dict/{name}.noun": data for name, data in files.items()})

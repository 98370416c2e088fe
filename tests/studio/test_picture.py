from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import files
from studio.errors import OutputError
from studio.metadata import pixel_sha256, read_recipe
from studio.picture import slug
from studio.picture_files import read_pixels
from tests.studio.recipes import make_picture


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_tells_what_it_is() -> None:
    picture = make_picture(seed=9)
    assert picture.seed == 9
    assert picture.recovery == ("sliced decode",)
    assert picture.timings is not None
    assert picture.timings.total_s == pytest.approx(1.85)


def test_saving_names_the_file_by_seed_and_prompt(tmp_path: Path) -> None:
    path = make_picture(prompt="A (red:1.2) apple, on a TABLE!").save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "7_a-red-1-2-apple-on-a-table.png"
    assert pixel_sha256(read_pixels(path)) == read_recipe(path).pixel_sha256


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    paths = [make_picture().save(tmp_path) for _ in range(3)]
    assert [path.name for path in paths] == ["7_a-cat.png", "7_a-cat_2.png", "7_a-cat_3.png"]
    assert [make_picture().save(tmp_path / "b.webp").name for _ in range(2)] == [
        "b.webp",
        "b_2.webp",
    ]


def test_a_dangling_link_is_a_taken_name(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.png", tmp_path / "folder"
    folder.mkdir()
    (folder / "7_a-cat.png").symlink_to(outside)
    assert make_picture().save(folder).name == "7_a-cat_2.png"
    assert not outside.exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_the_ending_chooses_the_format(tmp_path: Path, suffix: str) -> None:
    picture = make_picture()
    for path in (
        picture.save(tmp_path / f"b{suffix}"),
        picture.save(tmp_path, name="{steps}-{width}x{height}" + suffix),
    ):
        assert path.suffix == suffix
        assert read_recipe(path) == picture.recipe


def test_a_folder_with_such_an_ending_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert make_picture().save(tmp_path / "a.png").parent == tmp_path / "a.png"


@pytest.mark.parametrize(
    "name",
    [
        "../../{seed}",
        "/etc/{seed}",
        "..",
        ".",
        "",
        "a/b\\c",
        "CON",
        "con.png",
        "nul.tar.gz",
        "a...",
        "a .. .png",
        "a\0b",
        "a\nb",
        "😀" * 75,
        "{prompt}" * 40,
        "ا" * 400 + ".webp",
    ],
)
def test_a_file_never_leaves_its_folder_and_has_a_portable_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "side"
    picture = make_picture()
    paths = [picture.save(folder, name=name) for _ in range(2)]
    assert names_in(folder) == sorted(path.name for path in paths)
    assert len(set(paths)) == 2
    for path in paths:
        assert path.resolve().parent == folder.resolve()
        assert len(path.name.encode()) <= 255
        files.check_name(path.name)
        assert read_recipe(path) == picture.recipe


@pytest.mark.parametrize(
    "name", ["{colour}", "{seed.__class__}", "{seed:>9}", "{prompt:-1}", "{", "{seed!r}"]
)
def test_a_template_that_cannot_be_filled_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"template.*\{seed\}, \{prompt\}"):
        make_picture().save(tmp_path, name=name)


@pytest.mark.parametrize("name", ["CON.png", "a?.png", "a\0.png", "😀" * 75 + ".png"], ids=ascii)
def test_a_file_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="file name"):
        make_picture().save(tmp_path / name)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A cat", "a-cat"),
        ("a   (red:1.2), [cat]", "a-red-1-2-cat"),
        ("חתול אדום", "חתול-אדום"),
        ("हिन्दी", "हिन्दी"),
        ("../../etc/passwd", "etc-passwd"),
        ("\u202ereversed\u202c", "reversed"),
        ("🍎🍎", ""),
    ],
)
def test_a_slug_keeps_letters_and_digits_of_any_script(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


def test_a_prompt_without_letters_leaves_the_seed_as_the_name(tmp_path: Path) -> None:
    assert make_picture(prompt="🍎").save(tmp_path).name == "7.png"


@pytest.mark.parametrize("target", ["file", "file/below", "file/below/a.png"])
def test_what_is_no_folder_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file.*not a folder"):
        make_picture().save(tmp_path / target)
    assert (tmp_path / "file").read_text() == "mine"


def failing(error: int, call: Callable[..., Any] | None = None, after: int = 0) -> Any:
    """A function that fails with ``error``, after so many calls of ``call`` went through."""
    calls = 0

    def fail(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if call and calls <= after:
            return call(*args, **options)
        raise OSError(error, os.strerror(error))

    return fail


class FullDisk(io.FileIO):
    """Takes the first bytes, then the disk is full."""

    def write(self, data: Any) -> int:
        super().write(bytes(data)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "open": (os, "open", failing(errno.EROFS)),
    "write": (os, "fdopen", FullDisk),
    "fsync of the file": (os, "fsync", failing(errno.EIO)),
    "link": (os, "link", failing(errno.EDQUOT)),
    "fsync of the folder": (os, "fsync", failing(errno.EIO, os.fsync, after=1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_nothing_and_touches_nothing(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_picture(prompt="first").save(tmp_path / "a.png")
    before = kept.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(*FAULTS[fault])
        with pytest.raises(OutputError, match="Cannot write into") as refusal:
            make_picture(prompt="second").save(tmp_path / "a.png")
    assert str(tmp_path) in str(refusal.value)
    assert refusal.value.exit_code == 75
    assert names_in(tmp_path) == ["a.png"]
    assert kept.read_bytes() == before
    assert make_picture(prompt="second").save(tmp_path / "a.png").name == "a_2.png"


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_picture().save(tmp_path)
    assert names_in(tmp_path) == []


def test_the_file_has_its_name_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, seen = os.fsync, []

    def look(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(names_in(tmp_path))

    monkeypatch.setattr(os, "fsync", look)
    make_picture().save(tmp_path / "a.png")
    (while_written,), after = seen
    assert while_written.startswith(".")
    assert after == ["a.png"]


def test_file_systems_without_links_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    picture = make_picture()
    assert [picture.save(tmp_path / "a.png").name for _ in range(2)] == ["a.png", "a_2.png"]
    assert read_recipe(tmp_path / "a_2.png") == picture.recipe
    monkeypatch.setattr(os, "rename", failing(errno.EIO))
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(OutputError):
        picture.save(tmp_path / "a.png")
    assert names_in(tmp_path) == ["a.png", "a_2.png"]


@pytest.mark.parametrize("links", [True, False])
def test_threads_that_save_the_same_name_all_survive(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.ENOTSUP))
    pictures = [make_picture(prompt=f"picture {i}") for i in range(8)]
    start = threading.Barrier(len(pictures))
    paths: list[Path] = []

    def save(index: int) -> None:
        start.wait()
        paths.append(pictures[index].save(tmp_path / "a.png"))

    threads = [threading.Thread(target=save, args=(i,)) for i in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names_in(tmp_path) == sorted(["a.png", *(f"a_{i}.png" for i in range(2, 9))])
    assert {read_recipe(path).request.prompt for path in paths} == {
        f"picture {i}" for i in range(8)
    }

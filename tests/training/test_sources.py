"""A package is used only where it is what the recipe says."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.errors import StudioError, UnavailableError
from studio.training.sources import cache_folder, fetch
from tests.training.packages import write_packages


def test_a_package_in_the_cache_is_read_and_its_digest_told(tmp_path: Path) -> None:
    package = write_packages(tmp_path).package("words")
    source = fetch(package, tmp_path)
    assert sorted(source.files) == ["dist/emoji-en-US.json", "package.json"]
    assert len(source.sha256) == 64
    fetch(package.model_copy(update={"sha256": source.sha256}), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"licence": "CC0-1.0"}, "states the licence 'MIT'"),
    ],
)
def test_a_package_that_differs_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    package = write_packages(tmp_path).package("shapes").model_copy(update=change)
    with pytest.raises(StudioError, match=message):
        fetch(package, tmp_path)


def test_another_version_under_the_name_is_refused(tmp_path: Path) -> None:
    package = write_packages(tmp_path).package("shapes")
    (tmp_path / package.archive).rename(tmp_path / "shapes-2.0.0.tgz")
    with pytest.raises(StudioError, match=r"states the version '1\.0\.0'"):
        fetch(package.model_copy(update={"version": "2.0.0"}), tmp_path)


def test_a_cut_archive_is_refused_with_the_remedy(tmp_path: Path) -> None:
    package = write_packages(tmp_path).package("shapes")
    archive = tmp_path / package.archive
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(StudioError, match="delete the file"):
        fetch(package, tmp_path)


def test_without_npm_the_file_to_provide_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_packages(tmp_path).package("shapes")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"shapes-1\.0\.0\.tgz"):
        fetch(package, tmp_path / "empty")


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_STUDIO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "packages"
    monkeypatch.delenv("LATENT_STUDIO_CACHE")
    assert cache_folder().parts[-3:] == (".cache", "latent-studio", "packages")

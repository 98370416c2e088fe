"""Fetch the packages that a data recipe names, and make sure they are what it says.

An archive is used only where its digest, the version and the licence it states itself all agree
with the recipe. Archives are read in place; nothing of a package is ever unpacked or run.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError, UnavailableError
from studio.training.data_recipe import Package

_ROOT = "package/"  # every npm archive holds its files below this folder


def cache_folder() -> Path:
    """Where archives are kept: below ``$LATENT_STUDIO_CACHE`` or ``~/.cache/latent-studio``."""
    base = os.environ.get("LATENT_STUDIO_CACHE")
    root = Path(base) if base else Path.home() / ".cache" / "latent-studio"
    return root / "packages"


@dataclass(frozen=True)
class Source:
    """A verified package: its members by path inside the package, and its archive's digest."""

    package: Package
    sha256: str
    files: dict[str, bytes]

    def json(self, path: str) -> Any:
        """The parsed JSON file ``path``.

        Raises:
            StudioError: the package lacks it, or it is no JSON.
        """
        if path not in self.files:
            raise StudioError(f"The package {self.package.spec} holds no {path}.")
        try:
            return json.loads(self.files[path])
        except ValueError as error:
            raise StudioError(f"{path} in {self.package.spec} is not JSON: {error}.") from error


def fetch(package: Package, folder: Path | None = None) -> Source:
    """Read ``package`` from the cache, through ``npm pack`` where it is not there yet; verify it.

    Raises:
        UnavailableError: it has to be fetched, and npm is missing or failed.
        StudioError: digest, version or licence differ from the recipe, or the archive is broken.
    """
    folder = folder or cache_folder()
    archive = folder / package.archive
    if not archive.is_file():
        _pack(package, folder)
    data = archive.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if package.sha256 not in (None, digest):
        raise StudioError(
            f"{archive} has sha256 {digest}, the recipe wants {package.sha256}.",
            valid="delete the file to fetch it again",
        )
    source = Source(package, digest, _members(archive))
    _verify(source)
    return source


def _pack(package: Package, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", package.spec, "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except FileNotFoundError as error:
        raise UnavailableError(
            f"{package.spec} has to be fetched and npm is not installed.",
            valid=f"install npm, or put {package.archive} into {folder}",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"npm pack {package.spec} took over ten minutes.") from error
    if done.returncode or not (folder / package.archive).is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"npm pack {package.spec} failed: {last}.")


def _members(archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            files = {}
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() else None
                if stream is not None:
                    files[member.name.removeprefix(_ROOT)] = stream.read()
            return files
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StudioError(
            f"{archive} is not a whole package archive: {error}.",
            valid="delete the file to fetch it again",
        ) from error


def _verify(source: Source) -> None:
    package, manifest = source.package, source.json("package.json")
    stated = {"version": manifest.get("version"), "licence": manifest.get("license")}
    for what, wanted in (("version", package.version), ("licence", package.licence)):
        if stated[what] != wanted:
            raise StudioError(
                f"{package.archive} states the {what} {stated[what]!r}, "
                f"the recipe wants {wanted!r}."
            )
    if "info.json" in source.files:
        spdx = source.json("info.json").get("license", {}).get("spdx")
        if spdx != package.licence:
            raise StudioError(
                f"info.json of {package.archive} states the licence {spdx!r}, "
                f"the recipe wants {package.licence!r}."
            )

"""The files that a request asks for beside its model: LoRAs, textual inversions, a VAE.

They are named by path, or by name among the user's own. Loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import platformdirs

from studio.errors import ModelError
from studio.pipelines import prompt_tags, weights
from studio.pipelines.prompt_tags import Use
from studio.pipelines.request import Request

Kind = Literal["lora", "embedding", "vae"]

_WORDS = {"lora": "LoRA", "embedding": "textual inversion", "vae": "VAE"}
_ENDING = ".safetensors"
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class Applied:
    """A file that took part in a picture.

    Args:
        kind: what it is: lora, embedding or vae.
        name: of the file without its ending.
        sha256: of the file, 64 hex digits; of a folder its fingerprint.
        weight: how strongly a LoRA acted; None for the others.
        tensors_sha256: of what follows the header of the file, which says what a LoRA is whatever
            notes were added to it; empty for the others.
    """

    kind: Kind
    name: str
    sha256: str
    weight: float | None = None
    tensors_sha256: str = ""


@dataclass(frozen=True)
class Asked:
    """The files that a request asks for.

    Args:
        loras: of the request's field, then of its prompt's tags.
        embeddings: likewise; of the prompts those behind ``embedding:``.
        vae: name or path.
    """

    loras: tuple[Use, ...] = ()
    embeddings: tuple[str, ...] = ()
    vae: str | None = None

    @classmethod
    def by(cls, request: Request) -> Asked:
        """What a request asks for, in its fields and in its prompts."""
        named = {Path(name).name.removesuffix(_ENDING): name for name in request.embedding}
        for prompt in (request.prompt, request.negative_prompt):
            named |= {name: name for name in prompt_tags.embeddings(prompt) if name not in named}
        return cls(
            (*map(prompt_tags.lora_use, request.lora), *prompt_tags.loras(request.prompt)),
            tuple(named.values()),
            request.vae,
        )

    def __bool__(self) -> bool:
        return self != Asked()

    def check(self) -> None:
        """Looks for every file, and whether it is whole.

        Raises:
            ModelError: one is missing, broken or unsafe.
        """
        for use in self.loras:
            weights.check(find("lora", use.name))
        for name in self.embeddings:
            weights.check(find("embedding", name))
        if self.vae is not None:
            find("vae", self.vae)


def folder(kind: Kind) -> Path:
    """Where the user's own files of a kind lie, folders within it included."""
    return platformdirs.user_data_path("latent-studio") / f"{kind}s"


def is_path(name: str) -> bool:
    """Whether a text says where a file is, rather than its name alone."""
    return name.endswith(_ENDING) or not prompt_tags.is_name(name)


def find(kind: Kind, name: str) -> Path:
    """The file of that name, or at that path; for a VAE it may be a folder.

    Raises:
        ModelError: there is none, there are several, or it is a pickle.
    """
    what = _WORDS[kind]
    if is_path(name) or (kind == "vae" and Path(name).is_dir()):
        path = Path(name).expanduser()
        if path.is_file() or (kind == "vae" and path.is_dir()):
            return path
        raise ModelError(
            f"{kind} = {name!r}: there is no such file.", valid=f"the path of a {what}"
        )
    own = folder(kind)
    files = sorted(path for path in own.rglob("*") if path.suffix in (_ENDING, *_PICKLES))
    found = [path for path in files if path.stem == name]
    safe = [path for path in found if path.suffix == _ENDING]
    if len(safe) == 1:
        return safe[0]
    if safe:
        places = ", ".join(str(path.relative_to(own)) for path in safe)
        raise ModelError(f"The {what} {name!r} is there {len(safe)} times: {places}.",
                         valid="names that differ, or the path of one")  # fmt: skip
    if found:
        raise ModelError(
            f"{found[0]} is a pickle, which can run code when opened.",
            valid="the same weights as .safetensors",
        )
    names = [path.stem for path in files if path.suffix == _ENDING]
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    shown = ", ".join(near or names[:10]) or f"none is there yet; put files into {own}"
    raise ModelError(f"There is no {what} {name!r} in {own}.", valid=shown)


def is_there(kind: Kind, name: str) -> bool:
    """Whether the user has one file of that name; no for paths."""
    try:
        if is_path(name):
            return False
        find(kind, name)
    except ModelError:
        return False
    return True


def applied(kind: Kind, path: Path, weight: float | None = None) -> Applied:
    """The record of a file that takes part."""
    if path.is_dir():
        digest = weights.fingerprint(path, weights.checked_weights(path).files)
        return Applied(kind, path.name, digest)
    tensors = weights.file_sha256(path, tensors_only=True) if kind == "lora" else ""
    return Applied(kind, path.stem, weights.file_sha256(path), weight, tensors)

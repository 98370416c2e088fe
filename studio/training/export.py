"""``studio train export``: the trained model as the folder that the studio ships."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from studio.errors import StudioError
from studio.training.clip import load_text
from studio.training.layout import write_text
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, own_recipe, read

_MOST_BYTES = 45_000_000
_WHERE = ("_name_or_path", "is_local", "local_files_only")
"""What the libraries note in configs of where they read them, which means nothing elsewhere."""


class ExportRecipe(Frozen):
    """What is exported.

    Attributes:
        clip: folder whose ``text_encoder/`` and ``tokenizer/`` read the prompts; None: the model's.
    """

    clip: Path | None = None


def run(options: TrainOptions) -> None:
    """Copy a trained folder (``--init-from``) to ``--out`` and write ``SHA256SUMS`` beside it.

    The model card (``README.md``) that lies in ``--out`` stays as it is.

    Raises:
        StudioError: a part is missing, or the weights are over 45 MB.
    """
    recipe = read(ExportRecipe, options.recipe or own_recipe("export"), "recipe", options.overrides)
    source = options.init_from
    if source is None:
        raise StudioError("studio train export needs --init-from.", valid="the U-Net's weights")
    if not (source / "model_index.json").is_file():
        raise StudioError(f"{source} holds no model.", valid="a folder that training wrote")
    missing = [name for name in parts(source) if not (source / name).exists()]
    if missing:
        raise StudioError(f"{source} lacks {missing[0]}.", valid="a folder that training wrote")
    with TemporaryDirectory() as folder:
        whole = Path(folder)
        for name in parts(source):
            shutil.copytree(source / name, whole / name)
        shutil.copy(source / "model_index.json", whole)
        if recipe.clip:
            tower, tokenizer = load_text(recipe.clip)
            write_text(whole, text_encoder=tower, tokenizer=tokenizer)
        weights = sum(path.stat().st_size for path in whole.rglob("*.safetensors"))
        if weights > _MOST_BYTES:
            raise StudioError(
                f"The weights for {options.out} are {weights / 1e6:.1f} MB.", valid="<= 45 MB"
            )
        for config in whole.glob("*/*config.json"):
            _forget_where(config)
        for name in parts(whole):
            shutil.rmtree(options.out / name, ignore_errors=True)
        shutil.copytree(whole, options.out, dirs_exist_ok=True)
    (options.out / "SHA256SUMS").write_text(checksums(options.out), encoding="utf-8")
    print(f"{options.out}: {weights / 1e6:.1f} MB of weights")


def parts(folder: Path) -> list[str]:
    """The folders of a model's parts, as its ``model_index.json`` lists them."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return [name for name, kind in index.items() if isinstance(kind, list) and kind[0]]


def _forget_where(config: Path) -> None:
    values = json.loads(config.read_text(encoding="utf-8"))
    kept = {name: value for name, value in values.items() if name not in _WHERE}
    if kept != values:
        config.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def checksums(folder: Path) -> str:
    """SHA-256 of every file of the model, in the form of ``sha256sum``."""
    files = sorted(p for name in parts(folder) for p in (folder / name).rglob("*") if p.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    )

"""A VAE in place of the model's own, in every layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from studio.errors import ModelError
from studio.pipelines.adapter_files import Asked
from studio.pipelines.adapters import adapted
from tests.adapted import model, ours, same, their_pipeline, theirs
from tests.tiny_families import tiny_family, tiny_parts, tiny_tensors, write

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

PREFIX = "first_stage_model."
_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@cache
def expected() -> Tensor:
    """sd1 with the VAE of sd2: the same architecture, other numbers."""
    return theirs(their_pipeline("sd1", vae=tiny_parts("sd2")["vae"]))


def _compvis() -> dict[str, Tensor]:
    tensors = tiny_tensors("sd2")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}


def _older() -> dict[str, Tensor]:
    found = {}
    for name, tensor in tiny_parts("sd2")["vae"].state_dict().items():
        for new, old in _OLD.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        found[name] = tensor
    return found


@pytest.mark.parametrize("form", ["vae", "compvis", "bare compvis", "diffusers", "older diffusers"])
def test_every_layout_draws_diffusers_picture(form: str, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    if form == "vae":
        path = tmp_path
        tiny_parts("sd2")["vae"].save_pretrained(path)
    elif form == "compvis":
        write(_compvis(), path)
    elif form == "bare compvis":
        write({name.removeprefix(PREFIX): t for name, t in _compvis().items()}, path)
    elif form == "diffusers":
        write(tiny_parts("sd2")["vae"].state_dict(), path)
    else:
        write(_older(), path)
    base = model("sd1")
    before = ours(base)
    same(ours(adapted(base, Asked(vae=str(path)))), expected())
    assert torch.equal(ours(base), before)


def refusal(tmp_path: Path, tensors: Mapping[str, Tensor]) -> str:
    path = write(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError) as told:
        adapted(model("sd1"), Asked(vae=str(path)))
    return str(told.value)


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    whole = dict(tiny_parts("sd2")["vae"].state_dict())
    first = whole.pop("encoder.conv_in.weight")
    assert "1 tensors are missing: encoder.conv_in.weight" in refusal(tmp_path, whole)
    wider = {**whole, "encoder.conv_in.weight": torch.cat([first, first])}
    assert "other shapes: encoder.conv_in.weight" in refusal(tmp_path, wider)
    stray = {**whole, "encoder.conv_in.weight": first, "conv_out.bias": first}
    assert "1 tensors fit nothing or have other shapes: conv_out.bias" in refusal(tmp_path, stray)


def test_other_latents_are_refused(tmp_path: Path) -> None:
    tiny_parts("sd2")["vae"].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["scaling_factor"] = tiny_family("sdxl").vae["scaling_factor"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=r"scaling_factor = 0\.13025, the model's own 0\.18215"):
        adapted(model("sd1"), Asked(vae=str(tmp_path)))

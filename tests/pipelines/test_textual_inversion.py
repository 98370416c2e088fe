"""Textual inversions against diffusers with the same file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from studio.errors import ModelError
from studio.pipelines.adapter_files import Asked
from studio.pipelines.adapters import adapted
from studio.pipelines.components import Components
from studio.pipelines.prompt_grammar import Run
from tests.adapted import model, ours, same, their_pipeline, theirs
from tests.tiny_families import write

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

WIDTH = 32


def vectors(count: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def knowing(family: str, *paths: Path) -> Components:
    return adapted(model(family), Asked(embeddings=tuple(map(str, paths))))


def test_automatic1111s_form_is_diffusers_picture(tmp_path: Path) -> None:
    path = write({"emb_params": vectors(3)}, tmp_path / "qmist.safetensors")
    pipeline = their_pipeline("sd1")
    pipeline.load_textual_inversion({"qmist": vectors(3)})
    drawn = ours(knowing("sd1", path), prompt="a qmist, red", negative_prompt="no QMIST")
    same(drawn, theirs(pipeline, prompt="a qmist, red", negative_prompt="no qmist"))
    assert (drawn - ours(model("sd1"), prompt="a qmist, red")).abs().max() > 0.05


@pytest.mark.parametrize("prompt", ["a <cat-toy> here", "a embedding:toy here", "a toy here"])
def test_diffusers_form_goes_by_its_token_and_by_its_file(prompt: str, tmp_path: Path) -> None:
    path = write({"<cat-toy>": vectors(1)[0]}, tmp_path / "toy.safetensors")
    pipeline = their_pipeline("sd1")
    pipeline.load_textual_inversion({"<cat-toy>": vectors(1)[0]})
    expected = theirs(pipeline, prompt="a <cat-toy> here")
    same(ours(knowing("sd1", path), prompt=prompt, embedding=str(path)), expected)


def test_two_towers(tmp_path: Path) -> None:
    tensors = {"clip_g": vectors(2, 1), "clip_l": vectors(2)}
    path = write(tensors, tmp_path / "qmist.safetensors")
    pipeline = their_pipeline("sdxl")
    for key, number in (("clip_l", ""), ("clip_g", "_2")):
        pipeline.load_textual_inversion(
            {"qmist": tensors[key]},
            text_encoder=getattr(pipeline, f"text_encoder{number}"),
            tokenizer=getattr(pipeline, f"tokenizer{number}"),
        )
    same(
        ours(knowing("sdxl", path), prompt="a qmist", negative_prompt="blue"),
        theirs(pipeline, prompt="a qmist", negative_prompt="blue"),
    )


def test_emphasis_and_several(tmp_path: Path) -> None:
    """A word of two vectors counts as two tokens of one weight; words do not mix."""
    paths = [
        write({"emb_params": vectors(2, i)}, tmp_path / f"{name}.safetensors")
        for i, name in enumerate(("qmist", "qmist-2"))
    ]
    changed = knowing("sd1", *paths)
    windows = changed.prompt_encoder.conditioner.vocabulary.windows  # type: ignore[attr-defined]
    first = len(model("sd1").text_encoder.get_input_embeddings().weight)
    (window,) = windows((Run("qmist-2, ", 1.2), Run("QMist"), Run("qmists")))
    found = [(i - first, w) for i, w in zip(window.ids, window.weights, strict=True) if i >= first]
    assert found == [(2, 1.2), (3, 1.2), (0, 1.0), (1, 1.0)]


def test_pooled_text_still_ends_at_the_mark(tmp_path: Path) -> None:
    """Old configs mean the largest id by the end of the text: that is a new word's."""
    path = write({"clip_l": vectors(1), "clip_g": vectors(1)}, tmp_path / "qmist.safetensors")
    tower = model("sdxl").text_encoder_2.text_model
    pooled = knowing("sdxl", path).prompt_encoder.schedule("a qmist").positive[0].pooled
    before, tower.eos_token_id = tower.eos_token_id, 2
    try:
        old = knowing("sdxl", path).prompt_encoder.schedule("a qmist").positive[0].pooled
    finally:
        tower.eos_token_id = before
    assert pooled is not None
    assert torch.equal(pooled, torch.as_tensor(old))


def test_the_model_itself_stays(tmp_path: Path) -> None:
    path = write({"emb_params": vectors(3)}, tmp_path / "qmist.safetensors")
    base = model("sd1")
    before = ours(base, prompt="a qmist")
    ours(knowing("sd1", path), prompt="a qmist")
    assert torch.equal(ours(base, prompt="a qmist"), before)
    assert torch.equal(ours(knowing("sd1", path), prompt="an owl"), ours(base, prompt="an owl"))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"clip_l": (2, 32), "clip_g": (2, 32)}, "32 and 32 features, those of sd1 have 32"),
        ({"emb_params": (2, 48)}, "48 features, those of sd1 have 32"),
        ({"a": (2, 32), "b": (2, 32)}, "it holds a 2x32, b 2x32"),
        ({"emb_params": (2, 3, 32)}, "it holds emb_params 2x3x32"),
        ({"clip_l": (2, 32), "clip_g": (3, 32)}, "it holds"),
    ],
)
def test_what_is_none_is_refused(
    tensors: dict[str, tuple[int, ...]], says: str, tmp_path: Path
) -> None:
    found = {key: torch.ones(shape) for key, shape in tensors.items()}
    path = write(found, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=says):
        knowing("sd1", path)

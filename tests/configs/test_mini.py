"""The model in the box is whole, small, and what its card says."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTokenizer

from studio.pipelines.clip_tokenizer import read_tokenizer
from studio.pipelines.conditioning import TransformersConditioner
from studio.pipelines.open_clip_text import OpenClipConditioner, convert_to_open_clip
from studio.pipelines.prompt_grammar import parse
from studio.styles import styled, styles
from studio.training.export import checksums

MINI = Path(str(files("studio.configs"))) / "mini"


def test_the_files_are_those_of_the_checksums() -> None:
    assert (MINI / "SHA256SUMS").read_text(encoding="utf-8") == checksums(MINI)


def test_the_weights_are_small_and_in_half_precision() -> None:
    weights = [*MINI.rglob("*.safetensors"), MINI.parent / "clip" / "image_tower.safetensors"]
    assert {path.parent.name for path in weights} >= {"vae", "text_encoder", "unet"}
    assert sum(path.stat().st_size for path in weights) < 45_000_000
    for path in weights:
        with safe_open(path, "pt") as tensors:
            dtypes = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
        assert dtypes == {torch.float16}, path


def test_the_card_credits_every_source() -> None:
    card = (MINI / "README.md").read_text(encoding="utf-8")
    recipe = (MINI.parent / "training" / "data.yaml").read_text(encoding="utf-8")
    for stated in set(re.findall(r"licence: (.+)", recipe)):
        for licence in re.findall(r"[\w.-]+", stated.replace(" AND ", " ")):
            assert licence in card
    for who in (
        "Microsoft",
        "Google",
        "Twitter",
        "EmojiTwo",
        "Mozilla",
        "Streamline",
        "Emojibase",
        "Ashley Seo",
        "Phosphor",
        "Pictogrammers",
        "480 Design",
        "Dave Gandy",
        "Mapbox",
    ):
        assert who in card


@pytest.mark.parametrize("prompt", ["a cat", "蓝色背景上的苹果", "a red rose, " * 20])
def test_the_text_tower_is_the_same_through_open_clip(prompt: str) -> None:
    tower = CLIPTextModel.from_pretrained(MINI / "text_encoder", local_files_only=True)
    tokenizer = read_tokenizer(MINI / "tokenizer")
    chunks = parse(prompt).at(0, 1)
    with torch.inference_mode():
        expected = TransformersConditioner(tokenizer, tower).encode(chunks, 1).embeds
        embeds = (
            OpenClipConditioner(convert_to_open_clip(tower), tokenizer).encode(chunks, 1).embeds
        )
    torch.testing.assert_close(embeds, expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The tokenizer as plain diffusers reads it."""
    pipeline: Any = StableDiffusionPipeline
    return pipeline.from_pretrained(MINI, local_files_only=True).tokenizer


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("two stallions, 3d render", "two horses, 3d render"),
        ("a sedan on a red background", "an automobile on a red background"),
        ("a Push-Bike", "a bicycle"),
    ],
)
def test_other_words_are_read_as_labels_by_plain_diffusers_too(
    theirs: Any, prompt: str, meant: str
) -> None:
    for tokenizer in (theirs, read_tokenizer(MINI / "tokenizer")):
        assert tokenizer(prompt).input_ids == tokenizer(meant).input_ids


@pytest.mark.parametrize("name", styles())
def test_words_of_how_a_picture_looks_are_left(name: str) -> None:
    ours = read_tokenizer(MINI / "tokenizer")
    plain = CLIPTokenizer.from_pretrained(MINI / "tokenizer", local_files_only=True)  # no rules
    for prompt in styled("a cat", "", [name]):
        assert ours(prompt).input_ids == plain(prompt).input_ids

"""Recipes of other tools, in files written here the way those tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, PngImagePlugin
from sd_parsers import ParserManager

from studio.errors import PictureError
from studio.importing import Imported, read_any
from studio.metadata import encode_picture
from studio.pipelines.request import Request
from tests.studio.recipes import make_image, make_recipe

A1111 = (
    "a castle, (dusk:1.2)\nsecond line\nNegative prompt: blurry\n"
    "Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 77, "
    "Size: 512x768, Model hash: abc, Model: dream, Clip skip: 2, Version: v1.10.1"
)


def _png(folder: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    path = folder / "picture.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def _webp(folder: Path, *, comment: bytes | None = None, **tags: str) -> Path:
    exif = Image.Exif()
    for name, text in tags.items():
        exif[ExifTags.Base[name]] = text
    if comment is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    path = folder / "picture.webp"
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


def _fields(imported: Imported) -> dict[str, Any]:
    assert Request.of(**imported.fields), "whatever is read can be used"
    return dict(imported.fields)


def test_own_pictures_come_back_whole(tmp_path: Path) -> None:
    own = make_recipe(steps=12)
    path = tmp_path / "own.png"
    path.write_bytes(encode_picture(make_image(), own))
    found = read_any(path)
    assert found.source == "Latent Studio"
    fields = _fields(found)
    assert fields["prompt"] == own.request.prompt
    assert fields["seed"] == own.request.seed
    assert fields["sampler"] == own.request.sampler


def test_automatic1111(tmp_path: Path) -> None:
    found = read_any(_png(tmp_path, parameters=A1111))
    assert found.source == "AUTOMATIC1111"
    assert _fields(found) == {
        "prompt": "a castle, (dusk:1.2)\nsecond line",
        "negative_prompt": "blurry",
        "steps": 25,
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "guidance_scale": 6.5,
        "seed": 77,
        "width": 512,
        "height": 768,
        "clip_skip": 2,
    }
    assert any("dream" in note for note in found.notes), "the model is not here"
    assert any("GPU" in note for note in found.notes), "no RNG key means GPU noise"


@pytest.mark.parametrize("order", ["be", "le"])
def test_exif_comment_in_either_byte_order(tmp_path: Path, order: str) -> None:
    comment = b"UNICODE\0" + A1111.encode(f"utf-16-{order}")
    assert _fields(read_any(_webp(tmp_path, comment=comment)))["seed"] == 77


def test_quoted_values_and_lora(tmp_path: Path) -> None:
    text = (
        "fog <lora:mist:0.8>\nSteps: 9, Sampler: Euler a, Seed: 1, RNG: CPU, "
        'Lora hashes: "mist: 123, other: 4", Wildcard: "a, b: c"'
    )
    found = read_any(_png(tmp_path, parameters=text))
    assert _fields(found)["sampler"] == "Euler a"
    assert found.notes == (
        "Wildcard = a, b: c has no counterpart.",
        "The lora mist is not applied.",
    )


def test_second_drawing(tmp_path: Path) -> None:
    text = A1111 + ", Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: 4x-UltraSharp"
    found = read_any(_png(tmp_path, parameters=text))
    fields = _fields(found)
    assert (fields["hires_scale"], fields["hires_strength"]) == (2.0, 0.4)
    assert "strength" not in fields
    assert any("4x-UltraSharp" in note for note in found.notes)


def test_strength_of_a_lost_picture_is_named(tmp_path: Path) -> None:
    found = read_any(_png(tmp_path, parameters=A1111 + ", Denoising strength: 0.4"))
    assert "strength" not in _fields(found)
    assert any("drawn from is not in the file" in note for note in found.notes)


def test_what_cannot_be_used_is_named_and_left_open(tmp_path: Path) -> None:
    text = "x\nSteps: 99999, Sampler: Foo, Seed: many, Size: 513x512, CFG scale: 7"
    found = read_any(_png(tmp_path, parameters=text))
    fields = _fields(found)
    assert fields["width"] == 512
    assert "steps" not in fields
    assert "sampler" not in fields
    assert "seed" not in fields
    for word in ("99999", "Foo", "many", "513"):
        assert any(word in note for note in found.notes), word


def test_forge(tmp_path: Path) -> None:
    text = A1111.replace("v1.10.1", "f2.0.1v1.10.1")
    assert read_any(_png(tmp_path, parameters=text)).source == "Forge"


def test_sdnext(tmp_path: Path) -> None:
    text = (
        "a cat\nSteps: 20, Size: 512x512, Sampler: Euler a, Seed: 3, Batch: 1x2, "
        "Variation seed: 4, Variation strength: 0.3, App: SD.Next, Version: abc"
    )
    found = read_any(_png(tmp_path, parameters=text))
    fields = _fields(found)
    assert found.source == "SD.Next"
    assert fields["guidance_scale"] == 1.0, "left out there where it is not above 1"
    assert (fields["variation_seed"], fields["variation_strength"]) == (4, 0.3)


def test_stable_diffusion_cpp(tmp_path: Path) -> None:
    text = (
        "a cat\nNegative prompt: dog\nSteps: 20, CFG scale: 7.000000, Guidance: 3.5, Seed: 42, "
        "Size: 512x512, Model: sd.safetensors, RNG: cuda, Sampler: euler_a karras, "
        'Version: stable-diffusion.cpp, SDCPP: {"a": 1, "b": [1, 2]}'
    )
    found = read_any(_png(tmp_path, parameters=text))
    fields = _fields(found)
    assert found.source == "stable-diffusion.cpp"
    assert (fields["sampler"], fields["schedule"]) == ("Euler a", "Karras")
    assert fields["guidance_scale"] == 7.0


def test_fooocus_json(tmp_path: Path) -> None:
    data = {
        "prompt": "a cat", "negative_prompt": "dog", "styles": "['Fooocus V2']", "steps": 30,
        "resolution": "(1152, 896)", "guidance_scale": 4.0, "base_model": "jugger",
        "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "123",
        "metadata_scheme": "fooocus", "version": "Fooocus v2.5.5",
    }  # fmt: skip
    path = _png(tmp_path, parameters=json.dumps(data), fooocus_scheme="fooocus")
    found = read_any(path)
    fields = _fields(found)
    assert found.source == "Fooocus"
    assert (fields["width"], fields["height"], fields["seed"]) == (1152, 896, 123)
    assert (fields["sampler"], fields["schedule"]) == ("DPM++ 2M SDE", "Karras")
    assert any("Fooocus V2" in note for note in found.notes)


COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "dpmpp_2m", "scheduler": "karras",
            "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "10": {"class_type": "LoraLoader",
           "inputs": {"lora_name": "mist.safetensors", "model": ["4", 0], "clip": ["4", 1]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lake", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "people", "clip": ["10", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
}  # fmt: skip
WORKFLOW = {
    "links": [[1, 10, 0, 3, 0, "MODEL"], [2, 6, 0, 3, 1, "CONDITIONING"],
              [3, 7, 0, 3, 2, "CONDITIONING"], [4, 5, 0, 3, 3, "LATENT"]],
}  # fmt: skip


def test_comfyui(tmp_path: Path) -> None:
    path = _png(tmp_path, prompt=json.dumps(COMFY), workflow=json.dumps(WORKFLOW))
    found = read_any(path)
    assert found.source == "ComfyUI"
    assert _fields(found) == {
        "prompt": "a lake",
        "negative_prompt": "people",
        "seed": 5,
        "steps": 20,
        "guidance_scale": 8.0,
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "width": 512,
        "height": 640,
    }
    assert any("mist" in note for note in found.notes)


def test_comfyui_in_webp(tmp_path: Path) -> None:
    path = _webp(tmp_path, Model="prompt:" + json.dumps(COMFY), Make="workflow:{}")
    assert _fields(read_any(path))["prompt"] == "a lake"


def test_a_graph_that_runs_in_circles_ends(tmp_path: Path) -> None:
    graph = json.loads(json.dumps(COMFY))
    for node in graph.values():
        node["inputs"]["loop"] = ["3", 0]
    assert _fields(read_any(_png(tmp_path, prompt=json.dumps(graph))))["seed"] == 5


def test_invokeai(tmp_path: Path) -> None:
    data = {
        "app_version": "5.0", "generation_mode": "txt2img", "positive_prompt": "a fox",
        "negative_prompt": "red", "width": 512, "height": 512, "seed": 9, "rand_device": "cpu",
        "cfg_scale": 7.5, "steps": 30, "scheduler": "dpmpp_2m_k", "clip_skip": 1,
        "model": {"name": "sd-1", "hash": "x"}, "loras": [{"model": {"name": "fur"}}],
    }  # fmt: skip
    found = read_any(_png(tmp_path, invokeai_metadata=json.dumps(data)))
    fields = _fields(found)
    assert found.source == "InvokeAI"
    assert (fields["sampler"], fields["schedule"]) == ("DPM++ 2M", "Karras")
    assert fields["clip_skip"] == 2, "there 0 is the last layer, here 1"
    assert any("fur" in note for note in found.notes)


def test_older_invokeai(tmp_path: Path) -> None:
    data = {
        "model_weights": "sd-1.5",
        "image": {
            "prompt": [{"prompt": "a fox [red]", "weight": 1.0}], "steps": 30, "cfg_scale": 7.5,
            "seed": 9, "width": 512, "height": 512, "sampler": "k_lms",
        },
    }  # fmt: skip
    fields = _fields(read_any(_png(tmp_path, **{"sd-metadata": json.dumps(data)})))
    assert (fields["prompt"], fields["negative_prompt"]) == ("a fox", "red")
    assert fields["sampler"] == "LMS"


def test_oldest_invokeai(tmp_path: Path) -> None:
    dream = '"a fox [red]" -s 30 -S 9 -W 512 -H 384 -C 7.5 -A k_euler'
    fields = _fields(read_any(_png(tmp_path, Dream=dream)))
    assert (fields["prompt"], fields["negative_prompt"], fields["height"]) == ("a fox", "red", 384)
    assert (fields["sampler"], fields["guidance_scale"]) == ("Euler", 7.5)


def test_novelai(tmp_path: Path) -> None:
    comment = {
        "steps": 28, "sampler": "k_euler_ancestral", "seed": 11, "strength": 0.7, "noise": 0.2,
        "scale": 11.0, "uc": "lowres", "width": 512, "height": 768, "noise_schedule": "karras",
    }  # fmt: skip
    path = _png(
        tmp_path, Software="NovelAI", Source="X", Description="{girl}, sea",
        Comment=json.dumps(comment),
    )  # fmt: skip
    found = read_any(path)
    fields = _fields(found)
    assert found.source == "NovelAI"
    assert (fields["prompt"], fields["negative_prompt"]) == ("{girl}, sea", "lowres")
    assert (fields["sampler"], fields["schedule"]) == ("Euler a", "Karras")
    assert any("braces" in note for note in found.notes)


def test_imaginairy(tmp_path: Path) -> None:
    data = {
        "prompts": [{"weight": 1, "text": "a fox"}], "prompt_strength": 7.5, "seed": 3,
        "steps": 20, "size": [512, 512], "solver_type": "ddim", "model_weights": "sd15",
        "negative_prompt": "blurry",
    }  # fmt: skip
    found = read_any(_webp(tmp_path, comment=b"ASCII\0\0\0" + json.dumps(data).encode()))
    fields = _fields(found)
    assert found.source == "imaginAIry"
    assert (fields["prompt"], fields["sampler"], fields["guidance_scale"]) == ("a fox", "DDIM", 7.5)


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"parameters": "only words"},
        {"prompt": "[" * 100_000},
        {"prompt": '{"1": {"inputs": 3}}'},
        {"Comment": "{broken", "Software": "NovelAI"},
        {"invokeai_metadata": "[1, 2]"},
        {"studio": "{}"},
    ],
)
def test_pictures_without_a_recipe_are_refused(tmp_path: Path, texts: dict[str, str]) -> None:
    with pytest.raises(PictureError, match="no recipe"):
        read_any(_png(tmp_path, **texts))


def test_same_reading_as_the_peer(tmp_path: Path) -> None:
    """sd-parsers, where it reads a form, finds the same prompt, seed and steps."""
    graph = {"prompt": json.dumps(COMFY), "workflow": json.dumps(WORKFLOW)}
    for texts in ({"parameters": A1111}, graph):
        path = _png(tmp_path, **texts)
        fields, peer = _fields(read_any(path)), ParserManager().parse(path)
        assert peer is not None
        assert fields["prompt"] == peer.prompts[0].value
        assert fields["negative_prompt"] == peer.negative_prompts[0].value
        sampler = peer.samplers[0].parameters
        assert fields["seed"] == int(sampler["seed"])
        assert fields["steps"] == int(sampler["steps"])

"""LoRA, textual inversion and VAE from the request to the picture's recipe, and back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from studio import Picture, Studio
from studio.batch.rows import read
from studio.errors import ModelError, RequestError
from studio.importing import read_any
from studio.jobs.offered import Offered
from studio.metadata import pixel_sha256, read_recipe
from studio.pipelines.adapter_files import Applied
from studio.pipelines.request import Request
from studio.verify import verify
from tests import lora_files
from tests.adapted import own_files
from tests.lora_files import factors, lora_file
from tests.tiny_families import tiny_folder, tiny_parts, write

SIZE = {"width": 64, "height": 64}
PROMPT = "a <lora:ink:0.5> cat, embedding:qmist"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LoRA, a textual inversion and a VAE among the user's own."""
    own = own_files(tmp_path, monkeypatch)
    for name in ("loras", "embeddings", "vaes"):
        (own / name).mkdir()
    layers = factors(tiny_parts("sd1"))
    lora_file(own / "loras" / "ink.safetensors", layers, lora_files.kohya)
    write({"emb_params": 3 * torch.ones(2, 32)}, own / "embeddings" / "qmist.safetensors")
    write(tiny_parts("sd2")["vae"].state_dict(), own / "vaes" / "soft.safetensors")
    return own


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def draw(studio: Studio, prompt: str = PROMPT, **fields: object) -> Picture:
    request = Request.of(
        **{"prompt": prompt, "model": studio.model, "seed": 3, "steps": 2, **SIZE, **fields}
    )
    (picture,) = studio.generate(request)
    return picture


def test_what_was_applied_stands_in_the_recipe(files: Path, tmp_path: Path) -> None:
    studio = Studio(str(tiny_folder("sd1")), device="cpu")
    plain = draw(studio, "a cat")
    picture = draw(studio, vae="soft")
    assert pixel_sha256(picture.image) != pixel_sha256(plain.image)

    saved = picture.save(tmp_path / "out")
    recipe = read_recipe(saved)
    ink, mist, soft = recipe.adapters
    path = files / "loras" / "ink.safetensors"
    assert ink == Applied("lora", "ink", sha256(path), 0.5, ink.tensors_sha256)
    assert mist == Applied("embedding", "qmist", sha256(files / "embeddings/qmist.safetensors"))
    assert soft == Applied("vae", "soft", sha256(files / "vaes" / "soft.safetensors"))
    assert recipe.request.prompt == PROMPT
    text = recipe.parameters()
    assert f'Lora hashes: "ink: {ink.tensors_sha256[:12]}", Lora weights: "ink: 0.5"' in text
    assert f'TI hashes: "qmist: {mist.sha256[:10]}"' in text
    assert f"VAE hash: {soft.sha256[:10]}, VAE: soft" in text

    assert verify(saved).exact
    again = draw(studio, "a cat")
    assert again.recipe.adapters == ()
    assert pixel_sha256(again.image) == pixel_sha256(plain.image)

    lora_file(path, factors(tiny_parts("sd1"), seed=1), lora_files.kohya)
    verdict = verify(saved)
    assert not verdict.exact
    assert verdict.causes[0].startswith(f"other files beside the model: lora ink {ink.sha256[:10]}")


def test_field_and_tag_are_the_same(files: Path) -> None:
    studio = Studio(str(tiny_folder("sd1")), device="cpu")
    path = str(files / "loras" / "ink.safetensors")
    pictures = [
        draw(studio, "a cat <lora:ink:0.5>"),
        draw(studio, "a cat", lora=["ink:0.5"]),
        draw(studio, "a cat", lora=(f"{path}:0.25", "ink:0.25")),
    ]
    assert len({pixel_sha256(picture.image) for picture in pictures[:2]}) == 1
    assert [one.weight for one in pictures[2].recipe.adapters] == [0.25, 0.25]


@pytest.mark.usefixtures("files")
def test_what_is_missing_is_said_before_weights_load() -> None:
    studio = Studio(str(tiny_folder("sd1")), device="cpu")
    with pytest.raises(ModelError, match=r"no LoRA 'ikn' in .* Valid: ink"):
        studio.resolve("a cat <lora:ikn:1>", **SIZE)
    with pytest.raises(ModelError, match="no textual inversion 'nothing'"):
        studio.resolve("a cat, embedding:nothing", **SIZE)
    with pytest.raises(ModelError, match="no VAE 'nothing'"):
        studio.resolve("a cat", vae="nothing", **SIZE)


def test_an_upscaler_takes_none() -> None:
    with pytest.raises(RequestError, match="takes no LoRA"):
        Studio("lanczos").card.check(
            Request.of(prompt="a <lora:ink:1>", model="lanczos", init_image="a.png", upscale=2)
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"lora": ["/etc/ink:1"]},
        {"lora": ["ink.safetensors"]},
        {"embedding": ["../a"]},
        {"vae": "b/c"},
    ],
)
def test_jobs_of_others_name_no_paths(fields: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="not a name"):
        Offered(None).checked(Request.of(prompt="a cat", **fields))


def test_a_row_whose_lora_is_missing_says_so(files: Path) -> None:
    """And no other row is held up by it."""
    rows = b"a cat <lora:ikn:1>\na cat <lora:ink:1>\na cat\n"
    sheet = read(rows, base={"model": str(tiny_folder("sd1")), **SIZE})
    assert [row.request.prompt for row in sheet.rows] == ["a cat <lora:ink:1>", "a cat"]
    (problem,) = sheet.problems
    assert (problem.line, problem.field) == (1, "prompt")
    assert f"no LoRA 'ikn' in {files / 'loras'}" in problem.reason


@pytest.mark.usefixtures("files")
def test_an_imported_prompt_keeps_the_tags_of_loras_that_are_here(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    text = "fog <lora:ink:1> <lora:mist:1>\nSteps: 9, Sampler: Euler a, Seed: 1, RNG: CPU"
    info.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    found = read_any(tmp_path / "a.png")
    assert found.fields["prompt"] == "fog <lora:ink:1> "
    assert found.notes == ("The lora mist is not applied.",)


def test_jobs_of_others_may_name_loras() -> None:
    request = Request.of(prompt="a cat", lora=["ink:0.5"], embedding=["mist"], vae="soft")
    assert Offered(None).checked(request).lora == ("ink:0.5",)

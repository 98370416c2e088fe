"""Graphs around the U-Net: what is kept and renewed, on any machine; replays, on a GPU."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from studio.pipelines import graphs, seamless
from studio.pipelines.components import load
from studio.pipelines.graphs import Graphs, Recording, graphs_of, is_plain
from studio.pipelines.overriding import overriding
from studio.pipelines.placement import Runtime
from studio.pipelines.text_to_image import text_to_image
from tests.tiny import tiny_components, tiny_model, tiny_requests


class Again:
    """Stands in for a recording where there is no GPU: reads its own inputs, as a graph does."""

    def __init__(
        self, call: Callable[[Mapping[str, Tensor]], Tensor], inputs: Mapping[str, Tensor]
    ) -> None:
        self.inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        self.text: Tensor | None = None
        self._call = call
        call(self.inputs)

    def replay(self) -> Tensor:
        return self._call(self.inputs)


class Broken:
    """A recording for which there is no memory."""

    def __init__(self, *_: object) -> None:
        raise torch.OutOfMemoryError


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def ask(x: Tensor, t: float, text: Tensor, **options: Any) -> Tensor:
    time = torch.tensor(t)
    output: Tensor = tiny_model().unet(
        x, time, encoder_hidden_states=text, return_dict=False, **options
    )[0]
    return output


def questions() -> list[tuple[Tensor, float, Tensor]]:
    one, two = torch.randn(2, 16, 32), torch.randn(2, 16, 32)
    xs = torch.randn(5, 2, 4, 8, 8)
    return [
        (xs[0], 900.0, one),
        (xs[1], 600.0, one),
        (xs[2], 600.0, two),
        (xs[3][:1], 300.0, two[:1]),  # guidance is over
        (xs[4], 300.0, one),
    ]


def test_replays_follow_latents_time_text_and_shape() -> None:
    asked = questions()
    plain = [ask(*each) for each in asked]
    kept = Graphs(Again)
    with overriding(kept.layers(tiny_model().unet)):
        for each, expected in zip(asked, plain, strict=True):
            torch.testing.assert_close(ask(*each), expected, atol=1e-5, rtol=1e-5)
    assert len(kept._recordings) == 2


def test_weights_that_change_in_place_are_read_anew() -> None:
    unet = tiny_model().unet
    layers = [layer for name, layer in unet.named_modules() if name.endswith(("to_k", "to_q"))]
    kept, asked = Graphs(Again), questions()[0]
    with overriding(kept.layers(unet)):
        ask(*asked)
    before = [layer.weight.clone() for layer in layers]
    try:
        for layer in layers:
            layer.weight.mul_(1.5)
        plain = ask(*asked)
        with overriding(kept.layers(unet)):
            torch.testing.assert_close(ask(*asked), plain, atol=1e-5, rtol=1e-5)
    finally:
        for layer, weight in zip(layers, before, strict=True):
            layer.weight.copy_(weight)


def test_at_most_four_shapes_are_kept() -> None:
    kept = Graphs(Again)
    with overriding(kept.layers(tiny_model().unet)):
        for edge in (4, 6, 8, 10, 12, 4):
            x, text = torch.randn(1, 4, edge, edge), torch.randn(1, 16, 32)
            assert ask(x, 500, text).shape == x.shape
    assert len(kept._recordings) == len(kept.text.answers) == 4


def test_other_inputs_are_not_recorded() -> None:
    x, _, text = questions()[0]
    kept, more = Graphs(Again), {"timestep_cond": None, "cross_attention_kwargs": {"scale": 1.0}}
    with overriding(kept.layers(tiny_model().unet)):
        ask(x, 500, text, **more)
    assert not kept._recordings


def test_without_memory_for_a_recording_it_draws_without() -> None:
    asked = questions()[0]
    plain, kept = ask(*asked), Graphs(Broken)
    with overriding(kept.layers(tiny_model().unet)):
        torch.testing.assert_close(ask(*asked), plain, atol=1e-5, rtol=1e-5)


def test_only_a_plain_unet_is_recorded() -> None:
    unet = tiny_model().unet
    assert is_plain(unet)
    assert graphs_of(unet) is None  # on the CPU
    with seamless.circular(unet):
        assert not is_plain(unet)
    with overriding([(unet.mid_block, type(unet.mid_block).forward)]):
        assert not is_plain(unet)
    handle = unet.conv_in.register_forward_pre_hook(lambda *_: None)
    assert not is_plain(unet)
    handle.remove()
    assert is_plain(unet)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="records on a GPU only")
def test_pictures_by_replay_equal_pictures_without(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(str(tiny_components()), Runtime(device="cuda", precision="fp32"))
    requests = tiny_requests(steps=6, guidance_end=0.6)
    (replayed,) = text_to_image(model, requests)
    assert graphs._kept[model.unet]._recordings
    assert all(type(each) is Recording for each in graphs._kept[model.unet]._recordings.values())
    (again,) = text_to_image(model, requests)
    assert replayed.latents is not None
    assert again.latents is not None
    assert torch.equal(replayed.latents, again.latents)
    monkeypatch.setattr("studio.pipelines.acceleration.graphs_of", lambda _: None)
    (plain,) = text_to_image(model, requests)
    torch.testing.assert_close(replayed.latents, plain.latents, atol=1e-3, rtol=1e-3)

"""The same numbers in less time: with and without, on tiny random models."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from studio.pipelines import seamless
from studio.pipelines.acceleration import accelerated
from studio.pipelines.conditioning import Conditioning
from studio.pipelines.constant_text import ConstantText
from studio.pipelines.joined import Joined
from studio.pipelines.overriding import overriding
from studio.pipelines.packed_convolutions import PackedConvolutions
from tests.tiny import tiny_model


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def ask() -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 16, 32)
    unet = tiny_model().unet

    def asked(t: int = 500, text: Tensor = text, x: Tensor = x) -> Tensor:
        output: Tensor = unet(x, t, encoder_hidden_states=text, return_dict=False)[0]
        return output

    return asked


def forwards(model: Any) -> list[str]:
    return [name for name, layer in model.named_modules() if "forward" in layer.__dict__]


def test_the_unet_says_the_same_step_after_step(ask: Callable[..., Tensor]) -> None:
    plain = [ask(t) for t in (900, 500, 100)]
    with accelerated(tiny_model().unet):
        for t, expected in zip((900, 500, 100), plain, strict=True):
            torch.testing.assert_close(ask(t), expected, atol=1e-5, rtol=1e-5)


def test_it_follows_another_text_and_another_batch(ask: Callable[..., Tensor]) -> None:
    other, x = torch.randn(1, 16, 32), torch.randn(1, 4, 8, 24)
    expected = ask(500, other, x)
    with accelerated(tiny_model().unet):
        ask()
        torch.testing.assert_close(ask(500, other, x), expected, atol=1e-5, rtol=1e-5)


def test_the_decoder_says_the_same() -> None:
    vae, z = tiny_model().vae, torch.randn(1, 4, 16, 16)
    plain = vae.decode(z).sample
    with accelerated(vae):
        torch.testing.assert_close(vae.decode(z).sample, plain, atol=1e-5, rtol=1e-5)


def test_afterwards_the_model_is_as_before_bit_for_bit(ask: Callable[..., Tensor]) -> None:
    unet = tiny_model().unet
    plain, state = ask(), {name: each.clone() for name, each in unet.state_dict().items()}

    def interrupted() -> None:
        with accelerated(unet):
            assert forwards(unet)
            ask()
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert not forwards(unet)
    assert torch.equal(ask(), plain)
    assert all(torch.equal(each, state[name]) for name, each in unet.state_dict().items())


def test_seamless_pictures_stay_seamless(ask: Callable[..., Tensor]) -> None:
    unet = tiny_model().unet
    with seamless.circular(unet):
        plain = ask()
        with accelerated(unet):
            torch.testing.assert_close(ask(), plain, atol=1e-5, rtol=1e-5)


def test_nothing_is_done_where_gradients_are_wanted() -> None:
    unet = tiny_model().unet
    with torch.inference_mode(False), torch.enable_grad(), accelerated(unet):
        assert not forwards(unet)


def test_a_forward_that_is_taken_stays_with_who_took_it(ask: Callable[..., Tensor]) -> None:
    layer, seen = tiny_model().unet.conv_in, []
    plain = ask()
    forward = layer.forward

    def hooked(x: Tensor) -> Tensor:
        seen.append(x.shape)
        output: Tensor = forward(x)
        return output

    layer.forward = hooked
    try:
        with accelerated(tiny_model().unet):
            torch.testing.assert_close(ask(), plain, atol=1e-5, rtol=1e-5)
        assert layer.forward is hooked
    finally:
        del layer.forward
    assert seen


def test_keys_and_values_of_a_text_are_computed_once(ask: Callable[..., Tensor]) -> None:
    unet, constant = tiny_model().unet, ConstantText()
    projections = [layer for layer, _ in constant.layers(unet)]
    text = torch.randn(2, 16, 32)
    with overriding(constant.layers(unet)):
        first = ask(900, text)
        said = dict(constant.answers[id(text)][1])
        ask(500, text)
        assert set(said) == set(projections)
        assert all(constant.answers[id(text)][1][layer] is said[layer] for layer in said)
    assert torch.equal(first, ask(900, text))


def test_answers_are_renewed_in_place_with_their_text(ask: Callable[..., Tensor]) -> None:
    text, other = torch.randn(2, 16, 32), torch.randn(2, 16, 32)
    expected, constant = ask(500, other), ConstantText()
    with overriding(constant.layers(tiny_model().unet)):
        ask(500, text)
        addresses = [each.data_ptr() for each in constant.answers[id(text)][1].values()]
        text.copy_(other)
        constant.refill()
        assert torch.equal(ask(500, text), expected)
        assert addresses == [each.data_ptr() for each in constant.answers[id(text)][1].values()]


def test_larger_models_keep_one_copy_of_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = tiny_model().unet
    assert list(PackedConvolutions().layers(unet))
    monkeypatch.setattr("studio.pipelines.packed_convolutions._MOST_BYTES", 1000)
    assert not list(PackedConvolutions().layers(unet))


def test_the_same_parts_are_joined_once() -> None:
    joined, one, two = (
        Joined(),
        Conditioning(torch.ones(1, 2, 3)),
        Conditioning(torch.zeros(1, 2, 3)),
    )
    batch = joined([one, two])
    assert joined((one, two)) is batch
    assert joined([two, one]) is not batch
    assert torch.equal(batch.embeds, torch.cat([one.embeds, two.embeds]))

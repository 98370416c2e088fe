"""DeepCache: which steps compute the deep blocks, and that nothing stays behind."""

from typing import Any

import pytest
import torch
from torch import Tensor

from studio.pipelines.reuse import Reuse
from studio.pipelines.text_to_image import text_to_image
from tests.tiny import tiny_model, tiny_requests


def drawn(**fields: Any) -> list[Tensor]:
    results = text_to_image(tiny_model(), tiny_requests(**fields))
    return [result.latents for result in results if result.latents is not None]


class Counted:
    """Counts how often the U-Net's middle and its first block compute."""

    def __init__(self) -> None:
        self.middle = self.first = 0

    def __enter__(self) -> "Counted":
        unet = tiny_model().unet
        self.handles = [
            unet.mid_block.resnets[0].norm1.register_forward_hook(self._middle),
            unet.down_blocks[0].resnets[0].norm1.register_forward_hook(self._first),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _middle(self, *_: object) -> None:
        self.middle += 1

    def _first(self, *_: object) -> None:
        self.first += 1


@pytest.mark.parametrize(("every", "middle"), [(1, 7), (2, 4), (3, 3), (10, 1)])
def test_the_middle_computes_on_every_nth_step(every: int, middle: int) -> None:
    with Counted() as counted:
        drawn(steps=7, reuse=every)
    assert (counted.first, counted.middle) == (7, middle)


def test_a_step_between_equals_the_step_before_at_the_same_place() -> None:
    unet, text = tiny_model().unet, torch.randn(1, 16, 32)
    x, t = torch.randn(1, 4, 8, 8), torch.tensor(500)

    def ask(x: Tensor, t: Tensor, _: int) -> Tensor:
        output: Tensor = unet(x, t, encoder_hidden_states=text, return_dict=False)[0]
        return output

    reuse = Reuse(2)
    predict = reuse.counting(ask, begin=3)
    with torch.inference_mode(), reuse.within(unet):
        assert torch.equal(predict(x, t, 3), predict(x, t, 4))
        assert not torch.equal(predict(x, t, 4), predict(x + 1, t, 5))
        assert torch.equal(predict(x, t, 5), ask(x, t, 0))


def test_guidance_that_ends_on_the_way_computes_anew() -> None:
    with Counted() as counted:
        drawn(steps=6, reuse=3, guidance_end=0.5 - 1e-6 + 1 / 6)  # ends within three steps
    assert counted.middle == 3  # steps 0, 3 and 4, where the batch becomes half


def test_pictures_of_a_batch_keep_their_own_answers() -> None:
    prompts = "a cat", "a cat " * 9
    requests = [tiny_requests(steps=4, reuse=2, prompt=prompt)[0] for prompt in prompts]
    together = list(text_to_image(tiny_model(), requests, batch_size=2))
    for request, result in zip(requests, together, strict=True):
        (alone,) = text_to_image(tiny_model(), [request])
        torch.testing.assert_close(result.latents, alone.latents, atol=1e-4, rtol=0)


def test_afterwards_pictures_are_as_before() -> None:
    (before,) = drawn(steps=4)
    (other,) = drawn(steps=4, reuse=3)
    (after,) = drawn(steps=4)
    assert torch.equal(before, after)
    assert not torch.equal(before, other)

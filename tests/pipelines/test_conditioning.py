"""Text conditioning: windows, emphasis, clip skip, schedules, the cache and open_clip's towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from studio.errors import ModelError, PromptError, RequestError
from studio.pipelines.conditioning import Conditioning, TransformersConditioner, emphasize
from studio.pipelines.open_clip_text import OpenClipConditioner, convert_to_open_clip
from studio.pipelines.prompt_encoding import ConditioningSchedule, PromptEncoder
from studio.pipelines.prompt_grammar import EMPTY, Chunk, Run
from studio.pipelines.text_windows import Vocabulary
from tests.tiny import WINDOW, tiny_components

WIDTH = 32
ROOM = WINDOW - 2


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(tiny_components() / "tokenizer")


@pytest.fixture(scope="module")
def conditioner(tokenizer: Any) -> TransformersConditioner:
    return TransformersConditioner(tokenizer, text_encoder())


def text_encoder(kind: Any = CLIPTextModel, **changes: Any) -> Any:
    """A small random text model whose embeddings have a mean, as trained ones have."""
    config: dict[str, Any] = {
        "vocab_size": 514,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": WINDOW,
        "projection_dim": 24,
        "bos_token_id": 512,
        "eos_token_id": 513,
        "pad_token_id": 513,
        "initializer_factor": 5.0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(CLIPTextConfig(**(config | changes))).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, 0.2, 0.1)
    return model


class Letters:
    """A tokenizer of one token a letter, without room for doubt: its code point."""

    model_max_length = WINDOW
    bos_token_id, eos_token_id, pad_token_id = 1, 2, 3

    def __call__(self, texts: list[str], **_: Any) -> Any:
        class Output:
            input_ids = [[ord(letter) for letter in text] for text in texts]  # noqa: RUF012

        return Output


class Counting:
    """Counts the calls that reach a conditioner."""

    def __init__(self, inner: TransformersConditioner) -> None:
        self.inner = inner
        self.calls: list[tuple[Chunk, ...]] = []

    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:
        self.calls.append(tuple(chunks))
        return self.inner.encode(chunks, clip_skip)


def embeds(schedule: ConditioningSchedule, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positive and negative embeddings [1, T, D] of a step."""
    positive, negative = schedule.at(step)
    return positive.embeds, negative.embeds


def windows(*runs: tuple[str, float]) -> list[str]:
    """The texts of the windows, BOS as <, EOS as >, padding as _."""
    names = {1: "<", 2: ">", 3: "_"}
    vocabulary = Vocabulary.of(Letters(), 77)
    return [
        "".join(names.get(token, chr(token)) for token in window.ids)
        for window in vocabulary.windows(tuple(Run(*run) for run in runs))
    ]


def test_a_window_holds_bos_tokens_eos_and_padding() -> None:
    assert windows(("cat", 1)) == ["<cat>___________"]
    assert windows(("", 1)) == ["<>______________"]
    assert windows(("a" * ROOM, 1)) == [f"<{'a' * ROOM}>"]


def test_long_text_is_split_at_the_last_comma() -> None:
    assert windows(("a,bbbbbbbbbbbb,ccc", 1)) == ["<a,bbbbbbbbbbbb>", "<,ccc>__________"]
    assert windows(("aaa,bbbbbbb,ccccc", 1)) == ["<aaa,bbbbbbb,>__", "<ccccc>_________"]
    assert windows(("a" * 30, 1)) == [f"<{'a' * 14}>", f"<{'a' * 14}>", "<aa>____________"]


def test_a_comma_far_from_the_end_splits_nothing() -> None:
    letters = Letters()
    letters.model_max_length = 42
    chunk = (Run("a" * 18 + "," + "b" * 30),)
    far, _ = Vocabulary.of(letters, 77).windows(chunk)
    assert far.used == 42
    near, _ = Vocabulary.of(letters, 77).windows((Run("a" * 20 + "," + "b" * 30),))
    assert near.used == 21 + 2


def test_weights_follow_their_tokens_into_the_next_window() -> None:
    vocabulary = Vocabulary.of(Letters(), 77)
    first, second = vocabulary.windows((Run("a" * 8 + ","), Run("b" * 8, 1.5)))
    assert first.weights == [1.0] * WINDOW
    assert second.weights == [1.0] + [1.5] * 8 + [1.0] * 7


def test_windows_are_never_longer_than_the_encoder() -> None:
    letters = Letters()
    letters.model_max_length = 10**30  # what transformers says where nothing is known
    assert Vocabulary.of(letters, 20).length == 20


def test_a_prompt_longer_than_the_window_raises_no_warning(
    conditioner: TransformersConditioner, caplog: pytest.LogCaptureFixture
) -> None:
    embeds = conditioner.encode(((Run("a cat " * 40),),)).embeds
    assert embeds.shape[1] > 2 * WINDOW
    assert not caplog.records


@pytest.fixture(scope="module")
def pipeline() -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_components())
    # diffusers looks for the final norm one level down, where older text models have it.
    encoder = pipeline.text_encoder
    if not hasattr(encoder, "text_model"):
        object.__setattr__(encoder, "text_model", encoder)
    return pipeline


@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("prompt", ["a cat", "", "Ünï 🐈", "a" * ROOM])
def test_plain_prompts_equal_those_of_diffusers(pipeline: Any, prompt: str, clip_skip: int) -> None:
    skipped = None if clip_skip == 1 else clip_skip - 1
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(prompt, "cpu", 1, False, clip_skip=skipped)
    encoder = PromptEncoder(TransformersConditioner(pipeline.tokenizer, pipeline.text_encoder))
    positive, _ = embeds(encoder.schedule(prompt, "", 1, clip_skip), 0)
    assert torch.equal(positive, expected)
    assert not positive.requires_grad


def test_an_attention_mask_is_used_where_the_model_asks_for_it(tokenizer: Any) -> None:
    encoder = text_encoder(use_attention_mask=True)
    ids = tokenizer("cat", padding="max_length", max_length=WINDOW, return_tensors="pt")
    with torch.no_grad():
        expected = encoder(ids.input_ids, attention_mask=ids.attention_mask).last_hidden_state
    actual = TransformersConditioner(tokenizer, encoder).encode(((Run("cat"),),)).embeds
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("clip_skip", [0, 4, 12])
def test_more_clip_skip_than_layers_is_refused(
    conditioner: TransformersConditioner, clip_skip: int
) -> None:
    with pytest.raises(RequestError, match="3 layers"):
        conditioner.encode((EMPTY,), clip_skip)


def test_emphasis_multiplies_tokens_and_keeps_the_mean(
    conditioner: TransformersConditioner,
) -> None:
    plain = conditioner.encode(((Run("a cat"),),)).embeds
    weighted = conditioner.encode(((Run("a "), Run("cat", 1.5)),)).embeds
    torch.testing.assert_close(weighted.mean(), plain.mean())
    ratio = weighted[0] / plain[0]
    outside, inside = ratio[0], ratio[2]  # BOS, "c"
    torch.testing.assert_close(inside / outside, torch.full((WIDTH,), 1.5))


def test_emphasis_does_not_depend_on_the_other_windows() -> None:
    embeds = torch.randn(3, WINDOW, WIDTH, generator=torch.Generator().manual_seed(0)) + 0.5
    weights = torch.ones(3, WINDOW)
    weights[0, 2:5] = 1.3
    weights[2, 1:9] = 0.7
    together = emphasize(embeds, weights)
    for i in range(3):
        assert torch.equal(together[i : i + 1], emphasize(embeds[i : i + 1], weights[i : i + 1]))
    assert torch.equal(together[1], embeds[1])


@pytest.mark.parametrize("weight", [1.4, 0.2, 0.0, -1.0])
def test_emphasis_does_not_blow_up_where_the_mean_is_nothing(weight: float) -> None:
    """Embeddings fresh from a layer norm have a mean of rounding errors."""
    embeds = torch.randn(1, WINDOW, WIDTH, generator=torch.Generator().manual_seed(0))
    embeds -= embeds.mean(-1, keepdim=True)
    weights = torch.ones(1, WINDOW)
    weights[0, 3:6] = weight
    weighted = emphasize(embeds, weights)
    assert weighted.isfinite().all()
    assert weighted.abs().max() <= 20 * embeds.abs().max()


def test_break_begins_a_new_window(conditioner: TransformersConditioner) -> None:
    encoder = PromptEncoder(conditioner)
    positive, negative = embeds(encoder.schedule("a cat BREAK a dog"), 0)
    assert positive.shape == negative.shape == (1, 2 * WINDOW, WIDTH)
    assert torch.equal(positive[:, :WINDOW], embeds(encoder.schedule("a cat"), 0)[0])
    assert torch.equal(positive[:, WINDOW:], embeds(encoder.schedule("a dog"), 0)[0])


def test_shorter_prompts_are_padded_with_empty_windows(
    conditioner: TransformersConditioner,
) -> None:
    encoder = PromptEncoder(conditioner)
    schedule = encoder.schedule("[a cat:a cat BREAK a dog BREAK a cow:2]", "ugly", 4)
    empty = conditioner.encode((EMPTY,)).embeds
    for step in range(4):
        positive, negative = embeds(schedule, step)
        assert positive.shape == negative.shape == (1, 3 * WINDOW, WIDTH)
        assert torch.equal(negative[:, WINDOW:], torch.cat([empty, empty], 1))
    first, _ = embeds(schedule, 0)
    assert torch.equal(first[:, WINDOW:], torch.cat([empty, empty], 1))
    assert not schedule.constant


def test_schedules_change_at_their_step(conditioner: TransformersConditioner) -> None:
    encoder = PromptEncoder(conditioner)
    schedule = encoder.schedule("[cat:dog:2]", "[x|y]", 4)
    cat, dog, x, y = (embeds(encoder.schedule(word), 0)[0] for word in ("cat", "dog", "x", "y"))
    expected = [(cat, x), (cat, y), (dog, x), (dog, y)]
    for step, (positive, negative) in enumerate(expected):
        assert torch.equal(embeds(schedule, step)[0], positive)
        assert torch.equal(embeds(schedule, step)[1], negative)


def test_repeated_prompts_need_no_encoder_call(conditioner: TransformersConditioner) -> None:
    counting = Counting(conditioner)
    encoder = PromptEncoder(counting)
    first = embeds(encoder.schedule("a cat BREAK [a dog|a cow] (red:1.2)", "ugly", 20), 1)
    assert len(counting.calls) == 5  # cat, dog, cow, ugly, empty padding
    counting.calls.clear()
    again = embeds(encoder.schedule("a cat BREAK [a dog|a cow] (red:1.2)", "ugly", 8), 1)
    assert not counting.calls
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert encoder.schedule("a cat", "ugly").constant
    assert not counting.calls

    encoder.schedule("a cat", "ugly", clip_skip=2)
    encoder.schedule("a (cat)", "ugly")
    assert len(counting.calls) == 3
    encoder.clear()
    encoder.schedule("a cat", "ugly")
    assert len(counting.calls) == 5


def test_the_cache_forgets_what_was_not_used_for_longest(
    conditioner: TransformersConditioner,
) -> None:
    counting = Counting(conditioner)
    encoder = PromptEncoder(counting, capacity=3)
    for prompt in ("a", "b", "a", "c"):  # with the empty prompt: a, b, c do not fit
        encoder.schedule(prompt)
    counting.calls.clear()
    encoder.schedule("a")
    encoder.schedule("c")
    assert not counting.calls
    encoder.schedule("b")
    assert counting.calls == [((Run("b"),),)]


def test_the_side_with_the_error_is_named(conditioner: TransformersConditioner) -> None:
    with pytest.raises(PromptError, match=r"^negative_prompt = .* at column 4"):
        PromptEncoder(conditioner).schedule("a cat", "(x:nan)")


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_open_clip_gives_equal_embeddings(tokenizer: Any, activation: str, clip_skip: int) -> None:
    encoder = text_encoder(hidden_act=activation)
    ours = OpenClipConditioner(convert_to_open_clip(encoder), tokenizer)
    theirs = TransformersConditioner(tokenizer, encoder)
    chunks = ((Run("a "), Run("cat", 1.3), Run(", a dog on a very long sofa")), (Run("cow"),))
    actual, expected = (each.encode(chunks, clip_skip).embeds for each in (ours, theirs))
    assert expected.shape == (1, 4 * WINDOW, WIDTH)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_conversion_keeps_projection_and_pooling(tokenizer: Any) -> None:
    encoder = text_encoder(CLIPTextModelWithProjection)
    ids = tokenizer(["a cat", "cow"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = encoder(ids).text_embeds
        actual = convert_to_open_clip(encoder)(ids)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_conversion_copies_the_weights(tokenizer: Any) -> None:
    encoder = text_encoder()
    tower = convert_to_open_clip(encoder)
    before = OpenClipConditioner(tower, tokenizer).encode((EMPTY,)).embeds
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    after = OpenClipConditioner(tower, tokenizer).encode((EMPTY,)).embeds
    assert torch.equal(before, after)


def test_an_activation_that_open_clip_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match="silu"):
        convert_to_open_clip(text_encoder(hidden_act="silu"))


def test_whole_open_clip_models_and_their_tokenizer_are_read() -> None:
    import open_clip  # type: ignore[import-untyped]

    tokenizer = open_clip.SimpleTokenizer(context_length=WINDOW)
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    text = {
        "context_length": WINDOW,
        "vocab_size": tokenizer.vocab_size,
        "width": WIDTH,
        "heads": 4,
        "layers": 2,
    }
    prompt = "a photo of a cat"
    for kind in (open_clip.CLIP, open_clip.CustomTextCLIP):
        model = kind(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
        conditioner = OpenClipConditioner(model, tokenizer)
        last = conditioner.encode(((Run(prompt),),)).embeds
        assert last.shape == (1, WINDOW, WIDTH)
        ids = tokenizer([prompt])
        with torch.no_grad():
            expected = model.encode_text(ids)
            projection = getattr(model, "text", model).text_projection
        torch.testing.assert_close(last[:, ids.argmax()] @ projection, expected)
        assert not torch.equal(last, conditioner.encode(((Run(prompt),),), 2).embeds)


def test_models_without_a_readable_text_tower_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="Linear"):
        OpenClipConditioner(torch.nn.Linear(2, 2), tokenizer)

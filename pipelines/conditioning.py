"""Text conditioning: from a prompt to the embeddings that the U-Net attends to.

Prompts of any length are read in windows; emphasis multiplies embeddings; prompts that change on
the way (``[a:b:5]``) become a schedule; what has been read once is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from studio.errors import RequestError
from studio.pipelines.prompt_grammar import EMPTY, Chunk, Prompt, parse
from studio.pipelines.text_windows import Vocabulary, Window

_WINDOWS_AT_ONCE = 16  # bounds the memory that a very long prompt takes


@dataclass(frozen=True)
class Conditioning:
    """What a text encoder says about one prompt, or about a batch of them.

    Args:
        embeds: ``[B, T, D]``, T a multiple of the window.
        pooled: ``[B, P]`` for models that want one vector for the whole prompt as well (SDXL).
    """

    embeds: Tensor
    pooled: Tensor | None = None


class TextConditioner(Protocol):
    """Anything that turns chunks of weighted text into embeddings."""

    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:
        """Embeddings ``[1, T, D]`` of ONE prompt; every chunk begins a new window.

        Args:
            chunks: what :meth:`Prompt.at` gives, at least one.
            clip_skip: which layer from the end is read, 1 = the last.
        Raises:
            RequestError: the encoder has fewer layers than ``clip_skip``.
        """
        ...


class WindowedConditioner(ABC):
    """What all text encoders of the CLIP kind share: windows in, weighted embeddings out.

    Args:
        vocabulary: the tokenizer's side.
        layers: how many layers the encoder has, the bound of ``clip_skip``.
    """

    def __init__(self, vocabulary: Vocabulary, layers: int) -> None:
        self.vocabulary = vocabulary
        self.layers = layers

    @abstractmethod
    def _read(self, ids: Tensor, mask: Tensor, clip_skip: int) -> Tensor:
        """Token ids and mask ``[N, window]`` to embeddings ``[N, window, D]``."""

    @abstractmethod
    def _device(self) -> torch.device:
        """Where the encoder's weights are."""

    @torch.no_grad()
    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:
        """See :meth:`TextConditioner.encode`; in the encoder's device and precision."""
        if not 1 <= clip_skip <= self.layers:
            raise RequestError(
                "clip_skip",
                clip_skip,
                f"the model's text encoder has {self.layers} layers",
                valid=f"1 to {self.layers}",
            )
        windows = [window for chunk in chunks for window in self.vocabulary.windows(chunk)]
        parts = [
            self._embed(windows[i : i + _WINDOWS_AT_ONCE], clip_skip)
            for i in range(0, len(windows), _WINDOWS_AT_ONCE)
        ]
        embeds = torch.cat(parts)
        return Conditioning(embeds.reshape(1, -1, embeds.shape[-1]))

    def _embed(self, windows: Sequence[Window], clip_skip: int) -> Tensor:
        device = self._device()
        ids = torch.tensor([window.ids for window in windows], device=device)
        used = torch.tensor([window.used for window in windows], device=device)
        mask = (torch.arange(ids.shape[1], device=device) < used[:, None]).long()
        embeds = self._read(ids, mask, clip_skip)
        if all(weight == 1 for window in windows for weight in window.weights):
            return embeds  # untouched, so that plain prompts equal diffusers' bit for bit
        weights = torch.tensor([window.weights for window in windows], device=device)
        return emphasize(embeds, weights)


def emphasize(embeds: Tensor, weights: Tensor) -> Tensor:
    """A1111's "original" emphasis: multiply each token, then restore the window's mean.

    Every window has a mean of its own, so that what else is in the batch changes nothing. Some
    text encoders give embeddings whose mean is zero but for rounding; restoring it would blow up
    noise, so a window whose mean grows out of all proportion to its weights is only multiplied.

    Args:
        embeds: ``[N, window, D]``.
        weights: ``[N, window]``, 1 = as it is.
    """
    before = embeds.float()
    after = before * weights[..., None]
    growth = after.mean((1, 2)) / before.mean((1, 2))
    lowest = weights.amin(1).clamp(min=0.2) / 2
    sane = (growth >= lowest) & (growth <= 2 * weights.amax(1))
    after = after / torch.where(sane, growth, 1.0)[:, None, None]
    plain = (weights == 1).all(1)[:, None, None]
    return torch.where(plain, before, after).to(embeds.dtype)


class TransformersConditioner(WindowedConditioner):
    """transformers' CLIP text models, read as diffusers reads them.

    Args:
        tokenizer: the model's ``CLIPTokenizer``.
        text_encoder: ``CLIPTextModel`` or ``CLIPTextModelWithProjection``.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any) -> None:
        config = text_encoder.config
        super().__init__(
            Vocabulary.of(tokenizer, config.max_position_embeddings), config.num_hidden_layers
        )
        self.text_encoder = text_encoder

    def _read(self, ids: Tensor, mask: Tensor, clip_skip: int) -> Tensor:
        encoder = self.text_encoder
        masked = getattr(encoder.config, "use_attention_mask", False)
        output = encoder(
            ids, attention_mask=mask if masked else None, output_hidden_states=clip_skip > 1
        )
        if clip_skip == 1:
            embeds: Tensor = output.last_hidden_state
        else:
            tower = getattr(encoder, "text_model", encoder)
            embeds = tower.final_layer_norm(output.hidden_states[-clip_skip])
        return embeds

    def _device(self) -> torch.device:
        return torch.device(self.text_encoder.device)


@dataclass(frozen=True)
class ConditioningSchedule:
    """Positive and negative conditioning for every step of a run, all of one length T.

    Args:
        positive: one a step, ``[1, T, D]``; steps with the same text share one.
        negative: the same for the negative prompt.
    """

    positive: tuple[Conditioning, ...]
    negative: tuple[Conditioning, ...]

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Embeddings (positive, negative) of a step counted from 0, ``[1, T, D]`` each."""
        return self.positive[step].embeds, self.negative[step].embeds

    @property
    def constant(self) -> bool:
        """Whether every step has the same conditioning."""
        return all(one is side[0] for side in (self.positive, self.negative) for one in side)


class PromptEncoder:
    """Encodes prompts and keeps what it has encoded, chunk by chunk.

    Call :meth:`clear` when the text encoder's weights change.

    Args:
        conditioner: the text encoder.
        capacity: how many windows are kept; the longest unused ones go first.
    """

    def __init__(self, conditioner: TextConditioner, capacity: int = 512) -> None:
        self.conditioner = conditioner
        self.capacity = capacity
        self._kept: OrderedDict[tuple[Chunk, int], Conditioning] = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def schedule(
        self, prompt: str, negative_prompt: str = "", steps: int = 1, clip_skip: int = 1
    ) -> ConditioningSchedule:
        """Conditioning of a whole run.

        The shorter of two prompts is padded with windows of the empty prompt.

        Args:
            prompt: in the prompt language (:mod:`studio.pipelines.prompt_grammar`).
            negative_prompt: the same.
            steps: how many steps the run has, at least 1.
            clip_skip: which layer from the end is read, 1 = the last; for both prompts.
        Raises:
            PromptError: a prompt breaks the grammar.
            RequestError: ``clip_skip`` is beyond the encoder's layers.
        """
        sides = [parse(prompt), parse(negative_prompt, field="negative_prompt")]
        texts = [_texts(side, steps) for side in sides]
        encoded: dict[tuple[Chunk, ...], Conditioning] = {}
        for chunks in (chunks for side in texts for chunks in side):
            if chunks not in encoded:
                encoded[chunks] = self._join([self._encode(chunk, clip_skip) for chunk in chunks])
        longest = max(one.embeds.shape[1] for one in encoded.values())
        for chunks, one in encoded.items():
            if one.embeds.shape[1] < longest:
                empty = self._encode(EMPTY, clip_skip)
                missing = (longest - one.embeds.shape[1]) // empty.embeds.shape[1]
                encoded[chunks] = self._join([one, *[empty] * missing])
        positive, negative = (tuple(encoded[chunks] for chunks in side) for side in texts)
        return ConditioningSchedule(positive, negative)

    @staticmethod
    def _join(parts: Sequence[Conditioning]) -> Conditioning:
        if len(parts) == 1:
            return parts[0]
        # The vector of the whole prompt is the first window's, as A1111 has it.
        return Conditioning(torch.cat([part.embeds for part in parts], dim=1), parts[0].pooled)

    def _encode(self, chunk: Chunk, clip_skip: int) -> Conditioning:
        key = (chunk, clip_skip)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self.conditioner.encode((chunk,), clip_skip)
            self._evict()
        self._kept.move_to_end(key)
        return found

    def _evict(self) -> None:
        window = min(one.embeds.shape[1] for one in self._kept.values())
        size = sum(one.embeds.shape[1] for one in self._kept.values()) // window
        while size > self.capacity and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            size -= oldest.embeds.shape[1] // window


def _texts(prompt: Prompt, steps: int) -> list[tuple[Chunk, ...]]:
    """The chunks of each step."""
    return [prompt.at(step, steps) for step in range(steps)]

"""Conditioning of a whole run: prompts that change on the way, and what has been encoded is kept.

A prompt that changes (``[a:b:5]``) becomes a schedule, one conditioning a step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from studio.pipelines.conditioning import (
    Conditioning,
    NoText,
    TextConditioner,
    TransformersConditioner,
    TwoTowers,
)
from studio.pipelines.prompt_grammar import EMPTY, Chunk, Prompt, parse


@dataclass(frozen=True)
class ConditioningSchedule:
    """Positive and negative conditioning for every step of a run, all of one length T.

    Args:
        positive: one a step, ``[1, T, D]``; steps with the same text share one.
        negative: the same for the negative prompt.
    """

    positive: tuple[Conditioning, ...]
    negative: tuple[Conditioning, ...]

    def at(self, step: int) -> tuple[Conditioning, Conditioning]:
        """Conditioning (positive, negative) of a step counted from 0, ``[1, T, D]`` each."""
        return self.positive[step], self.negative[step]

    def with_time_ids(self, positive: Tensor, negative: Tensor) -> ConditioningSchedule:
        """The same with ``time_ids`` ``[1, n]`` on each side."""
        return self._with("time_ids", positive, negative)

    def with_image(self, positive: Tensor, negative: Tensor) -> ConditioningSchedule:
        """The same with an IP-Adapter's tokens ``[1, 1, n, D]`` on each side."""
        return self._with("image", positive, negative)

    def _with(self, field: str, positive: Tensor, negative: Tensor) -> ConditioningSchedule:
        sides = []
        for side, value in ((self.positive, positive), (self.negative, negative)):
            given: dict[str, Any] = {field: value}
            placed = {id(one): replace(one, **given) for one in side}
            sides.append(tuple(placed[id(one)] for one in side))
        return ConditioningSchedule(*sides)

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
        zero_empty_negative: an empty negative prompt is zeros, not what the encoder says of it.
    """

    def __init__(
        self,
        conditioner: TextConditioner,
        capacity: int = 512,
        *,
        zero_empty_negative: bool = False,
    ) -> None:
        self.conditioner = conditioner
        self.capacity = capacity
        self.zero_empty_negative = zero_empty_negative
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
        if self.zero_empty_negative and not negative_prompt.strip():
            negative = (positive[0].zeros(),) * steps
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


def prompt_encoder(
    towers: Sequence[tuple[Any, Any]],
    *,
    zero_empty_negative: bool = False,
    with_pooled: bool = False,
) -> PromptEncoder:
    """The encoder of a model's prompts.

    Args:
        towers: (tokenizer, text encoder) of transformers, one or two; none for a model that
            reads no text.
        zero_empty_negative: see :class:`PromptEncoder`.
        with_pooled: see :class:`TransformersConditioner`.
    """
    if not towers:
        return PromptEncoder(NoText())
    # What pools its text for the U-Net is SDXL's, or its refiner's.
    penultimate = any(hasattr(encoder, "text_projection") for _, encoder in towers)
    read: list[TextConditioner] = [
        TransformersConditioner(*tower, penultimate=penultimate, with_pooled=with_pooled)
        for tower in towers
    ]
    conditioner = read[0] if len(read) == 1 else TwoTowers(*read)
    return PromptEncoder(conditioner, zero_empty_negative=zero_empty_negative)


def _texts(prompt: Prompt, steps: int) -> list[tuple[Chunk, ...]]:
    """The chunks of each step."""
    return [prompt.at(step, steps) for step in range(steps)]

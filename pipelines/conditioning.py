"""Text conditioning: from a prompt to the embeddings that the U-Net attends to.

Prompts of any length are read in windows; emphasis multiplies embeddings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from studio.errors import RequestError
from studio.pipelines import offload
from studio.pipelines.prompt_grammar import Chunk
from studio.pipelines.text_windows import Vocabulary, Window

_WINDOWS_AT_ONCE = 16  # bounds the memory that a very long prompt takes


@dataclass(frozen=True)
class Conditioning:
    """What a text encoder says about one prompt, or about a batch of them.

    Args:
        embeds: ``[B, T, D]``, T a multiple of the window.
        pooled: ``[B, P]`` for models that want one vector for the whole prompt as well (SDXL).
        time_ids: ``[B, 5 or 6]``, sizes and crop in pixels, which SDXL embeds beside the time.
        image: ``[B, 1, n, D]``, what an IP-Adapter says of its picture.
    """

    embeds: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None
    image: Tensor | None = None

    @classmethod
    def cat(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of several; all of one T."""

        def joined(tensors: list[Tensor | None]) -> Tensor | None:
            there = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(there) if there else None

        return cls(
            torch.cat([part.embeds for part in parts]),
            joined([part.pooled for part in parts]),
            joined([part.time_ids for part in parts]),
            joined([part.image for part in parts]),
        )

    def zeros(self) -> Conditioning:
        """The same shapes, saying nothing."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.embeds), pooled, self.time_ids)


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


class NoText:
    """Stands in for the text encoder of a model that reads no text."""

    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:  # noqa: ARG002
        """One zero a chunk, which such a U-Net does not look at."""
        return Conditioning(torch.zeros(len(chunks), 1, 1))


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
    def _read(self, ids: Tensor, mask: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """Token ids and mask ``[N, window]`` to embeddings ``[N, window, D]``, and pooled."""

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
        embeds = torch.cat([embeds for embeds, _ in parts])
        pooled = parts[0][1]  # that of the first window, as A1111 has it
        return Conditioning(
            embeds.reshape(1, -1, embeds.shape[-1]), None if pooled is None else pooled[:1]
        )

    def _embed(self, windows: Sequence[Window], clip_skip: int) -> tuple[Tensor, Tensor | None]:
        device = self._device()
        ids = torch.tensor([window.ids for window in windows], device=device)
        used = torch.tensor([window.used for window in windows], device=device)
        mask = (torch.arange(ids.shape[1], device=device) < used[:, None]).long()
        embeds, pooled = self._read(ids, mask, clip_skip)
        if all(weight == 1 for window in windows for weight in window.weights):
            return embeds, pooled  # untouched, so that plain prompts equal diffusers' bit for bit
        weights = torch.tensor([window.weights for window in windows], device=device)
        return emphasize(embeds, weights), pooled


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
        penultimate: read as SDXL does: one layer earlier, without the last normalisation.
        with_pooled: read as Stable Diffusion's x2 upscaler does: without the last normalisation,
            and with the encoder's own vector for the whole prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        *,
        penultimate: bool = False,
        with_pooled: bool = False,
    ) -> None:
        config = text_encoder.config
        super().__init__(
            Vocabulary.of(tokenizer, config.max_position_embeddings), config.num_hidden_layers
        )
        self.text_encoder = text_encoder
        self.penultimate = penultimate
        self.with_pooled = with_pooled

    def _read(self, ids: Tensor, mask: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        encoder = self.text_encoder
        masked = getattr(encoder.config, "use_attention_mask", False)
        output = encoder(
            ids,
            attention_mask=mask if masked else None,
            output_hidden_states=clip_skip > 1 or self.penultimate or self.with_pooled,
        )
        if self.with_pooled:
            return output.hidden_states[-clip_skip], output.pooler_output
        pooled: Tensor | None = getattr(output, "text_embeds", None)
        if self.penultimate:
            return output.hidden_states[-clip_skip - 1], pooled
        if clip_skip == 1:
            return output.last_hidden_state, pooled
        tower = getattr(encoder, "text_model", encoder)
        return tower.final_layer_norm(output.hidden_states[-clip_skip]), pooled

    def _device(self) -> torch.device:
        return offload.device_of(self.text_encoder)


class TwoTowers:
    """Two text encoders side by side, as SDXL has them (https://arxiv.org/abs/2307.01952).

    Both read the same windows; D is the sum of theirs, the pooled vector the second one's.
    """

    def __init__(self, first: TextConditioner, second: TextConditioner) -> None:
        self.first = first
        self.second = second

    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:
        """See :meth:`TextConditioner.encode`."""
        a, b = (tower.encode(chunks, clip_skip) for tower in (self.first, self.second))
        return Conditioning(torch.cat([a.embeds, b.embeds], dim=-1), b.pooled)

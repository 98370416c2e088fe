"""A model with what a request asks for beside it: LoRAs, textual inversions, another VAE.

What comes out shares all tensors that stay the same with the model, which itself does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from studio.pipelines import attention
from studio.pipelines.adapter_files import Applied, Asked, applied, find
from studio.pipelines.components import Components
from studio.pipelines.external_vae import external_vae
from studio.pipelines.lora import add_loras, read_loras
from studio.pipelines.offload import Residency
from studio.pipelines.parts import PARTS, TOWERS
from studio.pipelines.sharing import sharing_copy
from studio.pipelines.textual_inversion import Vocabulary

_Change = Callable[[str, Any], Any]
"""What is done to a part of that name, in place; gives it back."""


def adapted(components: Components, asked: Asked) -> Components:
    """The model with the files that are asked for.

    Raises:
        ModelError: a file is missing, broken, or does not fit the model.
    """
    models = {part: getattr(components, part) for part in PARTS}
    models = {part: model for part, model in models.items() if model is not None}
    loras = [(find("lora", use.name), use.weight) for use in asked.loras]
    embeddings = [find("embedding", name) for name in asked.embeddings]
    vae = None if asked.vae is None else find("vae", asked.vae)

    changeable = {part: model for part, model in models.items() if part != "vae"}
    changes = read_loras(changeable, loras, f"{components.name} ({components.family})")
    words = Vocabulary.of(components, embeddings) if embeddings else None

    def changed(part: str, model: Any) -> Any:
        if part in changes:
            add_loras(model, changes[part])
        if words is not None and part in TOWERS:
            words.extend(part, model, getattr(components, _tokenizer(part)).eos_token_id)
        return model

    parts = _loaded(components, models, changed, vae)
    attention.apply(components.runtime.attention, parts["unet"], parts["vae"])
    if words is not None:
        for part in words.towers:
            known = models[part].get_input_embeddings().num_embeddings
            name = _tokenizer(part)
            parts[name] = words.tokenizer(getattr(components, name), known)
    records: list[Applied] = [applied("lora", path, weight) for path, weight in loras]
    records += [applied("embedding", path) for path in embeddings]
    records += [] if vae is None else [applied("vae", vae)]
    return replace(components, adapters=tuple(records), **parts)


def _loaded(
    components: Components, models: Mapping[str, Any], changed: _Change, vae: Path | None
) -> dict[str, Any]:
    """The parts anew, sharing what they can; where parts come and go, so do these."""
    before = Residency.of(components.vae)
    after = None
    if before is not None:
        before.make_room()
        after = before.alike()
    parts = {}
    for part, model in models.items():
        copied: Any = None
        load: Callable[[], Any] = partial(_reloaded, before, part, changed)
        if part == "vae" and vae is not None:
            load = partial(external_vae, vae, model, components.runtime)
        elif part == "vae" or before is None or before.mode == "high":
            copied = changed(part, sharing_copy(model))
        if after is not None:
            parts[part] = after.take(part, load, copied)
        else:
            parts[part] = load() if copied is None else copied
    return parts


def _reloaded(residency: Residency | None, part: str, changed: _Change) -> Any:
    assert residency is not None, "only a residency asks again"
    return changed(part, residency.loader(part)())


def _tokenizer(part: str) -> str:
    return part.replace("text_encoder", "tokenizer")

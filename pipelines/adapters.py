"""A model with what a request asks for beside it: LoRAs, textual inversions, another VAE.

What comes out shares all tensors that stay the same with the model, which itself does not change.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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


def _loaded(components: Components, models: Any, changed: Any, vae: Any) -> dict[str, Any]:
    """The parts anew, sharing what they can; where parts come and go, so do these."""
    before = Residency.of(components.vae)
    after = None if before is None else before.alike()
    if before is not None:
        before.make_room()
    parts = {}
    for part, model in models.items():
        if part == "vae" and vae is not None:
            load = partial(external_vae, vae, model, components.runtime)
            parts[part] = load() if after is None else after.take(part, load)
        elif before is None or after is None:
            parts[part] = changed(part, sharing_copy(model))
        else:
            stored = before.loader(part)

            def load(part: str = part, stored: Any = stored) -> Any:
                return changed(part, stored())

            shared = part == "vae" or before.mode == "high"
            copied = changed(part, sharing_copy(model)) if shared else None
            parts[part] = after.take(part, load, copied)
    return parts


def _tokenizer(part: str) -> str:
    return part.replace("text_encoder", "tokenizer")

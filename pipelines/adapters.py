"""A model with what a request asks for beside it: LoRAs, textual inversions, another VAE.

What comes out shares all tensors that stay the same with the model, which itself does not change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from studio.pipelines.adapter_files import Applied, Asked, applied, find
from studio.pipelines.components import Components
from studio.pipelines.external_vae import external_vae
from studio.pipelines.lora import with_loras
from studio.pipelines.textual_inversion import with_embeddings

_CHANGED = ("text_encoder", "text_encoder_2", "unet")


def adapted(components: Components, asked: Asked) -> Components:
    """The model with the files that are asked for.

    Raises:
        ModelError: a file is missing, broken, or does not fit the model.
    """
    parts: dict[str, Any] = {}
    records: list[Applied] = []
    who = f"{components.name} ({components.family})"
    if asked.vae is not None:
        path = find("vae", asked.vae)
        parts["vae"] = external_vae(path, components.vae, components.runtime)
        records.append(applied("vae", path))
    if asked.loras:
        files = [(find("lora", use.name), use.weight) for use in asked.loras]
        models = {name: getattr(components, name) for name in _CHANGED}
        models = {name: model for name, model in models.items() if model is not None}
        parts |= with_loras(models, files, who)
        records += [applied("lora", path, weight) for path, weight in files]
    if asked.embeddings:
        paths = [find("embedding", name) for name in asked.embeddings]
        parts |= with_embeddings(replace(components, **parts), paths)
        records += [applied("embedding", path) for path in paths]
    return replace(components, adapters=tuple(records), **parts)

"""Recipes as ComfyUI's graph: the nodes that the picture came from are followed backwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from studio.importing.draft import Draft, Texts, as_object, number, text, whole

Graph = Mapping[str, Mapping[str, Any]]
"""Nodes by id: ``class_type`` and ``inputs``; an input ``[id, slot]`` is a link."""

_KNOWN = ("KSampler", "CLIPTextEncode", "EmptyLatentImage", "CheckpointLoader", "SaveImage",
          "PreviewImage", "VAE", "EmptySD3LatentImage", "Primitive", "CLIPSetLastLayer",
          "LoadImage", "Lora", "Reroute", "Note")  # fmt: skip
_TEXT_KEYS = ("text", "text_g", "string", "value", "prompt", "positive", "text_l")


def read(texts: Texts) -> Draft | None:
    """The graph under ``prompt``."""
    found = as_object(texts.get("prompt"))
    if found is None:
        return None
    graph = {
        key: node
        for key, node in found.items()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }
    samplers = [key for key, node in graph.items() if "sampler_name" in node["inputs"]]
    draft = Draft("ComfyUI", texts["prompt"])
    if not graph:
        return None
    if not samplers:
        draft.lose("No sampler was found in the graph.")
        return draft
    first = min(samplers, key=lambda key: sum(other in samplers for other, _ in _up(graph, key)))
    if len(samplers) > 1:
        draft.lose(f"The graph samples {len(samplers)} times; the first time was read.")
    _read_sampler(draft, graph, first)
    for node in graph.values():
        kind = str(node.get("class_type", ""))
        if not any(known in kind for known in _KNOWN):
            draft.lose(f"The node {kind} has no counterpart.")
    return draft


def _read_sampler(draft: Draft, graph: Graph, key: str) -> None:
    inputs = {name: _value(graph, value) for name, value in graph[key]["inputs"].items()}
    draft.put("seed", inputs.get("seed", inputs.get("noise_seed")), whole)
    draft.put("steps", inputs.get("steps"), whole)
    draft.put("guidance_scale", inputs.get("cfg"), number)
    draft.sampler(inputs.get("sampler_name"), inputs.get("scheduler"))
    for role, field in {"positive": "prompt", "negative": "negative_prompt"}.items():
        said = _texts(graph, graph[key]["inputs"].get(role))
        if said:
            draft.fields[field] = said[0]
        for other in said[1:]:
            draft.lose(f"A further text of the {field}: {other[:60]!r}.")
    for _, node in _up(graph, key):
        kind, own = str(node.get("class_type", "")), node["inputs"]
        if "Latent" in kind and "width" in own and "width" not in draft.fields:
            draft.size(_value(graph, own["width"]), _value(graph, own.get("height")))
        if isinstance(own.get("ckpt_name"), str) and "model" not in draft.fields:
            draft.put("model", own["ckpt_name"].rpartition(".")[0] or own["ckpt_name"], text)
        if isinstance(own.get("lora_name"), str):
            draft.lose(f"The LoRA {own['lora_name']} is not applied.")
        if "LoadImage" in kind:
            draft.put("strength", inputs.get("denoise"), number)
        if isinstance(own.get("stop_at_clip_layer"), int):
            draft.fields["clip_skip"] = -own["stop_at_clip_layer"]


def _up(graph: Graph, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All nodes that feed a node, the nearest first; each once, whatever the links say."""
    seen, waiting = {key}, deque([key])
    while waiting:
        for value in graph[waiting.popleft()]["inputs"].values():
            source = _link(value)
            if source is not None and source in graph and source not in seen:
                seen.add(source)
                waiting.append(source)
                yield source, graph[source]


def _texts(graph: Graph, start: Any) -> list[str]:
    """The texts that a link leads to, the nearest first."""
    source = _link(start)
    if source is None or source not in graph:
        return []
    nodes = [graph[source], *(node for _, node in _up(graph, source))]
    found = []
    for node in nodes:
        if "sampler_name" in node["inputs"]:
            continue
        for key in _TEXT_KEYS:
            value = node["inputs"].get(key)
            if isinstance(value, str) and value.strip() and value not in found:
                found.append(value)
                break
    return found


def _value(graph: Graph, value: Any) -> Any:
    """A value, also one that a primitive node hands on."""
    source = _link(value)
    if source is None:
        return value
    plain = [v for v in graph.get(source, {}).get("inputs", {}).values() if _link(v) is None]
    return plain[0] if plain and not isinstance(plain[0], (list, dict)) else None


def _link(value: Any) -> str | None:
    """The id of the node that an input is linked to."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
        return str(value[0])
    return None

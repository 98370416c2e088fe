"""ControlNets on disk: found, checked against a model before anything loads, and loaded.

Two layouts: diffusers' folder, and a single safetensors file in the names of diffusers or of the
original (``control_model.``, https://arxiv.org/abs/2302.05543). Importing this loads no torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.pipelines import families
from studio.pipelines.diffusers_folder import load_part, read_json
from studio.pipelines.families import Marks, Shapes, what_it_is
from studio.pipelines.parts import dtype_of, model_class, quiet, ready
from studio.pipelines.single_file import check_fits
from studio.pipelines.weights import check, checked_weights, fingerprint

if TYPE_CHECKING:
    from studio.pipelines.placement import Runtime

PART = "controlnet"

_PREFIX = "control_model."
_HINT = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight")
_USUAL_HINT = (16, 32, 96, 256)  # diffusers' and the original's features, level by level
_ARCHITECTURE = {
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1280,
    "addition_embed_type": None,
}
"""What U-Net and ControlNet must agree on, with the values that configs leave out."""


def config(path: Path) -> Mapping[str, Any]:
    """The config of a ControlNet: diffusers' own, or its family's where it is a single file.

    Raises:
        ModelError: there is none at ``path``, or it is of a kind that is not supported.
    """
    if (path / "config.json").is_file():
        found = read_json(path / "config.json", path.name)
        if (kind := found.get("_class_name")) != "ControlNetModel":
            raise ModelError(f"{path} is a {kind}.", valid="a ControlNetModel")
        checked_weights(path)
        if found.get("global_pool_conditions"):
            raise ModelError(
                f"The ControlNet {path} pools what it sees over the picture (shuffle).",
                valid="one that follows lines or depth",
            )
        return found
    if path.is_file():
        return _of_file(path)
    raise ModelError(
        f"There is no ControlNet at {path}.",
        valid="a folder in diffusers' layout, or a .safetensors file",
    )


def check_goes_with(path: Path, unet: Mapping[str, Any], scale: int, model: str) -> None:
    """Refuses a ControlNet that was made for another architecture than the model's.

    Args:
        path: the ControlNet.
        unet: config of the model's U-Net.
        scale: pixels along one of its latents' edges.
        model: its name.

    Raises:
        ModelError: says in what they differ; also as for :func:`config`.
    """
    found = config(path)
    hint = found.get("conditioning_embedding_out_channels") or _USUAL_HINT
    pairs = [
        (name, found.get(name, usual), unet.get(name, usual))
        for name, usual in _ARCHITECTURE.items()
    ]
    pairs.append(("in_channels", found.get("in_channels", 4), unet.get("out_channels", 4)))
    pairs.append(("pixels a latent", 2 ** (len(hint) - 1), scale))
    for name, have, wanted in pairs:
        have, wanted = (list(v) if isinstance(v, tuple) else v for v in (have, wanted))
        if have != wanted:
            raise ModelError(
                f"The ControlNet {path} was made for another architecture than {model}: "
                f"{name} is {have}, not {wanted}.",
                valid=f"a ControlNet for {model}'s family",
            )


def weights_sha256(path: Path) -> str:
    """The fingerprint of a ControlNet (see :mod:`studio.pipelines.weights`), without loading it."""
    if path.is_file():
        return fingerprint(path.parent, [path])
    return fingerprint(path, [*checked_weights(path).files, path / "config.json"])


def load(path: Path, runtime: Runtime) -> Any:
    """diffusers' ControlNetModel on the runtime's device and in the U-Net's precision.

    Raises:
        ModelError: as for :func:`config`; the weights lack something.
    """
    found = config(path)
    with quiet():
        if not path.is_file():
            net = load_part(path, checked_weights(path), runtime, PART)
        else:
            net = _from_file(path, found, runtime)
    return net.to(runtime.device)


def _from_file(path: Path, found: Mapping[str, Any], runtime: Runtime) -> Any:
    import torch
    from diffusers.loaders import single_file_utils
    from safetensors.torch import load_file

    kind, dtype = model_class(PART), dtype_of(PART, runtime)
    known = inspect.signature(kind.__init__).parameters
    with torch.device("meta"):
        net = kind(**{name: value for name, value in found.items() if name in known})
    utils: Any = single_file_utils  # which has no types
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    renamed = utils.convert_controlnet_checkpoint(tensors, found)
    renamed = {name: tensor for name, tensor in renamed.items() if tensor is not None}
    check_fits(path, PART, renamed, net, valid="a whole ControlNet")
    net.load_state_dict({name: renamed[name] for name in net.state_dict()}, assign=True)
    return ready(net, PART, runtime)


def _of_file(path: Path) -> Mapping[str, Any]:
    shapes = {name.removeprefix(_PREFIX): shape for name, shape in check(path).shapes.items()}
    if not any(name in shapes for name in _HINT):
        raise ModelError(f"{path} holds {what_it_is(shapes)}.", valid="a ControlNet")
    if (odd := _odd(shapes)) is not None:
        raise ModelError(f"{path} is {odd}.", valid="a whole ControlNet, in diffusers' folder even")
    original = _HINT[1] in shapes
    stem = "model.diffusion_model." if original else ""
    marks = Marks.of({f"{stem}{name}": shape for name, shape in shapes.items()})
    for family in families.families():
        like = family.marks
        if marks and (marks.in_channels, marks.channels, marks.context, marks.vector) == (
            (like.in_channels, like.channels, like.context, like.vector)
        ):
            return {**family.unet, "conditioning_embedding_out_channels": _features(shapes)}
    raise ModelError(
        f"{path} is a ControlNet for no known family.", valid="its folder in diffusers' layout"
    )


def _odd(shapes: Shapes) -> str | None:
    if any(name.startswith(("task_embedding", "control_add_embedding")) for name in shapes):
        return "a union of ControlNets"
    if any("lora" in name or name.endswith((".up", ".down")) for name in shapes):
        return "a ControlNet as a LoRA"
    return "a difference to a model" if "difference" in shapes else None


def _features(shapes: Shapes) -> tuple[int, ...]:
    """Features of the levels through which the control image is brought to the latents' size."""
    first = next(shapes[name][0] for name in _HINT if name in shapes)
    blocks = "controlnet_cond_embedding.blocks.{}.weight"
    if blocks.format(0) not in shapes:  # the original: every second place of eight is a convolution
        return (first, *(shapes[f"input_hint_block.{4 * i}.weight"][0] for i in (1, 2, 3)))
    count = sum(blocks.format(i) in shapes for i in range(len(shapes)))
    return (first, *(shapes[blocks.format(i)][0] for i in range(1, count, 2)))

"""Models in one safetensors file, in the names that CompVis and Stability gave the tensors.

Configs and vocabulary come with the studio and open_clip, so that nothing is asked of the network.
Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.pipelines.checkpoint_names import PREFIXES, named_shapes, renamed, stored_names
from studio.pipelines.families import Family, check_inputs, families, recognise, what_it_is
from studio.pipelines.parts import held_dtype, model_class, quiet, ready
from studio.pipelines.weights import check, fingerprint

if TYPE_CHECKING:
    from torch import Tensor

    from studio.pipelines.placement import Runtime

_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
_TELLTALE = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
_SPREAD = 0.09
_WHOLE = "a file with U-Net, VAE and text encoders"
_VELOCITY_SIZE = 768


def family_of(path: Path) -> Family:
    """The family of a single file, by its tensors.

    Raises:
        ModelError: the file is broken, unsafe, or holds no model of a known family.
    """
    shapes = named_shapes(check(path).shapes)
    check_inputs(shapes, path)
    family = recognise(shapes)
    if family is None:
        raise ModelError(
            f"{path} ({path.stat().st_size:,} bytes) holds {what_it_is(shapes)}.",
            valid=f"a whole model of {', '.join(family.name for family in families())}",
        )
    return family


def scheduler_config(path: Path) -> dict[str, Any]:
    """The noise schedule that a single file was trained with, as diffusers' config.

    What the model predicts stands in the file (``modelspec.prediction_type``, or kohya's ``v_pred``
    and ``ztsnr``), in its family, or for SD 2.x shows in the weights: see :func:`_is_velocity`.

    Raises:
        ModelError: see :func:`family_of`.
    """
    family = family_of(path)
    header = check(path)
    config = dict(family.scheduler)
    said = header.metadata.get("modelspec.prediction_type", "")
    if said in _PREDICTIONS:
        config["prediction_type"] = _PREDICTIONS[said]
    elif "v_pred" in header.shapes or (family.prediction_unknown and _is_velocity(path)):
        config["prediction_type"] = "v_prediction"
    if "ztsnr" in header.shapes:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return config


def native_size(path: Path, family: Family) -> int:
    """Pixels along an edge of the pictures that a single file was trained on."""
    velocity = family.prediction_unknown and (
        scheduler_config(path)["prediction_type"] == "v_prediction"
    )
    return _VELOCITY_SIZE if velocity else family.size


def _is_velocity(path: Path) -> bool:
    """Whether SD 2.x weights predict velocity, as the models for 768x768 do.

    Nothing says so but the training: in the last block of the published v-models a bias is spread
    more widely (the same sign that ComfyUI goes by).
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        stored = stored_names(file.keys())
        if _TELLTALE not in stored:
            return False
        return bool(file.get_tensor(stored[_TELLTALE]).float().std(correction=0) > _SPREAD)


def load(path: Path, runtime: Runtime) -> dict[str, Any]:
    """The parts of a model, on the runtime's device and in its precision.

    Returns:
        The fields of ``Components`` but for card and runtime.

    Raises:
        ModelError: the file is broken, unsafe, of no known family, or lacks tensors.
    """
    from studio.pipelines.clip_tokenizer import clip_tokenizer
    from studio.pipelines.offload import Residency

    family = family_of(path)
    residency = Residency(runtime)
    parts: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
    with quiet():
        for part in (*family.towers, "unet", "vae"):
            parts[part] = residency.take(part, partial(_part, path, part, family, runtime))
    for part, tower in family.towers.items():
        name = part.replace("text_encoder", "tokenizer")
        parts[name] = clip_tokenizer(tower.pad_token)
    return {
        "weights_sha256": fingerprint(path.parent, [path]),
        "force_zeros_for_empty_prompt": family.force_zeros_for_empty_prompt,
        "requires_aesthetics_score": family.requires_aesthetics_score,
        "low_res_scheduler_config": family.low_res_scheduler,
        **parts,
    }


def empty_part(part: str, family: Family) -> Any:
    """A part of a family, its parameters without values (on the meta device)."""
    import torch

    kind = model_class(part)
    with torch.device("meta"):
        if part in family.towers:
            return kind(kind.config_class(**family.towers[part].config))
        return kind(**getattr(family, part))


def _part(path: Path, part: str, family: Family, runtime: Runtime) -> Any:
    from safetensors import safe_open

    dtype = held_dtype(part, runtime, check(path).dtype(PREFIXES[part]))
    model = empty_part(part, family)
    with safe_open(path, framework="pt") as file:
        stored = stored_names(file.keys())
        tensors = {
            name: _cast(file.get_tensor(stored[name]), dtype)
            for name in stored
            if name.startswith(PREFIXES[part])
        }
    try:
        found = renamed(part, tensors, family, model)
    except KeyError as error:
        raise _lacks(path, part, [str(error.args[0])]) from None
    check_fits(path, part, found, model)
    model.load_state_dict(found, assign=True)
    _fill_buffers(model)
    del tensors, found  # else what `ready` lays out anew would be there twice
    return ready(model, part, runtime)


def _cast(tensor: Tensor, dtype: Any) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def check_fits(
    path: Path, part: str, found: Mapping[str, Tensor], model: Any, *, valid: str = _WHOLE
) -> None:
    """Refuses tensors that are not those of a part, by names and shapes.

    Raises:
        ModelError: some are missing (named), or one has another shape.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in found]
    if missing:
        raise _lacks(path, part, missing, valid)
    for name, parameter in expected.items():
        if found[name].shape != parameter.shape:
            raise ModelError(
                f"{path}: {part}.{name} has the shape {tuple(found[name].shape)}.",
                valid=f"{tuple(parameter.shape)}",
            )


def _lacks(path: Path, part: str, missing: list[str], valid: str = _WHOLE) -> ModelError:
    first = ", ".join(missing[:3])
    which = f"the first being {first}" if len(missing) > 3 else first
    return ModelError(
        f"{path} ({path.stat().st_size:,} bytes) lacks {len(missing)} tensors of its {part}: "
        f"{which}.",
        valid=f"{valid}, downloaded again",
    )


def _fill_buffers(model: Any) -> None:
    """Gives values to what no file holds: CLIP's numbering of positions."""
    import torch

    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta:
            owner = model.get_submodule(name.rpartition(".")[0])
            assert name.endswith("position_ids"), name
            positions = torch.arange(buffer.shape[-1]).expand(buffer.shape)
            owner.register_buffer("position_ids", positions, persistent=False)

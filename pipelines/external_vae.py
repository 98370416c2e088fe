"""A VAE in place of the model's own: a folder in diffusers' layout, or a single file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import single_file_utils
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import safe_open
from torch import Tensor

from studio.errors import ModelError
from studio.pipelines import weights
from studio.pipelines.checkpoint_names import PREFIXES
from studio.pipelines.diffusers_folder import read_json
from studio.pipelines.parts import dtype_of, quiet, ready
from studio.pipelines.placement import Runtime

_SAME = ("latent_channels", "scaling_factor", "shift_factor", "block_out_channels")
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_SHOWN = 12  # of the keys that fit nothing


def external_vae(path: Path, own: Any, runtime: Runtime) -> Any:
    """The VAE in a folder or file, on the runtime's device and in its precision.

    Args:
        path: a folder with ``config.json``, a whole model's folder with ``vae`` in it, or a single
            safetensors file in diffusers' or CompVis' names.
        own: the model's own VAE, whose latents the new one has to understand.
        runtime: where and how it computes.

    Raises:
        ModelError: broken or unsafe weights, another architecture, or other latents.
    """
    if path.is_dir():
        folder = path / "vae" if (path / "vae").is_dir() else path
        files = weights.checked_weights(folder).files
        config = {**own.config, **_settings(folder)}
    else:
        weights.check(path)
        files, config = (path,), dict(own.config)
    for name in _SAME:
        theirs, ours = config.get(name), own.config.get(name)
        if theirs != ours and (not isinstance(theirs, list | tuple) or [*theirs] != [*ours]):
            raise ModelError(f"The VAE {path} has {name} = {theirs}, the model's own {ours}.",
                             valid="a VAE for models of this kind")  # fmt: skip
    with quiet(), torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    tensors = _tensors(files, config)
    expected = vae.state_dict()
    missing = [key for key in expected if key not in tensors]
    wrong = [key for key, tensor in tensors.items()
             if key not in expected or expected[key].shape != tensor.shape]  # fmt: skip
    if missing or wrong:
        raise _unfit(path, missing, wrong)
    dtype = dtype_of("vae", runtime)
    vae.load_state_dict({key: tensor.to(dtype) for key, tensor in tensors.items()}, assign=True)
    if own.attn_processors:
        vae.set_attn_processor(next(iter(own.attn_processors.values())))
    return ready(vae, "vae", runtime)


def _settings(folder: Path) -> dict[str, Any]:
    settings = read_json(folder / "config.json", str(folder))
    return {name: value for name, value in settings.items() if not name.startswith("_")}


def _tensors(files: tuple[Path, ...], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Under the names that diffusers has now."""
    found: dict[str, Tensor] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            found |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    prefix = next((p for p in PREFIXES["vae"] if any(key.startswith(p) for key in found)), "")
    if prefix:
        found = {k.removeprefix(prefix): t for k, t in found.items() if k.startswith(prefix)}
    if any(key.startswith(("encoder.down.", "decoder.up.")) for key in found):
        utils: Any = single_file_utils  # which has no types
        return dict(utils.convert_ldm_vae_checkpoint(found, config))
    return {_renewed(key): tensor for key, tensor in found.items()}


def _renewed(key: str) -> str:
    """The attention's name since diffusers 0.15, of a name before."""
    head, dot, tail = key.rpartition(".")
    module, _, last = head.rpartition(".")
    return f"{module}.{_OLD[last]}{dot}{tail}" if last in _OLD else key


def _unfit(path: Path, missing: list[str], wrong: list[str]) -> ModelError:
    lists = {"fit nothing or have other shapes": wrong, "are missing": missing}
    told = [
        f"{len(keys)} tensors {what}: {', '.join(keys[:_SHOWN])}"
        + (" ..." if len(keys) > _SHOWN else "")
        for what, keys in lists.items()
        if keys
    ]
    return ModelError(f"The VAE {path} is not of the model's kind: {'; '.join(told)}.",
                      valid="a VAE for models of this kind")  # fmt: skip

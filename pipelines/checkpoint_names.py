"""From the names of CompVis and Stability to those of diffusers and transformers.

The renaming itself is diffusers' own; here stands which of its functions suits which part, and
what it leaves to its callers. Importing this loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from studio.pipelines.families import Family, Shapes, Tower

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.",),
}
"""How the tensors of each part begin in a single file."""

_EMA = "model_ema.diffusion_model"
_MODULES = re.compile(
    r"(?:in|out|emb)_layers|(?:input|output)_blocks|middle_block|transformer_blocks|time_embed"
    r"|label_emb|skip_connection|to_[qkv]|to_out|attn[12]|norm[123]?|proj_in|proj_out|proj|conv"
    r"|ff|net|op|out|weight|bias|\d+"
)


def stored_names(names: Iterable[str]) -> dict[str, str]:
    """Name in the file of each tensor, by the name that it should have.

    They are the same, but where a file holds nothing of the U-Net than the moving average of its
    training (EMA): its names have lost their dots.
    """
    names = list(names)
    if any(name.startswith(PREFIXES["unet"]) for name in names):
        return {name: name for name in names}
    return {_dotted(name): name for name in names}


def named_shapes(shapes: Shapes) -> Shapes:
    """Shapes by the names that :func:`stored_names` gives."""
    return {name: shapes[stored] for name, stored in stored_names(shapes).items()}


def _dotted(name: str) -> str:
    if not name.startswith(_EMA):
        return name
    flat = name.removeprefix(_EMA)
    modules = _MODULES.findall(flat)
    if "".join(modules) != flat:
        return name
    # Two numbers that met: only the first ever has more than one digit.
    split = [f"{m[:-1]}.{m[-1]}" if m.isdecimal() and len(m) > 1 else m for m in modules]
    return PREFIXES["unet"][0] + ".".join(split)


def renamed(
    part: str, tensors: Mapping[str, Tensor], family: Family, model: Any
) -> dict[str, Tensor]:
    """The tensors of one part under the names of ``model``; what it does not have is left out.

    Args:
        part: name of the part's folder in diffusers' layout.
        tensors: those of the file that begin with the part's ``PREFIXES``, or all of them.
        family: what the file holds.
        model: the part, its parameters without values.

    Raises:
        KeyError: a tensor is missing that the renaming cannot do without.
    """
    from diffusers.loaders import single_file_utils

    utils: Any = single_file_utils  # which has no types
    if part == "unet":
        found = utils.convert_ldm_unet_checkpoint(dict(tensors), family.unet)
    elif part == "vae":
        found = utils.convert_ldm_vae_checkpoint(dict(tensors), family.vae)
    else:
        found = _tower(family.towers[part], tensors, model)
    expected = model.state_dict().keys()
    # Text models lost a level of their names in transformers 5.6, files did not.
    return {
        own: tensor
        for name, tensor in found.items()
        for own in (name, name.removeprefix("text_model."), f"text_model.{name}")
        if own in expected
    }


def _tower(tower: Tower, tensors: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    from diffusers.loaders import single_file_utils

    utils: Any = single_file_utils  # which has no types
    if tower.kind == "clip":
        return dict(utils.convert_ldm_clip_checkpoint(dict(tensors)))
    ending = "model.positional_embedding"
    prefix = next((n.removesuffix(ending) for n in tensors if n.endswith(ending)), "") + "model."
    return dict(utils.convert_open_clip_checkpoint(model, dict(tensors), prefix=prefix))

"""LoRAs against diffusers with the same file; what fits nothing; the model stays as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.errors import ModelError
from studio.pipelines.adapter_files import Asked
from studio.pipelines.adapters import adapted
from studio.pipelines.families import named
from studio.pipelines.lora_names import places
from studio.pipelines.prompt_tags import Use
from studio.pipelines.single_file import empty_part
from tests import lora_files
from tests.adapted import model, ours, same, their_pipeline, theirs
from tests.lora_files import factors, lora_file
from tests.tiny_families import tiny_family, tiny_parts, write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def asked(*files: tuple[Path, float]) -> Asked:
    return Asked(tuple(Use(str(path), weight) for path, weight in files))


def of_diffusers(family: str, *files: tuple[Path, float]) -> Any:
    pipeline = their_pipeline(family)
    names = [f"lora{i}" for i in range(len(files))]
    for name, (path, _) in zip(names, files, strict=True):
        pipeline.load_lora_weights(path, adapter_name=name)
    pipeline.set_adapters(names, [weight for _, weight in files])
    return theirs(pipeline)


@pytest.mark.parametrize(
    ("family", "form"),
    [
        ("sd1", lora_files.kohya),
        ("sd1", lora_files.peft),
        ("sd1", lora_files.diffusers),
        ("sd1", lora_files.diffusers_old),
        ("sdxl", lora_files.kohya_xl(tiny_family("sdxl"))),
    ],
    ids=["kohya", "peft", "diffusers", "diffusers' first", "kohya for SDXL"],
)
def test_every_form_is_diffusers_picture(family: str, form: Any, tmp_path: Path) -> None:
    layers = factors(tiny_parts(family))
    if form is lora_files.diffusers_old:
        ends = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")
        layers = {place: roles for place, roles in layers.items() if place[1].endswith(ends)}
    path = lora_file(tmp_path / "style.safetensors", layers, form)
    drawn = ours(adapted(model(family), asked((path, 0.7))))
    same(drawn, of_diffusers(family, (path, 0.7)))
    assert (drawn - ours(model(family))).abs().max() > 0.1, "the LoRA does next to nothing"


def test_several_act_together(tmp_path: Path) -> None:
    forms = (lora_files.kohya, lora_files.peft)
    files = [
        lora_file(tmp_path / f"{i}.safetensors", factors(tiny_parts("sd1"), seed=i), form)
        for i, form in enumerate(forms)
    ]
    both = ((files[0], 0.6), (files[1], -0.4))
    same(ours(adapted(model("sd1"), asked(*both))), of_diffusers("sd1", *both))


def test_settings_of_peft_count(tmp_path: Path) -> None:
    layers = {k: v for k, v in factors(tiny_parts("sd1")).items() if k[0] == "unet"}
    module = next(iter(layers))[1]
    notes = {
        "unet.r": lora_files.RANK,
        "unet.lora_alpha": 2,
        "unet.alpha_pattern": {module: 5},
        "unet.target_modules": [name for _, name in layers],
    }
    path = lora_file(
        tmp_path / "noted.safetensors",
        layers,
        lora_files.peft,
        lora_adapter_metadata=json.dumps(notes),
    )
    same(ours(adapted(model("sd1"), asked((path, 1.0)))), of_diffusers("sd1", (path, 1.0)))


def test_a_tucker_decomposition_is_its_product(tmp_path: Path) -> None:
    """LyCORIS' convolutions in three factors; diffusers refuses them, so by hand."""
    noise = torch.Generator().manual_seed(1)
    place = "down_blocks.0.resnets.0.conv1"
    weight = tiny_parts("sd1")["unet"].get_submodule(place).weight
    down, up, mid = (
        torch.randn(shape, generator=noise)
        for shape in ((2, weight.shape[1], 1, 1), (weight.shape[0], 2, 1, 1), (2, 2, 3, 3))
    )
    name = f"lora_unet_{place.replace('.', '_')}"
    path = write(
        {
            f"{name}.lora_down.weight": down,
            f"{name}.lora_up.weight": up,
            f"{name}.lora_mid.weight": mid,
            f"{name}.alpha": torch.tensor(1.0),
        },
        tmp_path / "tucker.safetensors",
    )
    changed = adapted(model("sd1"), asked((path, 0.5))).unet.get_submodule(place).weight
    change = torch.einsum("op,pqhw,qi->oihw", up[..., 0, 0], mid, down[..., 0, 0])
    torch.testing.assert_close(changed, weight + 0.5 * 0.5 * change)


def test_the_model_itself_draws_as_before(tmp_path: Path) -> None:
    base = model("sd1")
    path = lora_file(tmp_path / "a.safetensors", factors(tiny_parts("sd1")), lora_files.kohya)
    before = ours(base)
    ours(adapted(base, asked((path, 1.0))))
    assert torch.equal(ours(base), before)
    assert torch.equal(ours(adapted(base, asked((path, 0.0)))), before)


def test_what_stays_the_same_is_shared(tmp_path: Path) -> None:
    layers = factors(tiny_parts("sd1"))
    one = {place: roles for place, roles in layers.items() if place == ("unet", "conv_in")}
    path = lora_file(tmp_path / "a.safetensors", one, lora_files.kohya)
    base, changed = model("sd1"), adapted(model("sd1"), asked((path, 1.0)))
    own = {parameter.data_ptr() for parameter in base.unet.parameters()}
    assert sum(p.data_ptr() not in own for p in changed.unet.parameters()) == 1
    assert changed.vae.decoder.conv_in.weight is base.vae.decoder.conv_in.weight


@pytest.mark.parametrize("memory", ["low", "lowest"])
def test_parts_that_come_and_go_bring_their_loras(memory: str, tmp_path: Path) -> None:
    path = lora_file(tmp_path / "a.safetensors", factors(tiny_parts("sd1")), lora_files.kohya)
    expected = ours(adapted(model("sd1"), asked((path, 0.7))))
    thrifty = model("sd1", memory)
    plain = ours(thrifty)
    changed = adapted(thrifty, asked((path, 0.7)))
    for _ in range(2):  # the second time all has been away
        same(ours(changed), expected)
    assert torch.equal(ours(thrifty), plain)


def test_keys_that_fit_nothing_are_listed(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "xl.safetensors", factors(tiny_parts("sdxl")), lora_files.peft)
    with pytest.raises(ModelError, match=r"keys of the LoRA .*xl\.safetensors fit nothing") as told:
        adapted(model("sd1"), asked((path, 1.0)))
    assert "text_encoder_2.text_model.encoder.layers.0" in str(told.value)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("lora_unet_no_such_layer.lora_down.weight", (3, 32)),
        ("lora_unet_conv_in.lora_down.weight", (3, 4, 3, 3)),
        ("lora_unet_conv_in.dora_scale", (32, 1)),
        ("lora_unet_conv_in.hada_w1_a", (32, 3)),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", ()),
    ],
    ids=["unknown layer", "half a pair", "DoRA", "LoHa", "alpha alone"],
)
def test_one_stray_key_among_good_ones_is_named(
    key: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    layers = factors(tiny_parts("sd1"))
    some = dict(list(layers.items())[:2])
    path = lora_file(tmp_path / "a.safetensors", some, lora_files.peft)
    path = write({**load_file(path), key: torch.ones(shape)}, path)
    with pytest.raises(ModelError, match=f"1 of the 5 keys .*{key.partition('.')[0]}"):
        adapted(model("sd1"), asked((path, 1.0)))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    layers = factors(tiny_parts("sd1"))
    place, roles = next(iter(layers.items()))
    broken = {place: {**roles, "up": roles["up"] * float("nan")}}
    path = lora_file(tmp_path / "a.safetensors", broken, lora_files.kohya)
    with pytest.raises(ModelError, match="not finite"):
        adapted(model("sd1"), asked((path, 1.0)))


REAL = {
    "sd1": (
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_2",
        "lora_unet_mid_block_attentions_0_proj_in",
        "lora_unet_down_blocks_0_downsamplers_0_conv",
        "lora_unet_up_blocks_1_resnets_0_conv_shortcut",
        "lora_te_text_model_encoder_layers_11_self_attn_out_proj",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out",
        "text_encoder.text_model.encoder.layers.11.mlp.fc1",
    ),
    "sdxl": (
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_out_0",
        "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
        "lora_unet_output_blocks_5_1_proj_in",
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_8_0_skip_connection",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_input_blocks_1_0_emb_layers_1",
        "lora_unet_label_emb_0_0",
        "lora_unet_out_2",
        "lora_te1_text_model_encoder_layers_11_mlp_fc2",
        "lora_te2_text_model_encoder_layers_31_mlp_fc2",
        "lora_te2_text_projection",
        "unet.up_blocks.1.attentions.2.transformer_blocks.1.attn1.to_k",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_names_of_real_files_are_known(name: str) -> None:
    """The published sizes; kohya's usual LoRA has 192 modules in SD 1.x, 722 in SDXL's U-Net."""
    family = named(name)
    assert family
    known = places({part: empty_part(part, family) for part in (*family.towers, "unet")})
    assert not set(REAL[name]) - known.keys()
    usual = re.compile(
        r"lora_unet_(?:input|output|middle|up|down|mid)_block\w*?_"
        r"(?:proj_in|proj_out|to_[qkv]|to_out_0|ff_net_0_proj|ff_net_2)"
    )
    modules = {place.module for key, place in known.items() if usual.fullmatch(key)}
    assert len(modules) == {"sd1": 192, "sdxl": 722}[name]

"""IP-Adapter: a picture prompts beside the text, by attention of its own (arXiv:2308.06721)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from studio.errors import ModelError
from studio.pipelines import ip_adapter_weights
from studio.pipelines.diffusers_folder import load_part
from studio.pipelines.fitting import opaque
from studio.pipelines.ip_adapter_weights import ENCODER, Found
from studio.pipelines.parts import quiet
from studio.pipelines.weights import checked_weights

if TYPE_CHECKING:
    from studio.pipelines.components import Components
    from studio.pipelines.inputs import Sources
    from studio.pipelines.placement import Runtime
    from studio.pipelines.request import Request


_LONGEST = 300  # characters of a library's complaint, which may name every tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """An IP-Adapter, loaded.

    Args:
        processors: diffusers' attention processors by the names that the U-Net has for them.
        projection: from what the encoder sees to tokens.
        encoder: transformers' CLIPVisionModelWithProjection.
    """

    processors: Mapping[str, Any]
    projection: Any
    encoder: Any

    @torch.inference_mode()
    def tokens(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """What the U-Net attends to, [1, 1, n, D], for a picture (RGB) and for none."""
        from diffusers.models.embeddings import ImageProjection
        from transformers import CLIPImageProcessor

        edge = self.encoder.config.image_size
        prepare = CLIPImageProcessor(size=edge, crop_size=edge)
        pixels = prepare(picture, return_tensors="pt").pixel_values
        pixels = pixels.to(self.encoder.device, self.encoder.dtype)
        if isinstance(self.projection, ImageProjection):
            whole = self.encoder(pixels).image_embeds
            seen = whole, torch.zeros_like(whole)
        else:  # nothing is a black picture, seen place by place
            pictures = torch.cat([pixels, torch.zeros_like(pixels)])
            places = self.encoder(pictures, output_hidden_states=True).hidden_states[-2]
            seen = places[:1], places[1:]
        some, none = (self.projection(each)[:, None] for each in seen)
        return some, none


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """An IP-Adapter and the picture that it shows.

    Args:
        adapter: loaded.
        picture: RGB.
        scale: how much the picture counts beside the text, 0 = not at all.
    """

    adapter: Adapter
    picture: Image.Image
    scale: float

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """See :meth:`Adapter.tokens`."""
        return self.adapter.tokens(self.picture)

    @contextmanager
    def shown_to(self, unet: Any) -> Iterator[None]:
        """Within, the U-Net attends to the picture; afterwards it is as before."""
        before = dict(unet.attn_processors)
        for processor in self.adapter.processors.values():
            processor.to(unet.dtype).scale = [self.scale]
        unet.set_attn_processor({**before, **self.adapter.processors})
        try:
            yield
        finally:
            unet.set_attn_processor(before)


def with_image_prompt(components: Components, request: Request, sources: Sources) -> Components:
    """The model that sees the request's picture; itself where no such picture is at hand.

    The adapter stays loaded until another one is asked for.

    Raises:
        ModelError: it is missing, broken, or made for another architecture.
    """
    if request.ip_adapter is None or sources.ip_adapter_image is None:
        return components
    path = Path(request.ip_adapter)
    found = ip_adapter_weights.find(path)
    digest = found.weights_sha256()
    kept, adapter = components.beside.get("ip_adapter", ("", None))
    if kept != digest:
        ip_adapter_weights.check_goes_with(path, components.unet.config, components.name)
        components.beside.pop("ip_adapter", None)  # two need not fit at once
        adapter = load(found, components.unet, components.runtime)
        components.beside["ip_adapter"] = digest, adapter
    prompt = ImagePrompt(adapter, opaque(sources.ip_adapter_image), request.ip_adapter_scale)
    return replace(components, image_prompt=prompt)


def load(found: Found, unet: Any, runtime: Runtime) -> Adapter:
    """An IP-Adapter for a U-Net, on the runtime's device and in its precision.

    diffusers' own code reads the weights; the U-Net stays as it is.

    Raises:
        ModelError: broken weights, or some that do not fit the U-Net.
    """
    from diffusers.loaders.unet import UNet2DConditionLoadersMixin
    from diffusers.models.attention_processor import AttnProcessor2_0
    from safetensors.torch import load_file

    kind: Any = UNet2DConditionLoadersMixin  # whose methods have no public counterpart
    usual: Any = AttnProcessor2_0
    state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in load_file(found.file).items():
        side, _, rest = name.partition(".")
        state.setdefault(side, {})[rest] = tensor
    plain = SimpleNamespace(
        attn_processors=dict.fromkeys(unet.attn_processors, usual()), config=unet.config
    )
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            processors = kind._convert_ip_adapter_attn_to_diffusers(plain, [state], False)
            projection = kind._convert_ip_adapter_image_proj_to_diffusers(
                plain, state["image_proj"], False
            )
            encoder = load_part(found.encoder, checked_weights(found.encoder), runtime, ENCODER)
    except (KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())[:_LONGEST]
        raise ModelError(
            f"The IP-Adapter {found.file} cannot be loaded: {why}.",
            valid="a whole IP-Adapter for this model's family",
        ) from error

    def ready(model: Any) -> Any:
        return model.to(runtime.device, runtime.dtype).requires_grad_(False).eval()

    own = {name: each for name, each in processors.items() if not name.endswith("attn1.processor")}
    return Adapter(
        {name: ready(processor) for name, processor in own.items()},
        ready(projection),
        encoder.to(runtime.device),
    )

"""ControlNet: a second network reads lines and adds to what the U-Net says (arXiv:2302.05543)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from studio.pipelines import attention, control_weights, stages
from studio.pipelines.control_hints import prepared
from studio.pipelines.fitting import fitted, opaque

if TYPE_CHECKING:
    from studio.pipelines.components import Components
    from studio.pipelines.inputs import Sources
    from studio.pipelines.request import Request

Predict = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet and what it follows.

    Args:
        net: diffusers' ControlNetModel.
        picture: RGB, what lines are found in.
        fit: how it is brought to the size that is drawn: "crop", "pad" or "stretch".
        preprocessor: how the lines are found, see :mod:`studio.pipelines.control_hints`.
        strength: factor on what the network adds.
        start: share of the walked timesteps before which it does not act.
        end: share of them after which it does not.
    """

    net: Any
    picture: Image.Image
    fit: str
    preprocessor: str
    strength: float
    start: float
    end: float

    def hint(self, size: tuple[int, int]) -> Tensor:
        """What the network sees of the picture, [1, 3, H, W] in [0, 1], for (width, height)."""
        lines = prepared(fitted(self.picture, size, self.fit), self.preprocessor)
        return (stages.to_tensor(lines) / 2 + 0.5).to(self.net.device, self.net.dtype)

    def acts(self, index: int, total: int) -> bool:
        """Whether it acts at a timestep, counted from 0 of all that are walked."""
        return self.start <= index / total and (index + 1) / total <= self.end

    def over(self, unet: Any, size: tuple[int, int]) -> Controlled:
        """The U-Net with what the network adds to it, for pictures of (width, height)."""
        return Controlled(unet, self.net, self.hint(size), self.strength)

    def between(self, free: Predict, held: Predict, walk: tuple[int, int]) -> Predict:
        """``held`` where the network acts, ``free`` elsewhere.

        Args:
            free: prediction without the network, from (latents, timestep, index of it).
            held: prediction with it.
            walk: indices of the first timestep that is walked and of the one after the last.
        """
        begin, end = walk

        def predict(x: Tensor, t: Tensor, index: int) -> Tensor:
            acts = self.acts(index - begin, end - begin)
            return (held if acts else free)(x, t, index)

        return predict


@dataclass(frozen=True, eq=False)
class Controlled:
    """A diffusers U-Net that a ControlNet adds to, called as the U-Net is.

    Args:
        unet: UNet2DConditionModel.
        net: ControlNetModel.
        hint: [1, 3, H, W] in [0, 1], the same for every picture.
        strength: factor on what the network adds.
    """

    unet: Any
    net: Any
    hint: Tensor
    strength: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)

    def __call__(
        self,
        x: Tensor,
        t: Tensor,
        *,
        encoder_hidden_states: Any,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        **options: Any,
    ) -> Any:
        """What the U-Net gives.

        Args:
            x: [N, C, h, w]; of an inpainting U-Net's channels the network sees the latents.
            t: timestep, a scalar.
            encoder_hidden_states: text [N, T, D], or that and an IP-Adapter's tokens.
            added_cond_kwargs: of SDXL.
            options: for the U-Net.
        """
        text, dtype = encoder_hidden_states, self.net.dtype
        text = text[0] if isinstance(text, tuple) else text
        beside = added_cond_kwargs
        down, middle = self.net(
            x[:, : self.net.config.in_channels].to(dtype),
            t,
            encoder_hidden_states=text.to(dtype),
            controlnet_cond=self.hint,
            conditioning_scale=self.strength,
            added_cond_kwargs=beside
            and {name: tensor.to(dtype) for name, tensor in beside.items()},
            return_dict=False,
        )
        return self.unet(
            x,
            t,
            encoder_hidden_states=encoder_hidden_states,
            added_cond_kwargs=beside,
            down_block_additional_residuals=tuple(sample.to(x.dtype) for sample in down),
            mid_block_additional_residual=middle.to(x.dtype),
            **options,
        )


def with_control(components: Components, request: Request, sources: Sources) -> Components:
    """The model held by the request's ControlNet; itself where no control image is at hand.

    The ControlNet stays loaded until another one is asked for.

    Raises:
        ModelError: it is missing, broken, or made for another architecture.
    """
    if request.control is None or sources.control_image is None:
        return components
    path, runtime = Path(request.control), components.runtime
    digest = control_weights.weights_sha256(path)
    kept, net = components.beside.get("control", ("", None))
    if kept != digest:
        control_weights.check_goes_with(
            path, components.unet.config, components.card.scale, components.name
        )
        components.beside.pop("control", None)  # two need not fit at once
        net = control_weights.load(path, runtime)
        net.set_attn_processor(attention.processor(runtime.attention))
        components.beside["control"] = digest, net
    control = Control(
        net,
        opaque(sources.control_image),
        request.fit,
        request.control_preprocessor,
        request.control_strength,
        request.control_start,
        request.control_end,
    )
    return replace(components, control=control)

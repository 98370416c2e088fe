"""The bodies of AUTOMATIC1111's API, and what their fields are in a request of ours."""

from __future__ import annotations

from typing import Any

from PIL import ImageChops
from pydantic import BaseModel, ConfigDict, Field

from studio.errors import RequestError
from studio.jobs.service import Service
from studio.webui import uploads

_FILLS = {0: "blur", 1: "original", 2: "noise", 3: "noise"}
_FITS = {0: "stretch", 1: "crop", 2: "pad", 3: "stretch"}


class Drawing(BaseModel):
    """What text to image and image to image have in common. Other fields are passed over."""

    model_config = ConfigDict(extra="ignore")

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] | None = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    restore_faces: bool | None = None
    tiling: bool | None = None
    override_settings: dict[str, Any] | None = None
    script_name: str | None = None
    alwayson_scripts: dict[str, Any] | None = None
    send_images: bool = True

    def fields(self, service: Service, options: dict[str, Any]) -> dict[str, object]:
        """Fields of a request.

        Args:
            service: knows the models.
            options: settings of the client, such as ``sd_model_checkpoint``.

        Raises:
            RequestError: something was asked for that would change the picture and is not here.
        """
        self._refuse_what_is_not_here()
        if self.batch_size < 1 or self.n_iter < 1:
            name = "batch_size" if self.batch_size < 1 else "n_iter"
            raise RequestError(name, getattr(self, name), "out of range", valid="1 or more")
        settings = options | (self.override_settings or {})
        model = model_name(service, str(settings.get("sd_model_checkpoint") or ""))
        fields: dict[str, object] = {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "model": model,
            "seed": self.seed,
            "count": self.batch_size * self.n_iter,
            "clip_skip": settings.get("CLIP_stop_at_last_layers", 1),
            "seamless": bool(self.tiling),
            "sampler": self.sampler_name or self.sampler_index,
            "steps": self.steps,
            "guidance_scale": self.cfg_scale,
            "width": self.width,
            "height": self.height,
        }
        if fields["sampler"]:
            automatic = (self.scheduler or "automatic").lower() == "automatic"
            fields["schedule"] = None if automatic else self.scheduler
        if self.subseed_strength:
            fields |= {
                "variation_seed": self.subseed,
                "variation_strength": self.subseed_strength,
            }
        return {name: value for name, value in fields.items() if value is not None}

    def _refuse_what_is_not_here(self) -> None:
        asked = {
            "styles": self.styles,
            "restore_faces": self.restore_faces,
            "script_name": self.script_name,
            "alwayson_scripts": self.alwayson_scripts,
        }
        for name, value in asked.items():
            if value:
                raise RequestError(name, value, "not to be had here", valid="left out")


class TextToImage(Drawing):
    """The body of ``txt2img``."""

    enable_hr: bool = False
    hr_scale: float = 2
    hr_upscaler: str = "Latent"
    hr_second_pass_steps: int = 0
    denoising_strength: float | None = None

    def fields(self, service: Service, options: dict[str, Any]) -> dict[str, object]:
        """See :meth:`Drawing.fields`."""
        fields = super().fields(service, options)
        if self.enable_hr:
            name = self.hr_upscaler
            fields |= {
                "hires_scale": self.hr_scale,
                "hires_steps": self.hr_second_pass_steps or None,
                "hires_strength": self.denoising_strength,
                "hires_upscaler": name.lower() if _is_plain(name) else name,
            }
        return fields


class ImageToImage(Drawing):
    """The body of ``img2img``."""

    init_images: list[str] = Field(default_factory=list)
    resize_mode: int = 0
    denoising_strength: float = 0.75
    mask: str | None = None
    mask_blur: int = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0

    def fields(self, service: Service, options: dict[str, Any]) -> dict[str, object]:
        """See :meth:`Drawing.fields`; takes the pictures in."""
        fields = super().fields(service, options)
        if len(self.init_images) != 1:
            shown = f"{len(self.init_images)} pictures"
            raise RequestError("init_images", shown, "not one", valid="one picture")
        data = uploads.decoded(self.init_images[0], "init_images")
        fields |= {
            "init_image": uploads.kept(service.inputs, data, "init_images"),
            "strength": self.denoising_strength,
            "fit": _known(_FITS, "resize_mode", self.resize_mode),
        }
        if self.mask:
            fields |= {
                "mask": self._mask(service, self.mask),
                "mask_feather": self.mask_blur,
                "mask_fill": _known(_FILLS, "inpainting_fill", self.inpainting_fill),
                "only_masked": self.inpaint_full_res,
            }
            if self.inpaint_full_res:
                fields["only_masked_padding"] = self.inpaint_full_res_padding
        return fields

    def _mask(self, service: Service, text: str) -> str:
        mask = uploads.picture(uploads.decoded(text, "mask"), "mask").convert("L")
        return service.inputs.add(ImageChops.invert(mask) if self.inpainting_mask_invert else mask)


class Enlarging(BaseModel):
    """The body of ``extra-single-image``. Other fields are passed over."""

    model_config = ConfigDict(extra="ignore")

    image: str
    resize_mode: int = 0
    upscaling_resize: float = 2
    upscaling_resize_w: int = 512
    upscaling_resize_h: int = 512
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    gfpgan_visibility: float = 0
    codeformer_visibility: float = 0
    extras_upscaler_2_visibility: float = 0


class Pictured(BaseModel):
    """The body of ``png-info``."""

    image: str


def model_name(service: Service, title: str) -> str:
    """The name of a model out of AUTOMATIC1111's title of it, ``name [hash]``; empty = the usual.

    Raises:
        RequestError: there is none of that name.
    """
    name = title.partition(" [")[0] or service.default_model
    names = [card.name for card in service.models()]
    for known in names:
        if known.lower() == name.lower():
            return known
    raise RequestError("sd_model_checkpoint", title, "unknown here", valid=", ".join(names))


def _is_plain(upscaler: str) -> bool:
    return upscaler.lower() in ("latent", "lanczos")


def _known(table: dict[int, str], name: str, value: int) -> str:
    if value not in table:
        raise RequestError(name, value, "unknown", valid=", ".join(map(str, table)))
    return table[value]

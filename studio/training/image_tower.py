"""Teach CLIP's image tower to tell things apart, so that it can choose among what mini draws.

The text tower stays as it is. Beside the contrast of pictures and captions (Radford et al. 2021),
every picture of one kind of thing is told apart from all labels at once. Some pictures are blurred,
as those that mini draws are.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from open_clip.loss import ClipLoss  # type: ignore[import-untyped]
from safetensors.torch import save_file
from torch import Tensor, nn

from studio.errors import StudioError
from studio.pipelines.open_clip_text import convert_to_open_clip
from studio.training.clip import load, load_text, tokenize
from studio.training.cpu_precision import called, plain_attention
from studio.training.dataset import Drawings
from studio.training.loop import Batch, Losses, fit
from studio.training.models import Clip, TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.recipe import Recipe
from studio.training.scenes import Rng, SceneMaker, SceneMix
from studio.training.vae import to_tensor
from studio.training.wording import caption, with_article

NOTHING = -1
"""Label of a picture that shows several kinds of things, or a face."""


class ImageTowerRecipe(Recipe):
    """Recipe of the image tower.

    Attributes:
        clip: folder of the CLIP to begin with.
        text: folder that holds the ``text_encoder/`` and ``tokenizer/`` to meet.
        contrast: weight of the captions against that of the labels.
        blurred: share of the pictures that are blurred.
    """

    mix: SceneMix = SceneMix()
    clip: Path = Path("runs/clip/weights")
    text: Path = Path("runs/words/weights")
    contrast: float = 0.3
    blurred: float = 0.5


class ImageTowerObjective(nn.Module):
    """Which label a picture shows, and which caption of the batch is its own.

    Args:
        labels: what the text tower read of every label, before the projection, [labels, D].
    """

    def __init__(self, clip: Clip, labels: Tensor, contrast: float, *, bf16: bool = False) -> None:
        super().__init__()
        self.bf16 = bf16
        self.visual, self.projection = clip.visual, clip.text_projection
        self.logit_scale, self.contrast = clip.logit_scale, contrast
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)
        self.clip_loss = ClipLoss()

    def forward(self, pictures: Tensor, captions: Tensor, right: Tensor) -> Losses:
        """Pictures [B, 3, S, S] in [-1, 1], captions [B, D] as read, places of labels [B]."""
        with plain_attention(pictures.device):
            seen = called(self.visual, pictures, bf16=self.bf16)
        with torch.autocast(pictures.device.type, enabled=False):
            shown = F.normalize(seen.float(), dim=-1)
            names = F.normalize(self.labels @ self.projection, dim=-1)
            asked = F.normalize(captions @ self.projection, dim=-1)
            scale = self.logit_scale.exp().clamp(max=100)
            logits = scale * shown @ names.T
            naming = F.cross_entropy(logits, right, ignore_index=NOTHING)
            contrast = self.clip_loss(shown, asked, scale)
        with torch.no_grad():
            named = (logits.argmax(1) == right)[right != NOTHING].float().mean()
        loss = naming + self.contrast * contrast
        return {"loss": loss, "naming": naming, "contrast": contrast, "named": named}


class ImageTowerPart:
    """The image tower as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(
        self, clip: Clip, text_encoder: TextEncoder, tokenizer: Tokenizer,
        recipe: ImageTowerRecipe, maker: SceneMaker,
    ) -> None:  # fmt: skip
        self.clip, self.text_encoder, self.tokenizer = clip, text_encoder, tokenizer
        self.recipe, self.maker = recipe, maker
        labels = sorted({row.label["en"] for row in maker.drawings.rows})
        self.place = {label: n for n, label in enumerate(labels)}
        read = self.read([with_article(label) for label in labels])
        bf16 = recipe.loop.precision == "bf16"
        self.objective = ImageTowerObjective(clip, read, recipe.contrast, bf16=bf16)

    def batch(self, rng: Rng, size: int) -> Batch:
        scenes = [self.maker.draw(rng) for _ in range(size)]
        pictures = to_tensor(np.stack([self.maker.picture(scene, rng) for scene in scenes]))
        rows = self.maker.drawings.rows
        right = [
            NOTHING
            if scene.kind in ("pair", "face")
            else self.place[self.maker.label(scene.placed[0].drawing)]
            for scene in scenes
        ]
        return {
            "pictures": torch.stack(
                [blurred(one, rng) if rng.random() < self.recipe.blurred else one
                 for one in pictures]
            ),
            "captions": self.read([caption(scene, rows, rng) for scene in scenes]),
            "right": torch.tensor(right),
        }  # fmt: skip

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """What the text tower makes of each text, before the projection: [B, D]."""
        tokens = tokenize(self.tokenizer, texts).to(self.text_encoder.device)
        pooled: Tensor = self.text_encoder(tokens).pooler_output
        return pooled

    def save(self, folder: Path) -> None:
        """Both towers and the tokenizer, as :func:`studio.training.clip.load` reads them."""
        self.tokenizer.save_pretrained(folder / "tokenizer")
        text = convert_to_open_clip(self.text_encoder).state_dict()
        text.pop("text_projection", None)  # learned here, not the encoder's
        whole = self.clip.state_dict()
        kept = {name: text.get(name, tensor).contiguous() for name, tensor in whole.items()}
        save_file(kept, folder / "clip.safetensors")
        shape = json.loads((self.recipe.clip / "clip.json").read_text(encoding="utf-8"))
        shape["text_cfg"]["vocab_size"] = self.text_encoder.config.vocab_size
        (folder / "clip.json").write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")

    def sheet(self, path: Path) -> None:
        """Nothing to look at: this part draws nothing."""


def blurred(picture: Tensor, rng: Rng) -> Tensor:
    """A picture [3, S, S] made smaller and large again, its colours a little off."""
    side = picture.shape[-1]
    small = int(rng.integers(max(4, side // 6), max(5, side // 2)))
    soft = F.interpolate(
        F.interpolate(picture[None], size=(small, small), mode="area"),
        size=(side, side), mode="bicubic",
    )[0]  # fmt: skip
    gain = torch.from_numpy(rng.uniform(0.85, 1.1, size=(3, 1, 1))).float()
    return ((soft - 1) * gain + 1).clamp(-1, 1)


def run(options: TrainOptions) -> None:
    """``studio train image_tower``."""
    recipe = ImageTowerRecipe.read(options, "image_tower")
    if options.data is None:
        raise StudioError("Training needs drawings.", valid="--data FILE (studio train data)")
    for name, there in (
        ("clip", recipe.clip / "clip.safetensors"), ("text", recipe.text / "text_encoder"),
    ):  # fmt: skip
        if not there.exists():
            raise StudioError(f"There is no {there}.", valid=f"--set {name}=FOLDER")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clip, _ = load(recipe.clip)
    text_encoder, tokenizer = load_text(recipe.text)
    text_encoder.to(device).requires_grad_(False)
    maker = SceneMaker(Drawings.load(options.data), recipe.mix)
    torch.manual_seed(recipe.loop.seed)
    part = ImageTowerPart(clip, text_encoder, tokenizer, recipe, maker)
    fit(part, recipe.loop, options.out, resume=options.resume)

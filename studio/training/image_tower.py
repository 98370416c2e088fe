"""Teach an image tower to meet mini's text tower, so that it can choose among what mini draws.

The tower is the small sister of the ResNets of Radford et al. 2021: few drawings teach a
convolutional network more than a transformer. The text tower stays as it is. Beside the contrast of
pictures and captions, every picture of one kind of thing is told apart from all labels at once.
Silhouettes of the same things, painted, show it more shapes than the drawings have. Pictures are
turned, moved, scaled and coloured a little, and some are blurred, as those that mini draws are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]
import torch
import torch.nn.functional as F  # noqa: N812
from open_clip.loss import ClipLoss  # type: ignore[import-untyped]
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from studio.errors import StudioError
from studio.pipelines.open_clip_text import convert_to_open_clip
from studio.training.clip import load_text, tokenize
from studio.training.dataset import Drawings
from studio.training.loop import Batch, Losses, fit
from studio.training.models import Clip, TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.painting import smaller, with_silhouettes
from studio.training.recipe import Frozen, Recipe
from studio.training.scenes import Placed, Rng, Scene, SceneMaker, SceneMix
from studio.training.vae import tile, to_tensor
from studio.training.variation import erased, varied
from studio.training.wording import caption, with_article

NOTHING = -1
"""Label of a picture that shows several kinds of things, or a face."""


class ImageTowerShape(Frozen):
    """Shape of the ResNet: blocks a level, channels of the first, pixels of a picture's side."""

    layers: tuple[int, int, int, int] = (2, 2, 2, 2)
    width: int = 16
    head_width: int = 64
    side: int = 64
    embedding: int = 192


class ImageTowerRecipe(Recipe):
    """Recipe of the image tower.

    Attributes:
        text: folder that holds the ``text_encoder/`` and ``tokenizer/`` to meet.
        contrast: weight of the captions against that of the labels.
        blurred: share of the pictures that are blurred.
        erased: share of the pictures of which a part is left out.
        smoothing: share of certainty that is spread over all labels.
        mixed: share of the batches whose pictures are mixed two by two, and their labels with them
            (H. Zhang et al. 2018, mixup).
    """

    shape: ImageTowerShape = ImageTowerShape()
    mix: SceneMix = SceneMix()
    text: Path = Path("runs/words/weights")
    contrast: float = 0.3
    blurred: float = 0.5
    erased: float = 0.0
    smoothing: float = 0.1
    mixed: float = 0.0


class ImageTowerObjective(nn.Module):
    """Which label a picture shows, and which caption of the batch is its own.

    Args:
        labels: what the text tower read of every label, before the projection, [labels, D].
        read: gives what the text tower makes of tokens [B, T], before the projection, [B, D].
    """

    def __init__(
        self, clip: Clip, labels: Tensor, read: Callable[[Tensor], Tensor], recipe: ImageTowerRecipe
    ) -> None:
        super().__init__()
        self.visual, self.projection, self.read = clip.visual, clip.text_projection, read
        self.logit_scale, self.recipe = clip.logit_scale, recipe
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)
        self.clip_loss = ClipLoss()

    def forward(self, pictures: Tensor, captions: Tensor, right: Tensor) -> Losses:
        """Pictures [B, 3, S, S] in [-1, 1], tokens of captions [B, T], places of labels [B]."""
        pictures = erased(varied(pictures, self.recipe.blurred), self.recipe.erased)
        share, other = 1.0, torch.arange(len(pictures), device=pictures.device)
        if torch.rand(()) < self.recipe.mixed:
            share, other = _share(), torch.randperm(len(pictures), device=pictures.device)
            pictures = pictures[other].lerp(pictures, share)
        seen = self.visual(pictures)
        with torch.autocast(pictures.device.type, enabled=False):
            shown = F.normalize(seen.float(), dim=-1)
            names = F.normalize(self.labels @ self.projection, dim=-1)
            asked = F.normalize(self.read(captions) @ self.projection, dim=-1)
            scale = self.logit_scale.exp().clamp(max=100)
            logits = scale * shown @ names.T
            own, others = (
                F.cross_entropy(
                    logits, asked_for, ignore_index=NOTHING, label_smoothing=self.recipe.smoothing
                )
                for asked_for in (right, right[other])
            )
            naming = share * own + (1 - share) * others
            contrast = self.clip_loss(shown, asked, scale)
        with torch.no_grad():
            named = (logits.argmax(1) == right)[right != NOTHING].float().mean()
        loss = naming + self.recipe.contrast * contrast
        return {"loss": loss, "naming": naming, "contrast": contrast, "named": named}


def _share() -> float:
    """How much of a mixed picture is its own, so that its caption still tells most of it."""
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    return max(share, 1 - share)


class ImageTowerPart:
    """The image tower as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(
        self, clip: Clip, text_encoder: TextEncoder, tokenizer: Tokenizer,
        recipe: ImageTowerRecipe, maker: SceneMaker,
    ) -> None:  # fmt: skip
        self.clip, self.text_encoder, self.tokenizer = clip, text_encoder, tokenizer
        self.recipe, self.maker = recipe, maker
        # So convolutions take three quarters of the time on a CPU.
        clip.visual.to(memory_format=torch.channels_last)
        labels = sorted({row.label["en"] for row in maker.drawings.rows})
        self.place = {label: n for n, label in enumerate(labels)}
        read = self.read(self.tokens([with_article(label) for label in labels]))
        self.objective = ImageTowerObjective(clip, read, self.read, recipe)
        self.heldout = [n for n, row in enumerate(maker.drawings.rows) if row.heldout]

    def batch(self, rng: Rng, size: int) -> Batch:
        scenes = [self.maker.draw(rng) for _ in range(size)]
        rows = self.maker.drawings.rows
        right = [
            NOTHING
            if scene.kind in ("pair", "face")
            else self.place[self.maker.label(scene.placed[0].drawing)]
            for scene in scenes
        ]
        return {
            "pictures": self.small(scenes, rng),
            "captions": self.tokens([caption(scene, rows, rng) for scene in scenes]),
            "right": torch.tensor(right),
        }

    def small(self, scenes: Sequence[Scene], rng: Rng) -> Tensor:
        """Pictures of scenes at the tower's size: [B, 3, S, S] in [-1, 1]."""
        pictures = to_tensor(np.stack([self.maker.picture(scene, rng) for scene in scenes]))
        side = self.recipe.shape.side
        return F.interpolate(pictures, size=(side, side), mode="area")

    def tokens(self, texts: list[str]) -> Tensor:
        """One window of tokens a text [B, T]."""
        return tokenize(self.tokenizer, texts)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """What the text tower makes of tokens [B, T], before the projection: [B, D]."""
        # No token looks at later ones, so what stands behind the last end is not read.
        ends = (tokens == self.text_encoder.config.eos_token_id).int().argmax(1)
        tokens = tokens[:, : int(ends.max()) + 1].to(self.text_encoder.device)
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
        shape = towers(self.recipe.shape, self.text_encoder)
        (folder / "clip.json").write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")

    def sheet(self, path: Path) -> None:
        """Drawings that training leaves out and it names wrongly; prints how many it names."""
        rng = np.random.default_rng(0)
        scenes = [Scene("plain", (Placed(n),)) for n in self.heldout]
        pictures = self.small(scenes, rng).to(self.text_encoder.device)
        shown = self.clip.encode_image(pictures, normalize=True)
        names = F.normalize(self.objective.labels @ self.clip.text_projection, dim=-1)
        nearest = (shown @ names.T).topk(5, dim=1).indices
        right = torch.tensor([[self.place[self.maker.label(n)]] for n in self.heldout])
        found = nearest.cpu() == right
        print(
            f"{len(right)} held-out drawings: {found[:, 0].float().mean():.1%} named, "
            f"{found.any(1).float().mean():.1%} among five",
            flush=True,
        )
        if not found[:, 0].all():
            tile(pictures[~found[:, 0]][:64], 16).save(path)


def towers(shape: ImageTowerShape, text_encoder: TextEncoder) -> dict[str, object]:
    """The configuration of the open_clip model."""
    text = text_encoder.config
    return {
        "embed_dim": shape.embedding,
        "vision_cfg": {
            "image_size": shape.side, "layers": list(shape.layers), "width": shape.width,
            "head_width": shape.head_width, "patch_size": None,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings, "vocab_size": text.vocab_size,
            "width": text.hidden_size, "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
        },
    }  # fmt: skip


def run(options: TrainOptions) -> None:
    """``studio train image_tower``."""
    recipe = ImageTowerRecipe.read(options, "image_tower")
    if options.data is None:
        raise StudioError("Training needs drawings.", valid="--data FILE (studio train data)")
    if not (recipe.text / "text_encoder").exists():
        raise StudioError(f"There is no text tower in {recipe.text}.", valid="--set text=FOLDER")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text_encoder, tokenizer = load_text(recipe.text)
    text_encoder.to(device).requires_grad_(False)
    drawings = smaller(Drawings.load(options.data), recipe.shape.side)
    drawings = with_silhouettes(drawings, np.random.default_rng(recipe.loop.seed))
    maker = SceneMaker(drawings, recipe.mix)
    torch.manual_seed(recipe.loop.seed)
    clip = open_clip.CLIP(**towers(recipe.shape, text_encoder))
    if options.init_from:
        clip.load_state_dict(load_file(options.init_from / "clip.safetensors"))
    part = ImageTowerPart(clip, text_encoder, tokenizer, recipe, maker)
    fit(part, recipe.loop, options.out, resume=options.resume)

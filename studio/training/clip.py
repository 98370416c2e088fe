"""Train CLIP with open_clip: pictures against captions, and the text tower against a teacher.

The text tower is distilled from a sentence encoder (so that words that never were labels fall
near those that were, and Chinese near English), while the image tower learns to meet it by the
contrastive loss of Radford et al. 2021 (Learning Transferable Visual Models From Natural
Language Supervision).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]
import torch
import torch.nn.functional as F  # noqa: N812
from open_clip.loss import ClipLoss  # type: ignore[import-untyped]
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from studio.errors import StudioError
from studio.pipelines.clip_tokenizer import read_tokenizer
from studio.pipelines.open_clip_text import BLOCK_NAMES
from studio.training.cpu_precision import plain_attention
from studio.training.dataset import Drawings
from studio.training.loop import Batch, Losses, fit
from studio.training.models import Clip, TextEncoder, Tokenizer
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, Recipe
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.teacher import WIDTH, Teacher
from studio.training.tokens import learn_tokenizer
from studio.training.vae import tile, to_tensor
from studio.training.wording import caption


class ClipShape(Frozen):
    """Shapes of both towers. ``window`` in tokens, ``patch`` in pixels."""

    vocabulary: int = 6144
    window: int = 32
    text_width: int = 192
    text_heads: int = 3
    text_layers: int = 4
    side: int = 128
    image_width: int = 128
    image_layers: int = 6
    patch: int = 16


class ClipRecipe(Recipe):
    """Recipe of the CLIP.

    ``texts`` captions are drawn once and embedded by the teacher, with ``most_words`` words of its
    own vocabulary (None: all of them).
    """

    shape: ClipShape = ClipShape()
    mix: SceneMix = SceneMix()
    texts: int = 20000
    most_words: int | None = None
    pictures_per_step: int = 32
    contrastive: float = 0.2


class Pairs:
    """Texts in the student's words with the teacher's embedding of what they mean.

    Four sources: captions in English and in Chinese (the teacher reads the English), keywords,
    and the teacher's own vocabulary.
    """

    def __init__(self, maker: SceneMaker, recipe: ClipRecipe, teacher: Teacher) -> None:
        rng = np.random.default_rng(recipe.loop.seed)
        rows = maker.drawings.rows
        english: list[str] = []
        chinese: list[str] = []
        meant: list[str] = []
        for _ in range(recipe.texts):
            scene = maker.draw(rng)
            text = caption(scene, rows, rng, chinese=0.0)
            english.append(text)
            if len(chinese) < recipe.texts // 3:
                chinese.append(caption(scene, rows, rng, chinese=1.0))
                meant.append(text)
        for row in {row.concept: row for row in rows}.values():
            for word in (row.label["zh"], *row.keywords.get("zh", ())):
                if word:
                    chinese.append(word)
                    meant.append(row.label["en"])
        keywords = sorted({word for row in rows for word in (*row.keywords["en"], row.label["en"])})
        words = teacher.words()[: recipe.most_words]
        self.texts = english + chinese + keywords + words
        read = english + meant + keywords + words
        unique = sorted(set(read))
        index = {text: i for i, text in enumerate(unique)}
        self.targets = teacher.embed(unique)
        self.meaning = np.array([index[text] for text in read])
        sizes = [len(english), len(chinese), len(keywords), len(words)]
        shares = np.array([0.45, 0.2, 0.15, 0.2])
        self.weights = np.concatenate(
            [np.full(n, share / n) for n, share in zip(sizes, shares, strict=True)]
        )
        self.weights /= self.weights.sum()


class ClipObjective(nn.Module):
    """Distillation of the text tower, contrast of both."""

    def __init__(self, clip: Clip, contrastive: float) -> None:
        super().__init__()
        self.clip = clip
        self.contrastive = contrastive
        self.contrast = ClipLoss()

    def forward(
        self, tokens: Tensor, targets: Tensor, pictures: Tensor, captions: Tensor
    ) -> Losses:
        clip = self.clip
        with plain_attention(tokens.device):
            texts = clip.encode_text(torch.cat([tokens, captions]), normalize=True)
            shown = clip.encode_image(pictures, normalize=True)
        taught, asked = texts[: len(tokens)], texts[len(tokens) :]
        distance = 1 - F.cosine_similarity(taught, targets).mean()
        # Relations between texts matter as much as the texts: match the teacher's similarities.
        relations = F.mse_loss(taught @ taught.T, targets @ targets.T)
        contrast = self.contrast(shown, asked, clip.logit_scale.exp().clamp(max=100))
        loss = distance + 4 * relations + self.contrastive * contrast
        with torch.no_grad():
            found = (shown @ asked.T).argmax(1) == torch.arange(len(shown), device=shown.device)
        return {
            "loss": loss, "distance": distance, "relations": relations,
            "contrast": contrast, "found": found.float().mean(),
        }  # fmt: skip


class ClipPart:
    """The CLIP as a part to train (see :class:`studio.training.loop.Part`)."""

    def __init__(
        self, clip: Clip, tokenizer: Tokenizer, recipe: ClipRecipe, maker: SceneMaker,
        pairs: Pairs,
    ) -> None:  # fmt: skip
        self.objective = ClipObjective(clip, recipe.contrastive)
        self.clip, self.tokenizer, self.recipe = clip, tokenizer, recipe
        self.maker, self.pairs = maker, pairs

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        pairs = self.pairs
        chosen = rng.choice(len(pairs.texts), size=size, p=pairs.weights)
        scenes = [self.maker.draw(rng) for _ in range(self.recipe.pictures_per_step)]
        pictures = np.stack([self.maker.picture(scene, rng) for scene in scenes])
        rows = self.maker.drawings.rows
        return {
            "tokens": tokenize(self.tokenizer, [pairs.texts[i] for i in chosen]),
            "targets": pairs.targets[pairs.meaning[chosen]],
            "pictures": to_tensor(pictures),
            "captions": tokenize(self.tokenizer, [caption(s, rows, rng) for s in scenes]),
        }

    def save(self, folder: Path) -> None:
        """``text_encoder/`` and ``tokenizer/`` in the diffusers layout, and both towers."""
        self.tokenizer.save_pretrained(folder / "tokenizer")
        encoder = to_transformers(self.clip, self.recipe.shape, self.tokenizer)
        encoder.save_pretrained(folder / "text_encoder")
        save_file(
            {k: v.contiguous() for k, v in self.clip.state_dict().items()},
            folder / "clip.safetensors",
        )
        (folder / "clip.json").write_text(json.dumps(towers(self.recipe.shape), indent=2) + "\n")

    def sheet(self, path: Path) -> None:
        """Eight prompts, each with the eight pictures nearest to it among 256 scenes."""
        rng = np.random.default_rng(1)
        scenes = [self.maker.draw(rng) for _ in range(256)]
        pictures = to_tensor(np.stack([self.maker.picture(scene, rng) for scene in scenes]))
        device = next(self.clip.parameters()).device
        shown = self.clip.encode_image(pictures.to(device), normalize=True)
        prompts = [
            "a dog",
            "an automobile",
            "一只鱼",
            "fruit",
            "on a blue background",
            "3d render",
            "three flowers",
            "a red bird",
        ]
        asked = self.clip.encode_text(tokenize(self.tokenizer, prompts).to(device), normalize=True)
        nearest = (asked @ shown.T).topk(8, dim=1).indices.cpu().flatten()
        tile(pictures[nearest], 8).save(path)


def towers(shape: ClipShape) -> dict[str, object]:
    """The configuration of the open_clip model."""
    return {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "image_size": shape.side, "patch_size": shape.patch, "width": shape.image_width,
            "layers": shape.image_layers, "head_width": 64,
        },
        "text_cfg": {
            "context_length": shape.window, "vocab_size": shape.vocabulary,
            "width": shape.text_width, "heads": shape.text_heads, "layers": shape.text_layers,
        },
    }  # fmt: skip


def tokenize(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """One window of tokens a text, cut where it is longer: int64 [B, window]."""
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    return torch.as_tensor(tokens["input_ids"])


def to_transformers(clip: Clip, shape: ClipShape, tokenizer: Tokenizer) -> TextEncoder:
    """The text tower as transformers' CLIPTextModel with equal outputs."""
    config = CLIPTextConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.text_width, hidden_act="gelu",
        intermediate_size=4 * shape.text_width, num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.text_heads, max_position_embeddings=shape.window,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, projection_dim=WIDTH,
    )  # fmt: skip
    state = {k: v.detach().clone() for k, v in clip.state_dict().items()}
    own = {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
    }
    for i in range(shape.text_layers):
        block, layer = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
        for kind in ("weight", "bias"):
            for ours, theirs in BLOCK_NAMES.items():
                own[f"{layer}{ours}.{kind}"] = state[f"{block}{theirs}.{kind}"]
            parts = state[f"{block}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                own[f"{layer}self_attn.{name}.{kind}"] = part.clone()
    model: TextEncoder = CLIPTextModel(config)
    model.eval()
    model.load_state_dict(own)
    return model


def load_text(folder: Path) -> tuple[TextEncoder, Tokenizer]:
    """The text tower, in fp32, and its tokenizer from a folder in the layout of diffusers."""
    model: TextEncoder = CLIPTextModel
    text_encoder = model.from_pretrained(
        folder / "text_encoder", dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return text_encoder.eval(), read_tokenizer(folder / "tokenizer")


def load(folder: Path) -> tuple[Clip, Tokenizer]:
    """Both towers and the tokenizer from a folder that :class:`ClipPart` saved."""
    clip = open_clip.CLIP(**json.loads((folder / "clip.json").read_text(encoding="utf-8")))
    clip.load_state_dict(load_file(folder / "clip.safetensors"))
    return clip, read_tokenizer(folder / "tokenizer")


def run(options: TrainOptions) -> None:
    """``studio train clip``."""
    recipe = ClipRecipe.read(options, "clip")
    if options.data is None:
        raise StudioError("Training CLIP needs drawings.", valid="--data FILE (studio train data)")
    maker = SceneMaker(Drawings.load(options.data), recipe.mix)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pairs = Pairs(maker, recipe, Teacher(device))
    torch.manual_seed(recipe.loop.seed)
    if options.init_from:
        clip, tokenizer = load(options.init_from)
    else:
        tokenizer = learn_tokenizer(pairs.texts, recipe.shape.vocabulary, recipe.shape.window)
        clip = open_clip.CLIP(**towers(recipe.shape))
    print(f"{len(pairs.texts)} texts, {len(pairs.targets)} meanings", flush=True)
    fit(
        ClipPart(clip, tokenizer, recipe, maker, pairs),
        recipe.loop,
        options.out,
        resume=options.resume,
    )

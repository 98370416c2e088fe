"""``studio train export_clip``: what scoring needs of a trained CLIP, in fp16.

The text tower is mini's own and is not written again.
"""

from __future__ import annotations

import shutil

import torch
from safetensors.torch import save_file

from studio.errors import StudioError
from studio.training.clip import load, tokenize
from studio.training.dataset import Drawings
from studio.training.options import TrainOptions
from studio.training.wording import with_article


def run(options: TrainOptions) -> None:
    """Write image tower and labels of everyday things, and what the text tower says of them, to
    ``--out``.

    Raises:
        StudioError: no trained CLIP, or no drawings, are named.
    """
    if options.init_from is None or not (options.init_from / "clip.safetensors").is_file():
        raise StudioError("studio train export_clip needs a trained CLIP.", valid="--init-from")
    if options.data is None:
        raise StudioError("studio train export_clip needs drawings.", valid="--data FILE")
    clip, tokenizer = load(options.init_from)
    rows = Drawings.load(options.data).rows
    labels = sorted({with_article(row.label["en"]) for row in rows if row.everyday})
    with torch.inference_mode():
        said = clip.eval().encode_text(tokenize(tokenizer, labels), normalize=True)
    tower = {
        name: tensor.half().contiguous()
        for name, tensor in {**clip.state_dict(), "labels": said}.items()
        if name.startswith("visual.") or name in ("text_projection", "logit_scale", "labels")
    }
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(tower, options.out / "image_tower.safetensors")
    shutil.copy(options.init_from / "clip.json", options.out / "clip.json")
    (options.out / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    size = sum(tensor.numel() * 2 for tensor in tower.values())
    print(f"{options.out}: {size / 1e6:.1f} MB of weights, {len(labels)} labels")

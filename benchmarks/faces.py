"""Do drawn faces have the hair, hair colour, accessory and background that were asked for?

A small network learns the attributes from the generator of the training faces (blurred at times,
as drawn pictures are soft), and names those of the pictures that the model draws. Fresh faces of
the generator, judged in the same way, are the ceiling.

    python -m benchmarks.faces --data drawings.zip --each 40
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from benchmarks.command_line import command_line
from benchmarks.sheet import draw, labelled_sheet
from studio import Studio
from studio.colours import border_colour
from studio.training.dataset import Drawings
from studio.training.faces import ACCESSORIES, HAIR, HAIR_COLOURS
from studio.training.scenes import BACKGROUNDS, Scene, SceneMaker, SceneMix
from studio.training.wording import face_caption

SIDE = 64
COLOURS = tuple(name for name in BACKGROUNDS if name != "light blue")
ATTRIBUTES: dict[str, tuple[str | None, ...]] = {
    "hair": tuple(HAIR),
    "hair colour": tuple(HAIR_COLOURS),
    "accessory": (None, *ACCESSORIES),
    "background": COLOURS,
}


class AttributeClassifier(nn.Module):
    """Pictures [B, 3, 64, 64] in [-1, 1] to logits of hair, hair colour and accessory."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.sizes = [len(ATTRIBUTES[name]) for name in ("hair", "hair colour", "accessory")]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, sum(self.sizes)))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        logits: Tensor = self.body(pictures)
        return torch.split(logits, self.sizes, dim=1)


@dataclass(frozen=True)
class Faces:
    """Scenes of faces, their pictures and the places of their attributes [N, 4]."""

    scenes: tuple[Scene, ...]
    pictures: tuple[Image.Image, ...]

    @classmethod
    def draw(cls, maker: SceneMaker, count: int, seed: int) -> Faces:
        rng = np.random.default_rng(seed)
        scenes: list[Scene] = []
        while len(scenes) < count:
            scene = maker.draw(rng)
            if scene.background in COLOURS:
                scenes.append(scene)
        pictures = tuple(Image.fromarray(maker.picture(scene, rng)) for scene in scenes)
        return cls(tuple(scenes), pictures)

    @property
    def answers(self) -> npt.NDArray[np.int64]:
        rows = []
        for scene in self.scenes:
            assert scene.face is not None
            face = scene.face
            values = (face.hair, face.hair_colour, face.accessory, scene.background)
            rows.append(
                [known.index(v) for known, v in zip(ATTRIBUTES.values(), values, strict=True)]
            )
        return np.array(rows)


def tensors(pictures: Sequence[Image.Image]) -> Tensor:
    """[N, 3, 64, 64] in [-1, 1]."""
    small = [np.asarray(p.convert("RGB").resize((SIDE, SIDE))) for p in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


def trained(faces: Faces, steps: int, seed: int = 0) -> AttributeClassifier:
    """A classifier that has learned ``faces``."""
    torch.manual_seed(seed)
    model = AttributeClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    pictures, answers = tensors(faces.pictures), torch.from_numpy(faces.answers)
    for step in range(steps):
        chosen = torch.randint(len(pictures), (64,))
        shown = torch.roll(pictures[chosen], tuple(torch.randint(-3, 4, (2,)).tolist()), (2, 3))
        if step % 2:
            # As soft as a drawn picture may be.
            edge = int(torch.randint(20, SIDE, ()))
            shown = F.interpolate(shown, size=edge, mode="bilinear", antialias=True)
            shown = F.interpolate(shown, size=SIDE, mode="bilinear")
        shown = shown + 0.05 * torch.randn_like(shown)
        loss = torch.stack(
            [F.cross_entropy(out, answers[chosen, n]) for n, out in enumerate(model(shown))]
        ).sum()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


@torch.no_grad()
def seen(model: AttributeClassifier, pictures: Sequence[Image.Image]) -> npt.NDArray[np.int64]:
    """Places of the attributes [N, 4] that pictures show."""
    named = [logits.argmax(1).numpy() for logits in model(tensors(pictures))]
    grounds = [COLOURS.index(border_colour(picture, COLOURS)) for picture in pictures]
    return np.stack([*named, np.array(grounds)], axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the share of right answers of every attribute, of fresh faces and of drawn ones."""
    options = _options(arguments)
    maker = SceneMaker(
        Drawings.load(options.data),
        SceneMix(plain=0, background=0, hue=0, size=0, count=0, pair=0, face=1),
    )
    model = trained(Faces.draw(maker, options.faces, seed=1), options.steps)
    asked = Faces.draw(maker, options.each, seed=2)
    prompts = []
    for scene in asked.scenes:
        assert scene.face is not None
        prompts.append(face_caption(scene.face, scene.background))
    drawn = draw(prompts, Studio(options.model), seed=0)
    right = [seen(model, pictures) == asked.answers for pictures in (asked.pictures, drawn)]
    for place, (name, values) in enumerate(ATTRIBUTES.items()):
        real, shown = (float(of_one[:, place].mean()) for of_one in right)
        print(
            f"{name:<12} real {real:.3f}  drawn {shown:.3f}  "
            f"chance {1 / len(values):.3f}  ({len(drawn)} pictures)"
        )
    if options.sheet:
        labelled_sheet(drawn, prompts).save(options.sheet)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("faces", __doc__, model=True, data=True)
    parser.add_argument("--each", type=int, default=40, help="faces to draw (40)")
    parser.add_argument("--faces", type=int, default=3000, help="faces to learn from (3000)")
    parser.add_argument("--steps", type=int, default=1500, help="steps of learning (1500)")
    parser.add_argument("--sheet", type=Path, help="PNG of the drawn pictures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

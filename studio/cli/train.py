"""``studio train``: hands the options to the part of the training that was named."""

from __future__ import annotations

import importlib
from argparse import ArgumentTypeError
from pathlib import Path

from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.errors import UnavailableError
from studio.training.options import TrainOptions

PARTS = {
    "data": "fetch the packages, render the pictures, write captions and splits",
    "vae": "train the autoencoder",
    "decoder": "train the autoencoder's decoder on noisy latents",
    "clip": "train the text encoder",
    "words": "teach the text encoder synonyms and Chinese",
    "vocabulary": "have other words read as what they mean",
    "image_tower": "teach CLIP to tell pictures apart",
    "unet": "train the denoiser",
    "upscaler_data": "render drawings at both sizes, for the upscaler",
    "upscaler_vae": "find the upscaler's autoencoder",
    "upscaler": "train the upscaler",
    "export_clip": "write the CLIP's image tower as one folder",
    "export": "write the trained parts as one model folder",
}
"""Name of each part, which is also its module in ``studio.training``, and what it does."""


def configure(parser: Parser) -> None:
    """Adds the options that all parts share."""
    parser.usage = "studio train PART --out FOLDER [options]"
    parser.add_argument(
        "part", choices=PARTS, metavar="PART", help="; ".join(f"{k}: {v}" for k, v in PARTS.items())
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="result")
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="recipe (default: the part's own)"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="prepared data set")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--init-from", type=Path, metavar="FOLDER", help="weights to begin with")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        type=_override,
        metavar="KEY=VALUE",
        help="replace a value of the recipe; may be repeated",
    )


def run(options: Namespace) -> int:
    """Runs ``studio.training.<part>.run``."""
    quiet_libraries()
    try:
        part = importlib.import_module(f"studio.training.{options.part}")
    except ModuleNotFoundError as error:
        what = f"training {options.part!r} needs the package {error.name!r}, which is missing."
        raise UnavailableError(what, valid="pip install 'latent-studio[train]'") from error
    part.run(
        TrainOptions(
            recipe=options.recipe,
            out=options.out,
            data=options.data,
            resume=options.resume,
            init_from=options.init_from,
            overrides=tuple(options.overrides),
        )
    )
    return 0


def _override(text: str) -> str:
    key, equals, _ = text.partition("=")
    if not key or not equals:
        raise ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return text

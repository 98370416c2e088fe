"""``studio upscale``: enlarges pictures, each by a request of its own."""

from __future__ import annotations

from pathlib import Path

from studio.cli import progress
from studio.cli.flags import add_json_flag, add_machine_flags
from studio.cli.parser import Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.facade import Studio


def configure(parser: Parser) -> None:
    """Adds the pictures, how to enlarge them and where the results go."""
    parser.usage = "studio upscale [options] PICTURE..."
    parser.epilog = "Example: studio upscale photo.png --scale 4 --upscaler esrgan.safetensors"
    parser.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="PNG, JPEG or WebP files to enlarge"
    )
    parser.add_argument(
        "--scale", default="2", metavar="N", help="how many times as wide and high (default 2)"
    )
    parser.add_argument(
        "--upscaler",
        default="lanczos",
        metavar="NAME",
        help="lanczos, an upscaler of 'studio models', or the .safetensors file of an ESRGAN or "
        "another upscaler that spandrel knows (default lanczos)",
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="for upscalers that read one")
    parser.add_argument(
        "--noise-level", metavar="N", help="noise on what is enlarged, for upscalers that draw"
    )
    parser.add_argument("--seed", metavar="N", help="likewise (default drawn at random)")
    parser.add_argument(
        "--seamless", action="store_true", help="the picture is a texture: left joins right"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="where the pictures go (default outputs)",
    )
    add_json_flag(parser, "one JSON object a line on standard output: start, step, picture")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but the paths")
    add_machine_flags(parser)


def run(options: Namespace) -> int:
    """Enlarges, and saves each picture as soon as it is there; all are checked first."""
    quiet_libraries()
    studio = Studio(
        options.upscaler,
        device=options.device,
        precision=options.precision,
        attention=options.attention,
        memory=options.memory,
    )
    drawn = {"noise_level": options.noise_level, "seed": options.seed}
    fields = {name: _number(text) for name, text in drawn.items() if text is not None}
    requests = [
        studio.resolve(
            options.prompt,
            init_image=picture,
            upscale=_number(options.scale),
            seamless=options.seamless,
            **fields,
        )
        for picture in options.pictures
    ]
    for path, request in zip(options.pictures, requests, strict=True):
        with progress.choose(as_json=options.json, quiet=options.quiet) as report:
            report.start(request)
            for picture in studio.generate(request, on_step=report.step):
                name = f"{Path(path).stem}_{{width}}x{{height}}"
                report.picture(picture, picture.save(options.out, name))
    return 0


def _number(text: str) -> object:
    """An integer where it is one; else the request refuses the text by name."""
    try:
        return int(text)
    except ValueError:
        return text

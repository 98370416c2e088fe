"""A package of face parts as small as can be, in the form of DiceBear's."""

from __future__ import annotations

from studio.training.faces import ACCESSORIES, HAIR


def face_files() -> dict[str, bytes]:
    """Its files: every part a rectangle of the frame's 480 by 480."""
    hair = '<path d="M60 0h360v130H60Z" fill="${escape.xml(`${colors.hair}`)}"/>'
    face = '<path d="M60 0h360v440H60Z" fill="${escape.xml(`${colors.skin}`)}"/>'
    glasses = '<path d="M60 180h360v60H60Z" fill="#112233"/>'
    mark = '<path d="M60 430h5v5h-5Z" fill="#000"/>'
    parts = {
        "face": {"base": face},
        "mouth": {"smile": mark},
        "eyes": {"normal": mark},
        "hair": dict.fromkeys(HAIR, hair),
        "accessories": dict.fromkeys(ACCESSORIES, glasses),
    }
    files = {}
    for kind, named in parts.items():
        lines = [f"    {name}: (components, colors) => `{svg}`,\n" for name, svg in named.items()]
        files[f"lib/components/{kind}.js"] = f"export const {kind} = {{\n{''.join(lines)}}};\n"
    places = "".join(
        f'<g transform="scale(1)">${{(_b = (_a = components.{kind}) === null}}</g>'
        for kind in parts
    )
    files["lib/index.js"] = f"export const create = () => ({{ body: `{places}` }});\n"
    return {path: text.encode() for path, text in files.items()}

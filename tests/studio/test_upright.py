"""Pictures as people have them, made right when they are read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from studio.errors import RequestError
from studio.facade import Studio
from studio.inputs import Inputs
from studio.picture_files import read_picture
from tests.tiny import tiny_components


def stored(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def slope(mode: str = "RGB") -> Image.Image:
    """48 x 32, a slope in red, half green."""
    red = np.tile(np.linspace(0, 255, 48), (32, 1))
    rgb = np.stack([red, np.full_like(red, 128), 255 - red], axis=-1).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def pixels(image: Image.Image) -> Any:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_270),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_a_rotated_picture_stands_upright(
    tmp_path: Path, orientation: int, turn: Image.Transpose
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = stored(tmp_path / "a.png", slope(), exif=exif)
    assert (pixels(read_picture(path)) == pixels(slope().transpose(turn))).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_opaque_pictures_become_rgb(tmp_path: Path, mode: str) -> None:
    image = slope(mode)
    read = read_picture(stored(tmp_path / "a.png", image))
    assert read.mode == "RGB"
    assert (pixels(read) == pixels(image.convert("RGB"))).all()


def test_cmyk_has_the_right_colours(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.jpg", slope("CMYK"), quality=98)
    read = read_picture(path)
    assert read.mode == "RGB"
    assert abs(pixels(read) - pixels(slope())).mean() < 4


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    levels = np.tile(np.linspace(0, 65535, 48), (32, 1)).astype(np.uint16)
    read = read_picture(stored(tmp_path / "a.png", Image.fromarray(levels)))
    assert read.mode == "RGB"
    expected = np.rint(np.linspace(0, 255, 48))
    assert abs(pixels(read)[0, :, 1] - expected).max() <= 1


def test_transparency_is_kept_whatever_the_mode(tmp_path: Path) -> None:
    alpha = Image.linear_gradient("L").resize((48, 32))
    images = [slope("L"), slope()]
    for image in images:
        image.putalpha(alpha)
        read = read_picture(stored(tmp_path / "a.png", image))
        assert read.mode == "RGBA"
        assert (pixels(read)[..., 3] == pixels(alpha)).all()
        assert (pixels(read)[..., :3] == pixels(image.convert("RGBA"))[..., :3]).all()
    palette = slope("P")
    read = read_picture(stored(tmp_path / "p.png", palette, transparency=palette.getpixel((0, 0))))
    assert read.mode == "RGBA"
    assert read.getchannel("A").getextrema() == (0, 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("kept", [False, True])
def test_of_an_animation_the_first_frame_is_taken_and_the_user_is_told(
    tmp_path: Path, kind: str, *, kept: bool
) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / "a.png"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=50, **options)
    assert read_picture(path).getpixel((3, 3)) == (255, 0, 0)
    inputs = Inputs(tmp_path / "kept" if kept else None)
    studio = Studio(str(tiny_components()), device="cpu", inputs=inputs)
    fields: dict[str, Any] = {"steps": 2, "strength": 0.5}
    (picture,) = studio.generate("a cat", init_image=path, **fields)
    assert picture.recovery == ("init image: the first of its 3 frames",)


def test_a_mask_of_another_size_is_refused_before_anything_loads(tmp_path: Path) -> None:
    studio = Studio(str(tiny_components()))
    path = stored(tmp_path / "a.png", slope())
    mask = stored(tmp_path / "m.png", Image.new("L", (47, 32), 255))
    with pytest.raises(RequestError, match=r"47 x 32.*48 x 32"):
        studio.generate("a cat", init_image=path, mask=mask)


@pytest.mark.parametrize("content", [b"<svg/>", b"%PDF-1.7\n", b"", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused_by_its_field(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for field in ("init_image", "mask"):
        fields: dict[str, Any] = {"init_image": slope(), field: path}
        with pytest.raises(RequestError, match=f"^{field} = "):
            Studio(str(tiny_components())).generate("a cat", **fields)


def test_profiles_and_comments_do_not_change_the_hash(tmp_path: Path) -> None:
    plain = stored(tmp_path / "a.png", slope())
    profile = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tagged = stored(tmp_path / "b.png", slope(), icc_profile=profile.getvalue())
    assert Inputs().add(plain) == Inputs().add(tagged) == Inputs().add(slope())

"""Captions of scenes, in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from studio import colours
from studio.training.dataset import Drawing
from studio.training.faces import ACCESSORIES, HAIR, HAIR_COLOURS, Face
from studio.training.scenes import BACKGROUNDS, COLOUR_WORD, COUNTS, HUES, Rng, Scene, mirrored

T = TypeVar("T")
_BARE = {
    "rice",
    "bread",
    "popcorn",
    "sushi",
    "pizza",
    "broccoli",
    "garlic",
    "bacon",
    "honey",
    "salt",
}
_IRREGULAR = {
    "mouse": "mice", "sheep": "sheep", "fish": "fish", "leaf": "leaves", "wolf": "wolves",
    "knife": "knives", "person": "people", "goose": "geese", "ox": "oxen", "deer": "deer",
    "man": "men", "woman": "women", "child": "children", "tooth": "teeth", "foot": "feet",
}  # fmt: skip
CHINESE_STYLE = {
    "3d render": "三维渲染",
    "flat style": "扁平风格",
    "detailed": "细致",
    "gradient style": "渐变风格",
    "simple cartoon style": "简单卡通风格",
    "cartoon style": "卡通风格",
    "blob style": "圆润风格",
    "clip art": "剪贴画",
}
SMALL, LARGE = ("small", "tiny", "little"), ("large", "big", "huge")
PIXEL_ART = ("pixel art", "像素画")
FACE = ("cartoon face", "卡通脸")
NAMED = 0.7
"""Share of captions that name the style, unless told otherwise."""
NAMED_HOUSE, NAMED_OTHER = 0.5, 0.95
"""The same where one style is the house's: a caption without a style then nearly always means it,
and what is drawn is one style and not the mean of all."""


def with_article(noun: str) -> str:
    """``fox`` -> ``a fox``; plurals and things that cannot be counted stay bare."""
    last = noun.split(" ")[-1]
    if last in _BARE or (last.endswith("s") and not last.endswith(("ss", "us", "is"))):
        return noun
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def without_article(text: str) -> str:
    """``a fox`` -> ``fox``; what has no article stays as it is."""
    return text.partition(" ")[2] if text.startswith(("a ", "an ")) else text


def on_background(text: str, colour: str, *, chinese: bool = False) -> str:
    """``a fox`` -> ``a fox on a blue background``; ``狐狸`` -> ``蓝色背景上的狐狸``."""
    if chinese:
        return f"{BACKGROUNDS[colour][0]}背景上的{text}"
    return colours.on_background(text, colour)


def with_hue(noun: str, hue: str) -> str:
    """``red apple``, ``green`` -> ``green apple``."""
    return f"{hue} {COLOUR_WORD.sub('', noun)}"


def plural(noun: str) -> str:
    """``slice of pizza`` -> ``slices of pizza``; ``cherry`` -> ``cherries``."""
    head, of, rest = noun.partition(" of ")
    *before, last = head.split(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")):
        pass
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return " ".join([*before, last]) + of + rest


def caption(
    scene: Scene,
    rows: tuple[Drawing, ...],
    rng: Rng,
    *,
    chinese: float = 0.1,
    named: float = NAMED,
    house_style: str | None = None,
) -> str:
    """One of many ways to say what the scene shows.

    Args:
        rows: all drawings, indexed by the scene's ``placed``.
        chinese: share of captions in Chinese (where the things have Chinese labels).
        named: share of captions that name the style.
        house_style: the style that a caption without a style means; None: any. With one, captions
            of other styles nearly always name theirs.
    """
    if scene.face:
        return face_caption(scene.face, scene.background, rng, chinese=rng.random() < chinese)
    if rng.random() < 0.5:
        scene = mirrored(scene)
    shown = [rows[placed.drawing] for placed in scene.placed]
    words = (PIXEL_ART[0],) if scene.kind == "pixel" else shown[0].style_words
    if scene.kind == "pixel":
        named = NAMED_OTHER
    elif house_style:
        named = NAMED_HOUSE if shown[0].style == house_style else NAMED_OTHER
    if not words:
        named = 0.0
    if rng.random() < chinese and all(row.label.get("zh") for row in shown):
        return _chinese(scene, shown, rng, named)
    style = one_of(rng, words) if words and scene.kind != "pixel" else "".join(words)
    text = _english(scene, shown, rng)
    if scene.background != "white" or rng.random() < 0.05:
        text = on_background(text, scene.background)
    return f"{text}, {style}" if rng.random() < named else text


def _english(scene: Scene, shown: list[Drawing], rng: Rng) -> str:
    label = shown[0].label["en"]
    if scene.kind == "count":
        return f"{COUNTS[len(shown)][0]} {plural(label)}"
    if scene.kind == "pair":
        where = {
            "left": "to the left of",
            "right": "to the right of",
            "above": "above",
            "below": "below",
        }
        assert scene.side is not None
        return f"{with_article(label)} {where[scene.side]} {with_article(shown[1].label['en'])}"
    if scene.kind == "size":
        return f"a {_size_word(scene, rng)} {label}"
    if scene.hue:
        return with_article(with_hue(label, scene.hue))
    keywords = shown[0].keywords.get("en", ())
    way = rng.random()
    if scene.kind == "background" or way < 0.55 or not keywords:
        return with_article(label)
    if way < 0.65:
        return label
    if way < 0.8:
        some = rng.permutation(len(keywords))[: int(rng.integers(1, 3))]
        return ", ".join([with_article(label), *(keywords[int(i)] for i in some)])
    if way < 0.9:
        return ", ".join(keywords[int(i)] for i in rng.permutation(len(keywords))[:3])
    return f"{with_article(label)}, {shown[0].subgroup.replace('-', ' ')}"


def _chinese(scene: Scene, shown: list[Drawing], rng: Rng, named: float) -> str:
    label = shown[0].label["zh"]
    if scene.kind == "count":
        text = f"{COUNTS[len(shown)][1]}{label}"
    elif scene.kind == "pair":
        assert scene.side is not None
        where = {"left": "左边", "right": "右边", "above": "上面", "below": "下面"}[scene.side]
        text = f"{label}在{shown[1].label['zh']}的{where}"
    elif scene.kind == "size":
        text = f"{'小' if scene.placed[0].size < 0.6 else '大'}{label}"
    elif scene.hue:
        text = f"{HUES[scene.hue][0]}的{label}"
    else:
        text = f"{one_of(rng, ('', '一个', '一只'))}{label}"
    if scene.background != "white":
        text = on_background(text, scene.background, chinese=True)
    known = (CHINESE_STYLE[word] for word in shown[0].style_words if word in CHINESE_STYLE)
    style = PIXEL_ART[1] if scene.kind == "pixel" else next(known, None)
    return f"{text}，{style}" if style and rng.random() < named else text


def face_caption(
    face: Face, background: str, rng: Rng | None = None, *, chinese: bool = False
) -> str:
    """``cartoon face, purple braided hair, glasses, green background``; with ``rng`` some of it is
    left out at times."""
    language = int(chinese)
    colour = HAIR_COLOURS[face.hair_colour][0] if chinese else f"{face.hair_colour} "
    ground = f"{BACKGROUNDS[background][0]}背景" if chinese else f"{background} background"
    words = [f"{colour}{HAIR[face.hair][language]}"]
    if face.accessory:
        words.append(ACCESSORIES[face.accessory][language])
    if background != "white":
        words.append(ground)
    if rng:
        words = [word for word in words if rng.random() > 0.1]
    return ("，" if chinese else ", ").join([FACE[language], *words])


def _size_word(scene: Scene, rng: Rng) -> str:
    return one_of(rng, SMALL if scene.placed[0].size < 0.6 else LARGE)


def one_of(rng: Rng, choices: Sequence[T]) -> T:
    """One of the choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]

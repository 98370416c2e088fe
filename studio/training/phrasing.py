"""The same picture asked for as people ask: framed, praised, with the style first.

Captions say ``a cat, flat style``; people write ``draw me a cute cat`` and ``a flat style picture
of a cat``. Each such prompt is made of a caption, so it is known which of its tokens the caption
holds (:mod:`studio.training.alignment`), and that the others say nothing that can be drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from studio.training.scenes import BACKGROUNDS, COUNTS, HUES, Rng
from studio.training.wording import (
    FACE,
    LARGE,
    PIXEL_ART,
    SMALL,
    one_of,
    with_article,
    without_article,
)

KINDS = (
    "picture", "image", "drawing", "illustration", "photo", "photograph", "painting", "sketch",
    "portrait", "icon", "emoji", "render", "rendering", "artwork", "graphic", "design", "symbol",
)  # fmt: skip
"""What pictures are called."""
ASKED = (
    "draw", "draw me", "please draw", "can you draw", "paint", "paint me", "show", "show me",
    "make", "make me", "create", "generate", "give me", "i want", "i would like", "imagine",
    "there is", "this is", "here is", "it is", "only", "just",
)  # fmt: skip
DETERMINERS = ("the", "my", "this", "that", "your", "our", "his", "her", "some", "another", "one")
ADJECTIVES = (
    "cute", "beautiful", "happy", "funny", "pretty", "sad", "angry", "old", "new", "young", "nice",
    "cool", "lovely", "shiny", "simple", "fluffy", "magical", "wild", "sweet", "colorful",
    "colourful", "real", "realistic", "smiling", "sleeping", "scary", "friendly", "fancy", "modern",
    "vintage", "ancient", "bright", "dark", "fresh", "clean", "wooden", "metal", "plastic", "toy",
    "baby", "fat", "thin", "tall", "round", "strong", "brave", "lonely", "single", "very cute",
    "very beautiful", "really nice", "delicious", "elegant", "fast", "perfect",
)  # fmt: skip
AFTER = (
    "high quality", "best quality", "highly detailed", "masterpiece", "4k", "8k", "hd",
    "sharp focus", "digital art", "concept art", "award winning", "trending", "beautiful lighting",
    "soft light", "centered", "isolated", "minimalist", "close up", "side view", "front view",
    "please", "thank you", "for children", "for kids", "for me", "in the middle", "by itself",
    "alone",
)  # fmt: skip
DOING = (
    "sitting", "standing", "sleeping", "running", "walking", "jumping", "flying", "swimming",
    "eating", "playing", "dancing", "smiling", "looking at you", "in the snow", "in the forest",
    "in the park", "in the garden", "in the rain", "in the sky", "in space", "in the city",
    "in the desert", "in a room", "in winter", "at night", "at sunset", "on the beach",
    "on the table", "on the grass", "on the ground", "under water", "with friends", "outside",
)  # fmt: skip
BEFORE_CHINESE = (
    "画", "请画", "帮我画", "给我画", "我想要", "我要", "这是", "画出", "请给我画", "我想看",
    "给我", "请生成", "生成", "做", "帮我设计", "设计", "创作", "有", "这里有", "展示", "可以画",
    "请你画", "想要", "我需要", "你会画", "看看", "只有",
)  # fmt: skip
FRAMED_CHINESE = (
    ("一张", "的图片"), ("一幅", "的画"), ("", "的图片"), ("", "的插图"), ("一张", "的照片"),
    ("", "的图标"), ("一幅", "的油画"), ("一张", "的图"), ("", "的头像"), ("", "的标志"),
    ("一幅", "的素描"), ("", "的表情"), ("一张", "的海报"), ("关于", "的画"), ("", "的样子"),
)  # fmt: skip
ADJECTIVES_CHINESE = (
    "可爱的", "漂亮的", "美丽的", "好看的", "快乐的", "开心的", "有趣的", "简单的", "老的",
    "新的", "高质量的", "年轻的", "生气的", "悲伤的", "微笑的", "睡觉的", "奇怪的", "神奇的",
    "真实的", "精美的", "古老的", "现代的", "明亮的", "干净的", "普通的", "特别的", "勇敢的",
    "友好的", "聪明的", "孤独的", "温柔的", "闪亮的", "毛茸茸的", "圆圆的", "胖胖的", "高高的",
    "非常可爱的", "很漂亮的", "十分美丽的", "最好看的", "完美的", "优雅的", "酷酷的", "好玩的",
    "安静的", "新鲜的", "卡哇伊的", "精致的", "梦幻的", "我的", "你的", "这个", "那个", "坐着的",
    "站着的", "奔跑的", "跳舞的", "正在吃东西的", "雪地里的", "森林里的", "花园里的", "天空中的",
    "桌子上的", "海边的", "城市里的", "夜晚的", "草地上的", "房间里的",
)  # fmt: skip
AFTER_CHINESE = (
    "高质量", "杰作", "最佳质量", "细节丰富", "数字艺术", "好看", "可爱", "谢谢", "真实", "专业",
    "给孩子的", "正面", "侧面", "居中", "特写", "柔和的光", "精美", "好吗", "吧", "在中间",
)  # fmt: skip
_HAN, _MEASURED = re.compile("[\u4e00-\u9fff]"), re.compile("一[个只]")
BESIDE = {
    " to the left of ": (
        " and ", " and ", " and ", " next to ", " beside ", " with ", " near ", " by ",
        " on the left of ", " left of ",
    ),
    " to the right of ": (" on the right of ", " right of ", " at the right of "),
    " above ": (" over ", " on top of ", " on "),
    " below ": (" under ", " beneath ", " underneath "),
}  # fmt: skip
"""Other words for where two things stand; "and" is what most people write."""
SIZES = {
    SMALL: ("mini", "miniature", "very small", "teeny", "really small", "tiny little"),
    LARGE: ("giant", "enormous", "gigantic", "very large", "very big", "massive", "great big"),
}
NUMBERS = {
    "two": ("2", "a pair of", "a couple of", "exactly two"), "three": ("3", "exactly three"),
    "four": ("4", "exactly four"), "five": ("5", "exactly five"),
}  # fmt: skip
GROUNDS = (
    "{text}, {colour} background", "{text} with {a} background", "{text} on {colour}",
    "{text} against {a} background", "{text} in front of {a} background",
    "{colour} background, {text}", "{text}, the background is {colour}", "{text} on {a} wall",
)  # fmt: skip
COLOURED = (
    "{thing} in {colour}", "{thing}, {colour}", "{thing} that is {colour}", "{colour}, {thing}",
    "a {colour} colored {noun}", "a bright {colour} {noun}", "a {colour} and shiny {noun}",
)  # fmt: skip
_ON = re.compile(r"(?P<text>.+) on (?P<a>an? (?P<colour>.+)) background")
_COLOUR = re.compile(rf"an? (?P<colour>{'|'.join(HUES)}) (?P<noun>.+)")
_MADE = ("render", "art")
"""How the styles end that a picture can be of: "a 3d render of a cat"."""
_WAYS = {
    "other words": 0.7,
    "adjective": 0.35,
    "determiner": 0.12,
    "style": 0.6,
    "frame": 0.4,
    "after": 0.2,
    "doing": 0.2,
}
"""Share of the prompts with each."""


class Phrasing:
    """Says captions as people do.

    Args:
        labels: of the things; an adjective never makes one label of another ("hot" and "dog"). They
            stand before other nouns, too: a "diamond ring" is a ring.
        styles: style words of captions.
        idle: words that stand for nothing that can be drawn, colours, sizes and numbers aside.
        idle_chinese: the same in Chinese, by character (see :func:`common_characters`).
    """

    def __init__(
        self, labels: Iterable[str], styles: Iterable[str], idle: Sequence[str],
        idle_chinese: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.taken = {" ".join(two) for label in labels for two in pairwise(label.split())}
        self.styles = {*styles, PIXEL_ART[0]}
        drawn = {*BACKGROUNDS, *HUES, *SMALL, *LARGE, *(count for count, _ in COUNTS.values())}
        drawn |= {word for style in self.styles for word in style.split()}
        self.idle = [word for word in idle if word not in drawn]
        self.nouns = sorted({label for label in labels if " " not in label} - drawn)
        self.idle_chinese = idle_chinese

    def __call__(self, caption: str, rng: Rng) -> str:
        """A caption, in English or Chinese, as a prompt that asks for the same."""
        return (self._chinese if is_chinese(caption) else self._english)(caption, rng)

    def _english(self, caption: str, rng: Rng) -> str:
        text, _, style = caption.rpartition(", ")
        if style not in self.styles:
            text, style = caption, ""
        ways = {way for way, share in _WAYS.items() if rng.random() < share}
        ways = ways or {one_of(rng, tuple(_WAYS))}
        if "other words" in ways:
            text = _reworded(text, rng)
        if "adjective" in ways:
            text = self._praised(text, rng)
        if "determiner" in ways and (noun := without_article(text)) != text:
            text = f"{one_of(rng, DETERMINERS)} {noun}"
        kind = self._some(rng, KINDS)
        if style and "style" in ways:
            text = _styled(text, style, kind, rng)
        elif "frame" in ways:
            begun = rng.random() < 0.5
            text = f"{self._some(rng, ASKED) if begun else f'{with_article(kind)} of'} {text}"
        if style and "style" not in ways:
            text = f"{text}, {style}"
        if "after" in ways:
            text = f"{text}, {self._some(rng, AFTER)}"
        if "doing" in ways:
            text = f"{text} {self._some(rng, DOING)}"
        return text + one_of(rng, ("", "", "", ".", "!"))

    def _praised(self, text: str, rng: Rng) -> str:
        """An adjective before the noun; as it is, where both would be another thing."""
        word = one_of(rng, self.nouns) if rng.random() < 0.15 else self._some(rng, ADJECTIVES)
        noun = without_article(text)
        if f"{word.split()[-1]} {noun.split()[0]}" in self.taken:
            return text
        praised = f"{word} {noun}"
        return praised if noun == text else with_article(praised)

    def _some(self, rng: Rng, words: Sequence[str]) -> str:
        """One of the words, or up to three idle ones."""
        if self.idle and rng.random() < 0.4:
            return " ".join(one_of(rng, self.idle) for _ in range(one_of(rng, (1, 1, 2, 3))))
        return one_of(rng, words)

    def _chinese(self, caption: str, rng: Rng) -> str:
        way = rng.random()
        if way < 0.5:
            counted = _MEASURED.match(caption)
            at = counted.end() if counted else 0
            praise = self._some_chinese(rng, ADJECTIVES_CHINESE, "{}的")
            caption = caption[:at] + praise + caption[at:]
        if way > 0.35:
            before, after = one_of(rng, FRAMED_CHINESE) if way > 0.75 else ("", "")
            text, comma, style = caption.partition("，")
            if after:
                after = self._some_chinese(rng, (after,), "的{}")
            caption = before + text + after + comma + style
            if way < 0.85:
                caption = self._some_chinese(rng, BEFORE_CHINESE) + caption
        if rng.random() < 0.2:
            caption += f"，{self._some_chinese(rng, AFTER_CHINESE)}"
        return caption + one_of(rng, ("", "", "", "。", "！"))

    def _some_chinese(self, rng: Rng, words: Sequence[str], form: str = "{}") -> str:
        """One of the words, or up to four idle characters in the form."""
        if self.idle_chinese and rng.random() >= 0.5:
            count = one_of(rng, (1, 2, 2, 2, 3, 4))
            return form.format("".join(one_of(rng, self.idle_chinese) for _ in range(count)))
        return one_of(rng, words)


def common_characters() -> set[str]:
    """The 3,755 commonest Chinese characters: the first level of GB 2312 (1980)."""
    rows, columns = range(0xB0, 0xD8), range(0xA1, 0xFF)
    codes = (bytes((row, column)) for row in rows for column in columns)
    return {character for code in codes if (character := code.decode("gb2312", "ignore"))}


def is_chinese(text: str) -> bool:
    """Whether it has a Chinese character."""
    return _HAN.search(text) is not None


def _reworded(text: str, rng: Rng) -> str:
    """Other words for places, sizes, numbers and colours, where the text has some."""
    for words, others in BESIDE.items():
        text = text.replace(words, one_of(rng, others))
    first, _, rest = text.partition(" ")
    size, _, noun = rest.partition(" ")
    for sizes, others in SIZES.items():
        if size in sizes and noun:
            text = with_article(f"{one_of(rng, others)} {noun}")
    if first in NUMBERS:
        text = f"{one_of(rng, NUMBERS[first])} {rest}"
    if text.startswith(f"{FACE[0]}, "):
        return text.replace(", ", one_of(rng, (" with ", " has ", ": ")), 1).replace(", ", " and ")
    if on := _ON.fullmatch(text):
        return one_of(rng, GROUNDS).format(**on.groupdict())
    if hue := _COLOUR.fullmatch(text):
        thing = with_article(hue["noun"])
        return one_of(rng, COLOURED).format(thing=thing, **hue.groupdict())
    return text


def _styled(text: str, style: str, kind: str, rng: Rng) -> str:
    bare = without_article(text)
    ways = [
        f"{style}, {text}", f"{text} in {style}", f"{text} in {with_article(style)}",
        f"{style} {bare}", with_article(f"{style} {bare}"), f"{style}: {text}",
        f"{with_article(f'{style} {kind}')} of {text}",
    ]  # fmt: skip
    if style.endswith(_MADE):
        ways += [f"{style} of {text}", f"{with_article(style)} of {text}"] * 2
    return one_of(rng, ways)

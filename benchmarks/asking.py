"""Other words and other ways to ask for what captions name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.trials import Trial
from studio.training.wording import with_article

SYNONYMS = {
    "pup": "dog", "hound": "dog", "stallion": "horse", "mare": "horse", "pony": "horse",
    "viper": "snake", "airliner": "airplane", "jet plane": "airplane", "spaceship": "rocket",
    "starship": "rocket", "cottage": "house with garden", "vessel": "ship", "specs": "glasses",
    "spectacles": "glasses", "chopper": "helicopter", "swine": "pig", "piglet": "pig",
    "calf": "cow", "hare": "rabbit", "primate": "monkey", "chimp": "monkey", "telly": "television",
    "tv set": "television", "brolly": "umbrella", "corncob": "ear of corn", "lager": "beer mug",
    "wineglass": "wine glass", "satsuma": "tangerine", "clementine": "tangerine",
    "cathedral": "church", "skyscraper": "office building", "clinic": "hospital", "frock": "dress",
    "bathing suit": "bikini", "trainers": "running shoe", "diamond ring": "ring", "blaze": "fire",
    "fire truck": "fire engine", "meteor": "shooting star", "cello": "violin", "cornet": "trumpet",
    "pooch": "dog", "mutt": "dog", "moggy": "cat", "pussycat": "cat", "kitty cat": "cat",
    "tomcat": "cat", "steed": "horse", "nag": "horse", "heifer": "cow", "rattlesnake": "snake",
    "cobra": "snake", "bullfrog": "frog", "sparrow": "bird", "robin": "bird",
    "porpoise": "dolphin", "vixen": "fox", "pachyderm": "elephant", "nanny goat": "goat",
    "coach": "bus", "double decker": "bus", "sedan": "automobile", "limousine": "automobile",
    "motorcar": "automobile", "hatchback": "automobile", "jumbo jet": "airplane",
    "ocean liner": "ship", "pushbike": "bicycle", "steam engine": "locomotive",
    "sneakers": "running shoe", "stilettos": "high-heeled shoe", "denims": "jeans",
    "tee shirt": "t-shirt", "knapsack": "backpack", "sweetcorn": "ear of corn",
    "cappuccino": "hot beverage", "goblet": "wine glass", "fiddle": "violin", "lavatory": "toilet",
    "infirmary": "hospital", "tepee": "tent", "wigwam": "tent", "bonfire": "fire",
    "raindrop": "droplet", "tiara": "crown", "coronet": "crown", "galleon": "ship",
    "supermarket": "convenience store",
}  # fmt: skip
"""Words that no label and no keyword of the drawings holds, and the label that they mean."""
PHRASES = (
    "a doodle of {a}", "an adorable {label}", "scribble me {a}", "could you draw {a}?",
    "a gorgeous {label}", "{a} looking proud", "a snapshot of {a}", "the cutest {label} ever",
    "{a} on a sunny day", "we need {a} for our website", "a handmade {label}",
    "an epic {label}, cinematic",
)  # fmt: skip
"""Ways to ask for a thing that training has not: it has others (`studio/training/phrasing.py`)."""
CHINESE_PHRASES = (
    "来一个{label}", "迷人的{label}", "一个{label}的草图", "能画一个{label}吗",
    "一个超级帅的{label}", "{label}，高清",
)  # fmt: skip
STYLE_FIRST = (
    "a 3d render of {a}", "flat style {label}", "a detailed drawing of {a}", "pixel art of {a}",
    "simple cartoon style, {a}", "clip art: {a}",
)  # fmt: skip
"""Styles before the thing."""
STYLE_LAST = (
    "{a}, 3d render", "{a}, flat style", "{a}, detailed", "{a}, pixel art",
    "{a}, simple cartoon style", "{a}, clip art",
)  # fmt: skip
"""The same styles after it, as captions have them."""
OTHERWISE = {
    "background": ((r"(.+) on an? (.+) background", r"\1, \2 background"),),
    "hue": ((r"an? (\w+) (.+)", r"\2 in \1"),),
    "side": ((r"(.+) to the left of (.+)", r"\1 and \2"),),
    "size": ((r"a small (.+)", r"a miniature \1"), (r"a large (.+)", r"an enormous \1")),
    "count": ((r"two (.+)", r"2 \1"), (r"three (.+)", r"3 \1"), (r"four (.+)", r"4 \1")),
}
"""What each trial asks for, as people also write it; training has these words, not the pairs."""


def phrased(phrases: Sequence[str], said: Mapping[str, str]) -> list[tuple[str, str]]:
    """Prompts for what is said, in each of the phrases by turns; (prompt, label) pairs."""
    return [
        (phrases[n % len(phrases)].format(a=with_article(word), label=word), label)
        for n, (label, word) in enumerate(said.items())
    ]


def otherwise(trial: Trial) -> Trial:
    """The same trial in other words."""
    prompts = [case.prompt for case in trial.cases]
    for pattern, words in OTHERWISE[trial.name]:
        prompts = [re.sub(f"^{pattern}$", words, prompt) for prompt in prompts]
    return trial.asked("otherwise", prompts)

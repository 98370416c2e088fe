"""CLIP's tokenizer: of a model's folder, or from the vocabulary that comes with open_clip."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from studio.errors import UnavailableError

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2  # the file goes on, the published models do not
_WINDOW = 77
_AS_ITS_FILE_SAYS = ("PreTrainedTokenizerFast", "TokenizersBackend")  # since transformers 5


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder of the layout of transformers.

    It is CLIP's, unless ``tokenizer_config.json`` names the class that does all as
    ``tokenizer.json`` has it: so mini's reads other words as the labels that they mean.

    Raises:
        OSError, ValueError: a file is missing or broken.
    """
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    config = folder / "tokenizer_config.json"
    named = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    as_its_file_says = named.get("tokenizer_class") in _AS_ITS_FILE_SAYS
    kind: Any = PreTrainedTokenizerFast if as_its_file_says else CLIPTokenizer
    return kind.from_pretrained(folder, local_files_only=True)


def clip_tokenizer(pad_token: str = EOS) -> Any:
    """transformers' ``CLIPTokenizer`` with the 49408 tokens of all published CLIP models.

    Args:
        pad_token: fills a window: the end mark for OpenAI's towers, "!" for Stability's others.

    Raises:
        UnavailableError: open_clip is not installed as a whole.
    """
    from transformers import CLIPTokenizer

    vocabulary, pairs = _vocabulary()
    merges: Any = list(pairs)  # which transformers declares as texts, and reads as pairs
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, pad_token=pad_token, model_max_length=_WINDOW
    )


@cache
def _vocabulary() -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    lines = gzip.decompress(_path().read_bytes()).decode("utf-8").split("\n")
    pairs = (line.split() for line in lines[1 : _MERGES + 1])
    merges = tuple((first, second) for first, second in pairs)
    letters = _letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["".join(pair) for pair in merges]
    return {word: i for i, word in enumerate([*words, BOS, EOS])}, merges


def _letters() -> list[str]:
    """The letters that stand for the 256 bytes in byte-level BPE: printable ones for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(others)]


def _path() -> Path:
    # Found without importing open_clip, which takes seconds.
    spec = find_spec("open_clip")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise UnavailableError(
        "CLIP's vocabulary is missing: it comes with the package open-clip-torch.",
        valid="pip install open-clip-torch",
    )

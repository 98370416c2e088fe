"""The tokenizer of mini: byte-level BPE of CLIP's form, learned from the captions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Replace, Sequence
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from studio.training.models import Tokenizer as TokenizerOfClip

START, END = "<|startoftext|>", "<|endoftext|>"
_SUFFIX = "</w>"


def learn_tokenizer(texts: Iterable[str], vocabulary: int, window: int) -> TokenizerOfClip:
    """Learn a tokenizer of ``vocabulary`` tokens for windows of ``window`` tokens.

    All 256 bytes are in it, alone and at the end of a word, so that no text is unknown. The end
    token has the highest id, where CLIP's text towers look for it.
    """
    form = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=_SUFFIX))
    learner.normalizer = form.normalizer
    learner.pre_tokenizer = form.pre_tokenizer
    letters = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=vocabulary - 2,
        initial_alphabet=letters,
        end_of_word_suffix=_SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    base = letters + [letter + _SUFFIX for letter in letters]
    known = set(base)
    learned = sorted(learner.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    merged = [token for token, _ in learned if token not in known][: vocabulary - len(base) - 2]
    vocab = {token: i for i, token in enumerate([*base, *merged, START, END])}
    merges = [pair for pair in _merges(learner) if "".join(pair) in vocab]
    model: Any = CLIPTokenizer
    return model(vocab=vocab, merges=merges, model_max_length=window)


@dataclass(frozen=True)
class Elsewhere:
    """A word that is read as another text only behind a word, if not those that are known there.

    ``behind`` and ``before``: words behind or before which it stays as it is.
    """

    word: str
    text: str
    behind: frozenset[str]
    before: frozenset[str] = frozenset()


def reading(
    tokenizer: TokenizerOfClip, meant: Mapping[str, str], elsewhere: Iterable[Elsewhere] = ()
) -> TokenizerOfClip:
    """A copy that reads each of some phrases as another text, in any case, between other words.

    Where phrases overlap, that of more words is read. The texts that are meant must not hold
    phrases of fewer words, which would be read as others once more. ``elsewhere`` comes last.

    It is no ``CLIPTokenizer``, which makes its own normalizer whatever its file says.
    """
    groups: dict[tuple[int, str], list[str]] = {}
    for phrase, text in meant.items():
        groups.setdefault((-phrase.count(" "), text), []).append(phrase)
    rules: list[Any] = []
    for (_, text), phrases in sorted(groups.items()):
        either = "|".join(map(re.escape, sorted(phrases, key=lambda one: (-len(one), one))))
        rules.append(Replace(Regex(rf"(?<![\w-])(?:{either})(?![\w-])"), text))
    for one in elsewhere:
        behind = "".join(rf"(?<!\b{re.escape(word)} )" for word in sorted(one.behind))
        before = "".join(rf"(?! {re.escape(word)}\b)" for word in sorted(one.before))
        rule = rf"(?<=\w ){behind}{re.escape(one.word)}(?![\w-]){before}"
        rules.append(Replace(Regex(rule), one.text))
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.normalizer = Sequence([backend.normalizer, *rules])
    backend.no_padding()
    backend.no_truncation()
    model: Any = PreTrainedTokenizerFast
    return model(
        tokenizer_object=backend, model_max_length=tokenizer.model_max_length,
        bos_token=START, eos_token=END, pad_token=END, unk_token=END,
    )  # fmt: skip


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in pairs]

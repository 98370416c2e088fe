"""The tokenizer of mini: byte-level BPE of CLIP's form, learned from the captions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

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


def with_words(tokenizer: TokenizerOfClip, words: Sequence[str]) -> TokenizerOfClip:
    """A copy with a token for each of the words, in any case, between spaces or marks.

    They have the ids before those of the start and of the end, which stay the highest.
    """
    plain = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])[:-2]
    vocab = {token: i for i, token in enumerate([*(t for t, _ in plain), *words, START, END])}
    merges = _merges(tokenizer.backend_tokenizer)
    model: Any = CLIPTokenizer
    larger: TokenizerOfClip = model(
        vocab=vocab, merges=merges, model_max_length=tokenizer.model_max_length
    )
    larger.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in words])
    return larger


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in pairs]

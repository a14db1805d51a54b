"""The tokenizer: a genuine CLIP tokenizer whose byte-pair merges give every word of the grammar one token."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from transformers import CLIPTokenizer

from npnet.shapes.grammar import WORDS

__all__ = ["BOS_ID", "EOS_ID", "MAX_LENGTH", "make_tokenizer"]

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
BOS_ID, EOS_ID = 0, 1
"""Not 2: CLIP text models read an end token of 2 as "the largest id ends the prompt", for old checkpoints."""

MAX_LENGTH = 16
"""Tokens of a padded prompt; the longest prompt has 10 words and 2 marks."""


def make_tokenizer(words: Sequence[str] = WORDS) -> CLIPTokenizer:
    """Return a tokenizer that turns each word into one token, and pads and cuts at 16."""
    merges = learn_merges(words)
    letters = sorted(set("".join(words)))
    symbols = [*letters, *(letter + "</w>" for letter in letters), *(left + right for left, right in merges)]
    vocabulary = {symbol: index for index, symbol in enumerate([BOS, EOS, *symbols])}
    pairs: Any = merges  # the annotation of transformers forgets pairs, which its backend asks for
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=MAX_LENGTH)
    for word in words:
        assert len(tokenizer(word).input_ids) == 3, f"{word} is more than one token"
    return tokenizer


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return Byte-pair merges, most frequent pair first (ties by alphabet), until each word is one symbol.

    An encoder replays merges by rank, which is the order they were learnt in, so it ends in the same symbols. Merges
    made word by word would not have this property: one word's merges can cut another's.
    """
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while any(len(symbols) > 1 for symbols in spelled):
        counts = Counter(pair for symbols in spelled for pair in pairwise(symbols))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelled = [merge(symbols, best) for symbols in spelled]
    return merges


def merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Join each occurrence of the pair, from the left."""
    joined, index = [], 0
    while index < len(symbols):
        found = tuple(symbols[index : index + 2]) == pair
        joined.append("".join(pair) if found else symbols[index])
        index += 2 if found else 1
    return joined

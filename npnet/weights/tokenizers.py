"""Load tokenizers of transformers; one without a vocabulary, as for missing files, is refused."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import AutoTokenizer

from npnet.errors import FieldError, reworded
from npnet.weights.files import TOKENIZER_FILES, has_vocabulary
from npnet.weights.sources import fetch_folder

FEWEST_WORDS = 8
"""A vocabulary of fewer words than this, its marks apart, is an empty one."""


def load_tokenizer(source: str, field: str, revision: str | None = None) -> Any:
    """Return the tokenizer of a local folder or hub repository.

    Raises:
        FieldError: there is none, or its vocabulary is empty.
    """
    folder = fetch_folder(source, [*TOKENIZER_FILES, "config.json"], field, revision)
    if not has_vocabulary(folder):
        raise FieldError(field, source, "holds no tokenizer files")
    # it raises errors of many kinds
    with reworded(Exception, partial(FieldError, field, source), "has no usable tokenizer: "):
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    check_vocabulary(tokenizer, field, source)
    return tokenizer


def check_vocabulary(tokenizer: Any, field: str, source: object, name: str = "the tokenizer") -> None:
    """Refuse a tokenizer that knows only its marks.

    Raises:
        FieldError: says which one has an empty vocabulary.
    """
    marks = set(tokenizer.all_special_tokens) | {str(token) for token in tokenizer.added_tokens_decoder.values()}
    if len(set(tokenizer.get_vocab()) - marks) < FEWEST_WORDS:
        raise FieldError(field, source, f"{name} has an empty vocabulary (its files are missing)")

"""The question of HPSv3, read from its published code, which is not executed."""

from __future__ import annotations

import ast
import hashlib
import zipfile
from functools import partial
from pathlib import Path

from npnet.errors import FieldError, reworded
from npnet.metrics.hpsv3 import CODE_SHA256, CODE_URL
from npnet.weights.files import local_path
from npnet.weights.published import published_file

FILE = "hpsv3/dataset/data_collator_qwen.py"
TEXTS = ("INSTRUCTION", "prompt_with_special_token")
"""The constants of the published file that make the question, in this order."""
PLACE, REWARD = "{text_prompt}", "<|Reward|>"
SHA256 = "f6ee57479d4e9eee76b49c00dc962e1e696a5a2b3cc32cebd9b1fa76fe27502c"
"""Of the published question, with the place for the prompt in it."""
LARGEST = 1_000_000
"""Bytes of the file; the published one has 7 kB."""


def read_question(path: str | None) -> str:
    """Return the question up to its end mark, with ``PLACE`` for the prompt.

    Args:
        path: of the package or of the file; None: the package is fetched.

    Raises:
        FieldError: of ``code_path``: it cannot be read or fetched, or does not hold the question.
    """
    file = local_path(path) if path is not None else _fetched()
    damaged = (OSError, ValueError, SyntaxError, KeyError, zipfile.BadZipFile)
    with reworded(damaged, partial(FieldError, "code_path", file), "is not the code of HPSv3: "):
        texts = _constants(_source(file))
        question = "".join(texts[name] for name in TEXTS)
    if question.count(PLACE) != 1 or question.count(REWARD) != 1 or question.index(PLACE) > question.index(REWARD):
        raise FieldError("code_path", file, f"its question needs {PLACE} and then {REWARD}, once each")
    return question


def sha256_of(question: str) -> str:
    """Return the digest of a question."""
    return hashlib.sha256(question.encode()).hexdigest()


def _fetched() -> Path:
    hint = "metric.LABEL.code_path=FILE takes a local copy"
    return published_file(CODE_URL, CODE_SHA256, "hpsv3", "code_path", hint)


def _source(file: Path) -> bytes:
    if not zipfile.is_zipfile(file):
        if file.stat().st_size > LARGEST:
            raise ValueError(f"has more than {LARGEST} bytes")
        return file.read_bytes()
    with zipfile.ZipFile(file) as package:
        if package.getinfo(FILE).file_size > LARGEST:
            raise ValueError(f"{FILE} has more than {LARGEST} bytes")
        return package.read(FILE)


def _constants(source: bytes) -> dict[str, str]:
    """Return the texts that a Python file gives names to, without running it."""
    return {
        target.id: node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

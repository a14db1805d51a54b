"""Prompts of a local Parquet file; only the columns of the prompts and of their seeds are read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from npnet.data.prompt_text import COLUMNS, SEED, Entry
from npnet.description import imported


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a file, a row each.

    Raises:
        ValueError: it is not Parquet, has no column of prompts, or the package that reads it is missing.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("Parquet needs the package pyarrow: pip install 'npnet-lightning[hub]'")
    file = imported("pyarrow.parquet:ParquetFile")(path)
    names = {name.lower(): name for name in file.schema_arrow.names}
    column = next((names[name] for name in COLUMNS if name in names), None)
    if column is None:
        raise ValueError(f"has no column named {' or '.join(COLUMNS)} (got: {', '.join(names)})")
    wanted = [column, *([names[SEED]] if SEED in names else [])]
    table = file.read(columns=wanted).to_pydict()
    texts = ["" if text is None else str(text) for text in table[column]]
    seeds = table[names[SEED]] if SEED in names else [None] * len(texts)
    return [
        Entry(text, seed if isinstance(seed, int) and seed >= 0 else None)
        for text, seed in zip(texts, seeds, strict=True)
    ]

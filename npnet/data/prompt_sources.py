"""Prompt sets that are downloaded: published files, and data sets from the Hugging Face hub."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub.errors import HfHubHTTPError

from npnet.data import prompt_text
from npnet.data.prompt_text import Entry
from npnet.data.prompts import Prompts, read_file, require_file
from npnet.errors import FieldError, UserError, one_line
from npnet.fields import Name
from npnet.weights.published import published_file


@dataclass(frozen=True)
class PublishedPrompts(Prompts):
    """A published prompt file, exactly as it is: from ``path``, the cache, or its address, in this order.

    The cache is a folder of huggingface_hub's, for files of other libraries: ``$HF_HOME/assets/npnet/prompts``.

    Attributes:
        url: where the file was published; https. Its last part names the file.
        sha256: of the file; None where it is not known. A fetched file must have it.
        path: a local copy, read as it is.
    """

    url: Name
    sha256: Name | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if urlsplit(self.url).scheme != "https" or Path(self.name).suffix not in prompt_text.TEXT_SUFFIXES:
            raise FieldError("url", self.url, f"an https address of a {', '.join(prompt_text.TEXT_SUFFIXES)} is needed")

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return Path(urlsplit(self.url).path).name

    def check(self) -> None:
        """See ``Description.check``."""
        require_file(self.path)

    def source(self) -> tuple[str, object]:
        """See ``Prompts.source``."""
        return ("url", self.url) if self.path is None else ("path", self.path)

    def entries(self) -> Sequence[Entry]:
        """See ``Prompts.entries``."""
        require_file(self.path)
        hint = "prompts.path=FILE takes a local copy"
        path = self.path or published_file(self.url, self.sha256, "prompts", "url", hint)
        return read_file(path, *self.source())


@dataclass(frozen=True)
class HubPrompts(Prompts):
    """A column of a data set on the hub (or of a local folder that ``datasets`` can load); needs the extra ``hub``.

    Rows are streamed, and of Parquet files only the column is read, so a data set of pictures costs its captions; no
    more rows are read than ``limit`` needs.

    Attributes:
        repo: hub id or folder.
        split: of the data set.
        column: of the prompts; None takes the first of ``prompt``, ``prompts``, ``caption``, ``text`` that is there.
        name: of the data set's configuration, where it has several.
        revision: branch, tag or commit.
    """

    repo: Name | None = None
    split: Name = "train"
    column: Name | None = None
    name: Name | None = None
    revision: Name | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repo is None:
            raise FieldError("repo", None, "OWNER/NAME is needed with prompts=hub")

    def source(self) -> tuple[str, object]:
        """See ``Prompts.source``."""
        return "repo", self.repo

    def entries(self) -> Sequence[Entry]:
        """See ``Prompts.entries``."""
        try:
            datasets = importlib.import_module("datasets")  # of an extra
        except ImportError as error:
            hint = "needs the package datasets: pip install 'npnet-lightning[hub]'"
            raise FieldError("repo", self.repo, hint) from error
        try:
            with _quiet():
                return self._texts(self._rows(datasets))
        except UserError:
            raise
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise FieldError("repo", self.repo, f"cannot be read: {_first_sentence(error)}") from error

    def _texts(self, rows: Iterable[Mapping[str, Any]]) -> list[Entry]:
        texts: list[Entry] = []
        distinct: set[str] = set()
        for row in rows:
            (value,) = row.values()
            texts.append(Entry("" if value is None else str(value)))
            distinct.add(texts[-1].text.strip())
            # a few more than needed: which of them are prompts is decided later
            if self.limit is not None and len(distinct) > 2 * self.limit:
                break
        return texts

    def _rows(self, datasets: Any) -> Any:
        load = {"path": self.repo, "name": self.name, "revision": self.revision}
        builder = datasets.load_dataset_builder(**load)
        rows = datasets.load_dataset(**load, split=self.split, streaming=True)
        names = list(builder.info.features or rows.features or next(iter(rows), {}))
        allowed = (self.column,) if self.column else prompt_text.COLUMNS
        column = next((name for name in allowed if name in names), None)
        if column is None:
            raise FieldError(
                "column", " or ".join(allowed), f"is not a column of {self.repo}; allowed: {', '.join(names)}"
            )
        if hasattr(builder.config, "columns"):  # Parquet: the other columns are not even fetched
            rows = datasets.load_dataset(**load, split=self.split, streaming=True, columns=[column])
        return rows.select_columns([column])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the libraries' own lines about retries and files; a failure is reported once, in one line."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets", "fsspec")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_sentence(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) <= 200 else text[:197] + "..."

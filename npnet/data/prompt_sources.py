"""Prompt sets that are fetched: published files from their address, and data sets from the Hugging Face hub."""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from npnet.data import prompt_text
from npnet.data.prompts import Prompts, read_file
from npnet.errors import UserError, one_line
from npnet.work import atomic

TIMEOUT_SECONDS = 60.0


class PublishedPrompts(Prompts):
    """A published prompt file, exactly as it is: from ``path``, the cache, or its address, in this order.

    The cache is a folder of huggingface_hub's, for files of other libraries: ``$HF_HOME/assets/npnet/prompts``.

    Args:
        url: where the file was published; https. Its last part names the file.
        sha256: of the file; None where it is not known. A fetched file must have it.
        path: a local copy, read as it is.
        limit: see ``Prompts``.
    """

    def __init__(self, url: str, sha256: str | None = None, path: str | None = None, limit: int | None = None) -> None:
        super().__init__(limit)
        self.url, self.sha256 = url, sha256
        parts = urlsplit(url)
        self.name = Path(parts.path).name
        if parts.scheme != "https" or Path(self.name).suffix not in prompt_text.SUFFIXES:
            raise UserError(f"prompts.url={url}: an https address of a {', '.join(prompt_text.SUFFIXES)} is needed")
        self.path = None if path is None else Path(path)
        if self.path is not None and not self.path.is_file():
            raise UserError(f"prompts.path={path}: no such file")
        self.where = f"prompts.url={url}" if path is None else f"prompts.path={path}"

    def _read(self) -> list[str]:
        return read_file(self.path or self._cached(), self.where)

    def _cached(self) -> Path:
        from huggingface_hub import cached_assets_path

        # the address in the name of the folder keeps apart two files of the same name
        folder = cached_assets_path("npnet", "prompts", hashlib.sha256(self.url.encode()).hexdigest()[:16])
        place = Path(folder) / self.name
        if not (place.is_file() and self._is_right(place.read_bytes())):
            data = fetch(self.url)
            if not self._is_right(data):
                raise UserError(f"{self.where}: is not the published file any more (its SHA-256 differs)")
            atomic.write_bytes(place, data)
        return place

    def _is_right(self, data: bytes) -> bool:
        return self.sha256 is None or hashlib.sha256(data).hexdigest() == self.sha256


class HubPrompts(Prompts):
    """A column of a data set on the hub (or of a local folder that ``datasets`` can load); needs the extra ``hub``.

    Rows are streamed, and of Parquet files only the column is read, so a data set of pictures costs its captions.

    Args:
        repo: hub id or folder.
        split: of the data set.
        column: of the prompts; None takes the first of ``prompt``, ``prompts``, ``caption``, ``text`` that is there.
        name: of the data set's configuration, where it has several.
        revision: branch, tag or commit.
        limit: see ``Prompts``; no more rows are read than it needs.
    """

    def __init__(
        self,
        repo: str | None = None,
        split: str = "train",
        column: str | None = None,
        name: str | None = None,
        revision: str | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(limit)
        if not repo:
            raise UserError("prompts.repo=OWNER/NAME is needed with prompts=hub")
        self.repo, self.split, self.column, self.name, self.revision = repo, split, column, name, revision
        self.where = f"prompts.repo={repo}"

    def _read(self) -> list[str]:
        try:
            import datasets
        except ImportError as error:
            raise UserError("prompts=hub needs the package datasets: pip install 'npnet-lightning[hub]'") from error
        from huggingface_hub.errors import HfHubHTTPError

        try:
            with _quiet():
                return self._texts(self._rows(datasets))
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise UserError(f"{self.where}: cannot be read: {_first_sentence(error)}") from error

    def _texts(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        texts: list[str] = []
        distinct: set[str] = set()
        for row in rows:
            (value,) = row.values()
            texts.append("" if value is None else str(value))
            distinct.add(texts[-1].strip())
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
            raise UserError(
                f"prompts.column={' or '.join(allowed)}: is no column of {self.repo}; allowed: {', '.join(names)}"
            )
        if hasattr(builder.config, "columns"):  # Parquet: the other columns are not even fetched
            rows = datasets.load_dataset(**load, split=self.split, streaming=True, columns=[column])
        return rows.select_columns([column])


def fetch(url: str) -> bytes:
    """Return what is at an address.

    Raises:
        UserError: it cannot be fetched, or fetching is turned off (``HF_HUB_OFFLINE=1``).
    """
    hint = "prompts.path=FILE takes a local copy"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise UserError(f"prompts.url={url}: is not in the cache, and HF_HUB_OFFLINE is set; {hint}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"prompts.url={url}: cannot be fetched: {one_line(reason)}; {hint}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own lines about retries and files off the terminal: what failed is said once, in one line."""
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

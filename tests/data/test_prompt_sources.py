import hashlib
import io
import json
import sys
import urllib.error

import pytest

from npnet.data.prompt_sources import HubPrompts, PublishedPrompts
from npnet.errors import UserError, under
from npnet.weights import published

TABLE = "\ufeffid,caption,note\n0,a cat,\n1,,empty\n2,two dogs,x\n".encode()
URL = "https://example.org/data/table.csv"


@pytest.fixture
def address(tmp_path, monkeypatch):
    """What lies at each address; the cache is empty."""
    pages, asked = {URL: TABLE}, []

    def urlopen(url, timeout):
        asked.append(url)
        if url not in pages:
            raise urllib.error.HTTPError(url, 404, "Not Found", None, None)
        return io.BytesIO(pages[url])

    monkeypatch.setattr(published.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr("huggingface_hub.cached_assets_path", lambda *parts: make(tmp_path.joinpath(*parts)))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    pages["asked"] = asked
    return pages


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_published_file_is_fetched_once_and_then_read_from_the_cache(address):
    digest = hashlib.sha256(TABLE).hexdigest()
    for _ in range(2):
        prompts = PublishedPrompts(URL, digest).read()
        assert prompts.prompts == ("a cat", "two dogs")
        assert prompts.left_out == {"empty": 1}
    assert address["asked"] == [URL]


def test_a_local_copy_is_read_instead_of_the_address(address, tmp_path):
    (tmp_path / "copy.csv").write_bytes(TABLE)
    assert PublishedPrompts(URL, "other", path=str(tmp_path / "copy.csv"), limit=1).read().prompts == ("a cat",)
    assert address["asked"] == []


def test_another_file_at_the_address_or_in_the_cache_is_not_taken_for_the_published_one(address, tmp_path):
    with pytest.raises(UserError, match="not the published file any more"):
        PublishedPrompts(URL, "0" * 64).read()
    assert not list(tmp_path.rglob("*.csv"))
    digest = hashlib.sha256(TABLE).hexdigest()
    PublishedPrompts(URL, digest).read()
    (cached,) = tmp_path.rglob("*.csv")
    cached.write_bytes(b"prompt\ntampered\n")
    assert PublishedPrompts(URL, digest).read().prompts == ("a cat", "two dogs")


def test_what_cannot_be_fetched_is_one_line_that_says_what_to_do(address, monkeypatch):
    with pytest.raises(UserError, match=r"none.txt: cannot be fetched: Not Found; .*path"):
        PublishedPrompts("https://example.org/none.txt").read()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set; prompts.path=FILE"):
        PublishedPrompts(URL).read()


@pytest.mark.parametrize("url", ["file:///etc/passwd.txt", "http://example.org/p.csv", "https://example.org/p.exe"])
def test_only_https_addresses_of_prompt_files_are_allowed(url):
    with pytest.raises(UserError, match="an https address of a"):
        PublishedPrompts(url)


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    pytest.importorskip("datasets")
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("repo")
    (folder / "data").mkdir()
    captions = ["a cat", "a cat", "", "two dogs", None, "three birds"]
    table = pyarrow.table({"picture": [b"x" * 1000] * 6, "caption": captions})
    parquet.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    parquet.write_table(table.slice(3, 1), folder / "data" / "test_unique-00000-of-00001.parquet")
    return folder


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_a_data_set_gives_its_column_without_repetitions(repo):
    prompts = HubPrompts(str(repo), column="caption").read()
    assert list(prompts.prompts) == ["a cat", "two dogs", "three birds"]
    assert prompts.left_out == {"duplicate": 1, "empty": 2}
    assert HubPrompts(str(repo), limit=2).read().prompts == ("a cat", "two dogs")
    assert HubPrompts(str(repo), split="test_unique").read().prompts == ("two dogs",)


def test_tables_and_records_are_data_sets_too(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.csv").write_text("id,prompt\n0,a cat\n1,two dogs\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in ["a cat", "two dogs"]))
    for folder in "ab":
        assert HubPrompts(str(tmp_path / folder)).read().prompts == ("a cat", "two dogs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "words"}, "prompts.column=words: is not a column of .*; allowed: .*caption"),
        ({"split": "none"}, "prompts.repo=.*: cannot be read: .*none"),
    ],
)
def test_a_wrong_column_or_split_is_refused_by_name(repo, options, message):
    with pytest.raises(UserError, match=message), under("prompts"):
        HubPrompts(str(repo), **options).read()


def test_a_missing_data_set_or_package_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="^prompts.repo=null: OWNER/NAME is needed"), under("prompts"):
        HubPrompts()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package datasets: pip install 'npnet-lightning\[hub\]'"):
        HubPrompts("a/b").read()


def test_a_folder_that_is_no_data_set_is_one_line(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match="cannot be read"):
        HubPrompts(str(tmp_path)).read()

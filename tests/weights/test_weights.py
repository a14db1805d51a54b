"""Where weights lie, what is missing there, and how they are read and written."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from npnet.errors import FieldError, UserError, under
from npnet.metrics import convert_mps
from npnet.networks import NPNet, official
from npnet.training import checkpoints
from npnet.weights import files, sources
from npnet.weights.tensors import read_state, read_tensors
from npnet.weights.writing import write_tensors
from tests.hub import serving


@pytest.mark.parametrize(
    ("source", "local", "hub"),
    [
        ("owner/name", False, True),
        ("owner/name/folder", False, False),
        ("owner/name/folder/file.safetensors", False, False),
        ("./owner/name", True, False),
        ("../name", True, False),
        ("/a/b", True, False),
        ("~/weights", True, False),
        ("name", True, False),
        ("folder/head.pth", True, False),
        ("a b/c", False, False),
    ],
)
def test_a_source_is_local_or_of_the_hub_by_one_rule(source, local, hub):
    assert sources.is_local(source) == local
    assert sources.is_hub_id(source) == hub


def test_what_exists_here_is_local_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert sources.is_local("owner/name")
    assert not sources.is_hub_id("owner/name")
    assert sources.is_local("~nobody-here/x")
    assert sources.is_local("x" * 5000)  # longer than a file's name may be


def test_a_hub_path_is_split_into_repository_folder_and_file():
    assert sources.split_hub_path("a/b") == ("a/b", None, None)
    assert sources.split_hub_path("a/b/c/d") == ("a/b", "c/d", None)
    assert sources.split_hub_path("a/b/c/d.safetensors") == ("a/b", "c", "d.safetensors")


@pytest.mark.parametrize("source", [None, "", "/nowhere", "a/b/c", "x.pt"])
def test_a_missing_source_names_its_field_and_the_levels_above(source):
    message = r"^metric.mine.path=.*(no such file or folder|is needed); how to$"
    with pytest.raises(FieldError, match=message), under("metric.mine"):
        sources.check_source(source, "path", hint="; how to")


def test_a_damaged_file_is_refused_before_anything_is_loaded(tmp_path):
    save_file({"a": torch.ones(100)}, tmp_path / "model.safetensors")
    sources.check_source(str(tmp_path), "path")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(FieldError, match=r"model\.safetensors is cut short$"):
        sources.check_source(str(tmp_path), "path")
    (tmp_path / "model.safetensors").write_bytes(bytes(len(whole)))
    with pytest.raises(FieldError, match=r"is damaged$"):
        sources.check_source(str(tmp_path / "model.safetensors"), "path")


@pytest.fixture
def archive(tmp_path):
    """A file as PyTorch writes it, and the same with one bit of its numbers flipped."""
    values = torch.arange(512.0)
    torch.save({"values": values}, tmp_path / "whole.pth")
    data = bytearray((tmp_path / "whole.pth").read_bytes())
    data[data.find(values.numpy().tobytes()) + 77] ^= 4
    (tmp_path / "flipped.pth").write_bytes(data)
    assert not torch.equal(
        torch.load(tmp_path / "flipped.pth", weights_only=True)["values"], values
    )  # PyTorch takes it
    return tmp_path


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_tensors(path, "path"),
        lambda path: official.read_official(path, NPNet),
        lambda path: checkpoints.read(path),
        lambda path: convert_mps.read_module(path),
    ],
    ids=["metrics and backbones", "official network", "checkpoints", "MPS"],
)
def test_one_flipped_bit_in_a_pytorch_file_is_refused_wherever_one_is_read(archive, read):
    with pytest.raises((UserError, ValueError), match=r"is damaged: \w+/data/0 does not have its checksum"):
        read(archive / "flipped.pth")


@pytest.mark.parametrize("form", ["whole", "without checksums", "before PyTorch 1.6"])
def test_files_that_are_whole_or_have_no_checksums_are_read(archive, form):
    path = archive / "whole.pth"
    if form == "without checksums":
        torch.serialization.set_crc32_options(False)
        try:
            torch.save({"values": torch.arange(512.0)}, path)
        finally:
            torch.serialization.set_crc32_options(True)
    elif form != "whole":
        torch.save({"values": torch.arange(512.0)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(path, "path")["values"], torch.arange(512.0))


def test_the_hub_switched_off_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
    with pytest.raises(FieldError, match="HF_HUB_OFFLINE is set"):
        sources.check_source("nobody/nothing", "path", ["config.json"])
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file, revision: f"/cache/{file}")
    sources.check_source("nobody/nothing", "path", ["config.json"])


def test_what_was_downloaded_before_is_found_with_the_hub_switched_off(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path) as repositories:
        repositories["owner/name"] = {"model.bin": b"weights"}
        downloaded = huggingface_hub.hf_hub_download("owner/name", "model.bin")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = sources.find("owner/name", ["model.safetensors", "model.bin"], "path")
    assert found == Path(downloaded)
    assert found.read_bytes() == b"weights"
    with pytest.raises(FieldError, match="not in the local hub cache"):
        sources.find("owner/name", ["config.json"], "path")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GatedRepoError", "licence"),
        ("RepositoryNotFoundError", "neither a folder here nor"),
        ("LocalEntryNotFoundError", "not in the local hub cache"),
    ],
)
def test_what_the_hub_answers_is_said_in_words(monkeypatch, name, words):
    from huggingface_hub import errors

    def refuse(*_, **__):
        kind = getattr(errors, name)
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(FieldError, match=f"^path=owner/name: .*{words}"):
        sources.fetch("owner/name", ["a"], "path")


@pytest.mark.parametrize("text", ["[1]", "{", "nothing", "[" * 100_000])
def test_other_than_a_json_object_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(FieldError, match=r"config\.json cannot be read") as caught:
        sources.read_config(str(tmp_path), "path")
    assert "\n" not in str(caught.value)


def test_a_json_file_is_not_read_beyond_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_JSON", 10)
    (tmp_path / "config.json").write_text(json.dumps({"a": "b" * 20}))
    with pytest.raises(FieldError, match="at most 10"):
        files.read_json(tmp_path / "config.json", "path")


def test_an_index_that_points_elsewhere_is_refused(tmp_path):
    (tmp_path / "a.safetensors").touch()
    for table in ({"x": "../a.safetensors"}, {"x": 3}, {"x": ["a"]}, {}, [1]):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
        assert files.missing_weights(tmp_path) == "model.safetensors.index.json is damaged"
        with pytest.raises(FieldError, match="is damaged"):
            read_state(str(tmp_path), ["model.safetensors.index.json"], "path")


def test_a_pointer_in_the_place_of_weights_is_called_that(tmp_path):
    (tmp_path / "x.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(FieldError, match="git-LFS pointer"):
        read_tensors(tmp_path / "x.pth", "path")


def test_weights_are_written_whole_and_readable_to_whom_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        write_tensors(tmp_path / "model.safetensors", {"a": torch.arange(3.0)}, {"format": "pt"})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o640
    assert load_file(tmp_path / "model.safetensors")["a"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_looking_at_the_disk_imports_no_torch():
    code = "import sys, npnet.weights.sources, npnet.weights.files; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]

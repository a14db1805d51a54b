import io
import shutil
import tarfile

import pytest
import torch
import webdataset

from npnet.data import schema, shards
from npnet.errors import UserError
from npnet.work import atomic
from tests.pairs import write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pairs", [6, 0, 5])


def keys(pairs):
    return [int(pair.key.split("-")[0]) for pair in pairs]


def test_pairs_are_read_in_order_and_only_the_kept_ones_unless_asked(folder):
    assert keys(shards.read_pairs(folder)) == [0, 1, 2, 3, 5, 6, 7, 8, 10]
    assert keys(shards.read_pairs(folder, kept_only=False)) == list(range(11))


def test_embeddings_are_read_where_asked(folder):
    assert next(shards.read_pairs(folder)).prompt_embeds is None
    assert next(shards.read_pairs(folder, embeds=True)).prompt_embeds["prompt_embeds"].shape == (5, 6)


def test_webdataset_reads_the_same_samples(folder):
    path = shards.shard_path(folder, 0)
    ours = [schema.decode(sample, "") for sample in shards.iterate_shard(path)]
    theirs = [schema.decode(sample, "") for sample in webdataset.WebDataset(str(path), shardshuffle=False)]
    assert [pair.key for pair in ours] == [pair.key for pair in theirs]
    assert all(torch.equal(a.golden_noise, b.golden_noise) for a, b in zip(ours, theirs, strict=True))


def test_a_shard_lists_its_candidates(folder):
    first, empty, _ = shards.list_shards(folder)
    assert [candidate.kept for candidate in first.candidates] == [True] * 4 + [False, True]
    assert empty.candidates == ()
    assert list(shards.iterate_shard(empty.path)) == []


def refusal(folder, **options):
    with pytest.raises(UserError) as caught:
        shards.list_shards(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_folder_and_no_shards_are_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "none")
    assert "no finished shards" in refusal(tmp_path)


def test_a_missing_tar_or_sidecar_is_refused_by_name(folder):
    backup = shutil.copytree(folder, folder.parent / "backup")
    shards.shard_path(folder, 2).unlink()
    assert "shard-000002.tar: missing" in refusal(folder)
    (backup / "shard-000002.json").unlink()
    assert "shard-000002.json is missing" in refusal(backup)
    assert len(shards.list_shards(backup, complete=False)) == 2


def test_an_unfinished_collection_is_refused_unless_allowed(folder):
    atomic.write_json(folder / "request.json", {"num_chunks": 4})
    assert "shard-000003.tar: missing (3 of 4 shards are there)" in refusal(folder)
    finished = shards.list_shards(folder, complete=False)
    assert [shard.path.name for shard in finished] == [f"shard-00000{i}.tar" for i in range(3)]
    assert finished[0].request == {"num_chunks": 4}


def test_a_changed_tar_is_refused(folder):
    path = shards.shard_path(folder, 0)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    assert len(shards.list_shards(folder)) == 3
    assert "shard-000000.tar: was changed" in refusal(folder, verify=True)
    path.write_bytes(data[:-512])
    assert "shard-000000.tar: was changed" in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"candidates": 3}', '{"candidates": [{"key": 1}]}'])
def test_a_damaged_sidecar_is_refused(folder, text):
    (folder / "shard-000000.json").write_text(text)
    assert "shard-000000.json: is not a shard's sidecar" in refusal(folder)


def write_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("name", ["a.pyd", "a.pickle", "a", "../a.json", "/a.json", "a.b.json"])
def test_a_member_of_another_kind_is_refused(tmp_path, name):
    write_tar(tmp_path / "x.tar", {name: b"{}"})
    with pytest.raises(UserError, match=r"x\.tar: member .* is not of a pair"):
        list(shards.iterate_shard(tmp_path / "x.tar"))


@pytest.mark.parametrize("size", [0, 512, 1024, 1500, 2048])
def test_a_truncated_tar_is_refused_by_name(folder, size):
    path = shards.shard_path(folder, 0)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"shard-000000\.tar: cannot be read as a tar"):
        list(shards.iterate_shard(path))


def test_a_tar_with_fewer_pairs_than_its_sidecar_lists_is_refused(folder):
    shutil.copy(shards.shard_path(folder, 2), shards.shard_path(folder, 0))
    with pytest.raises(UserError, match=r"shard-000000\.tar"):
        list(shards.read_pairs(folder))

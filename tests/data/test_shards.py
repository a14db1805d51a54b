import io
import json
import random
import shutil
import tarfile

import pytest
import torch
import webdataset

from collect.writer import is_finished
from npnet.data import checksums, schema, shards
from npnet.errors import UserError
from npnet.work import atomic, request
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
    assert [candidate.kept for candidate in first.written] == [True] * 4 + [False, True]
    assert empty.written == ()
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


def test_a_tar_is_hashed_once_in_a_process_whoever_asks(folder, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        checksums, "file_sha256", lambda path, real=checksums.file_sha256: hashed.append(path) or real(path)
    )
    paths = [shard.path for shard in shards.list_shards(folder, verify=True)]
    for path in paths:
        is_finished(path, None)
        list(shards.iterate_shard(path))
    assert sorted(hashed) == sorted(paths)


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


# --- shards from strangers --------------------------------------------------------------------------------------------


def raw_tar(path, *entries):
    """Write members given as (TarInfo, bytes)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return path


def member(name, kind=tarfile.REGTYPE, size=0, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info


KINDS = {
    "a symbolic link": member("a.json", tarfile.SYMTYPE, target="/etc/passwd"),
    "a hard link": member("a.json", tarfile.LNKTYPE, target="/etc/passwd"),
    "a folder": member("a.json", tarfile.DIRTYPE),
    "a device": member("a.json", tarfile.CHRTYPE),
    "a pipe": member("a.json", tarfile.FIFOTYPE),
    "of no key": member(".json"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files_are_members(tmp_path, kind):
    raw_tar(tmp_path / "x.tar", (KINDS[kind], b""))
    with pytest.raises(UserError, match=r"x\.tar: member '.*json' is not of a pair"):
        list(shards.iterate_shard(tmp_path / "x.tar"))


def test_a_link_within_the_tar_is_no_member_either(tmp_path):
    first = member("a.json", size=2)
    raw_tar(tmp_path / "x.tar", (first, b"{}"), (member("b.json", tarfile.LNKTYPE, target="a.json"), b""))
    with pytest.raises(UserError, match=r"member 'b\.json' is not of a pair"):
        list(shards.iterate_shard(tmp_path / "x.tar"))


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    raw_tar(tmp_path / "x.tar", *[(member("a.json", size=2), b"{}")] * 2)
    with pytest.raises(UserError, match=r"member 'a\.json' appears twice"):
        list(shards.iterate_shard(tmp_path / "x.tar"))


def test_a_few_bytes_that_claim_to_be_terabytes_are_refused_before_they_are_read(tmp_path):
    honest = raw_tar(tmp_path / "x.tar", (member("a.json", size=2), b"{}"))
    info = member("a.json", size=1 << 42)
    data = info.tobuf(tarfile.GNU_FORMAT) + honest.read_bytes()[512:]
    (tmp_path / "lies.tar").write_bytes(data)
    with pytest.raises(UserError, match=r"lies\.tar: cannot be read as a tar: it is truncated"):
        list(shards.iterate_shard(tmp_path / "lies.tar"))
    sparse = bytearray(member("a.json", tarfile.GNUTYPE_SPARSE, size=512).tobuf(tarfile.GNU_FORMAT))
    sparse[386:398], sparse[398:410], sparse[483:495] = b"00000000000\0", b"00000001000\0", b"77777777777\0"
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    (tmp_path / "sparse.tar").write_bytes(bytes(sparse) + bytes(512) + bytes(1024))
    with pytest.raises(UserError, match=r"sparse\.tar: member 'a\.json' is not of a pair"):
        list(shards.iterate_shard(tmp_path / "sparse.tar"))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused_and_not_unpacked(folder, mode):
    path = shards.shard_path(folder, 0)
    with tarfile.open(folder / "z.tar", mode) as tar:
        tar.add(path, "a.json")
    with pytest.raises(UserError, match=r"z\.tar: cannot be read as a tar"):
        list(shards.iterate_shard(folder / "z.tar"))


def test_the_checksum_is_compared_before_the_first_sample_where_there_is_a_sidecar(folder):
    path = shards.shard_path(folder, 0)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"shard-000000\.tar: was changed"):
        next(shards.iterate_shard(path))
    shards.sidecar_path(path).unlink()
    assert len(list(shards.iterate_shard(path))) == 6


def test_a_name_that_webdataset_would_run_is_only_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for reader in (shards.list_shards, shards.iterate_shard, lambda name: next(shards.read_pairs(name))):
        with pytest.raises(UserError):
            list(reader("pipe:touch trace"))
    assert not (tmp_path / "trace").exists()


def test_whatever_bytes_are_changed_the_answer_is_pairs_or_one_line(folder):
    path = shards.shard_path(folder, 0)
    shards.sidecar_path(path).unlink()
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 2, 20])):
            # headers and records are where it hurts; the noises are most of the bytes
            block = 512 * draw.randrange(len(data) // 512)
            data[block + draw.choice([draw.randrange(512), draw.randrange(160)])] = draw.choice(
                [0, 255, 48, 53, 55, draw.randrange(256)]
            )
        path.write_bytes(data)
        try:
            for sample in shards.iterate_shard(path):
                schema.decode(sample, str(path))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and "shard-000000.tar" in str(error)
    assert 50 < refused < 300


@pytest.mark.parametrize(
    "entry",
    [
        {"prompt": 3},
        {"seed": True},
        {"kept": "yes"},
        {"written": 1},
        {"scores": []},
        {"scores": {"a": 1}},
        {"other": 1},
    ],
)
def test_a_sidecar_of_wrong_types_is_refused(folder, entry):
    place = folder / "shard-000000.json"
    sidecar = json.loads(place.read_text())
    sidecar["candidates"][0] |= entry
    place.write_text(json.dumps(sidecar))
    assert "shard-000000.json: is not a shard's sidecar" in refusal(folder)
    place.write_text("[" * 100_000)
    assert "shard-000000.json: is not a shard's sidecar" in refusal(folder)


@pytest.mark.parametrize("count", ["many", -1, True, 2.5, None])
def test_a_request_of_another_kind_is_refused(folder, count):
    (folder / "request.json").write_text(json.dumps({"num_chunks": count}))
    assert "request.json: is not the request of a collection" in refusal(folder)


def test_a_tar_with_fewer_pairs_than_its_sidecar_lists_is_refused(folder):
    shutil.copy(shards.shard_path(folder, 2), shards.shard_path(folder, 0))
    with pytest.raises(UserError, match=r"shard-000000\.tar"):
        list(shards.read_pairs(folder))


def test_shards_of_another_request_than_the_one_beside_them_are_refused(folder):
    """What a network is told to be for stands in the request alone."""
    asked = {"num_chunks": 3, "guidance_scale": 5.5}
    (folder / request.NAME).write_text(json.dumps(asked))
    for path in sorted(folder.glob("shard-*.json")):
        path.write_text(json.dumps({**json.loads(path.read_text()), "request_sha256": request.digest(asked)}))
    assert len(list(shards.read_pairs(folder))) == 9
    (folder / request.NAME).write_text(json.dumps({**asked, "guidance_scale": 1.0}))
    with pytest.raises(
        UserError, match="shard-000000.json: belongs to another collection than the request.json beside it"
    ):
        list(shards.read_pairs(folder))


@pytest.mark.parametrize("score", ["0.1", True, [0.1]])
def test_a_score_that_is_no_number_is_refused(folder, score):
    path = folder / "shard-000000.json"
    sidecar = json.loads(path.read_text())
    sidecar["candidates"][0]["scores"] = {"a": {"source": score, "golden": 0.2}}
    path.write_text(json.dumps(sidecar))
    with pytest.raises(UserError, match="scores=.*: a number is needed"):
        shards.list_shards(folder)

import functools
import http.server
import json
import threading

import pytest

from npnet.data import places
from npnet.data.datamodule import ResumableLoader
from npnet.data.pairs import Pairs
from npnet.errors import UserError
from npnet.work import atomic
from tests.pairs import write_folder

REQUEST = {"num_chunks": 3, "backbone": {"_target_": "npnet.backbones.Shapes", "path": "here", "device": "cpu"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("served") / "pairs", [7, 5, 9])
    atomic.write_json(folder / "request.json", REQUEST)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/pairs"
        server.shutdown()


def opened(shards, **options):
    data = Pairs(shards, **{"batch_size": 4, "validation_share": 0.2, "seed": 5, **options}).load()
    data.check()
    return data


def prompts(data):
    return [prompt for batch in data.train_dataloader() for prompt in batch["prompts"]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_address_gives_the_samples_of_the_folder_in_the_same_order(folder, address, num_workers):
    here, there = (opened(place, num_workers=num_workers) for place in (str(folder), address))
    assert prompts(here) == prompts(there) != []
    assert there.num_samples(True) == here.num_samples(True) > 0
    assert there.request["backbone"]["path"] == "here"


def test_braces_and_lists_name_the_same_shards_as_their_folder(folder, address):
    whole = prompts(opened(str(folder)))
    assert prompts(opened(f"{address}/shard-{{000000..000002}}.tar")) == whole
    assert prompts(opened([f"{folder}/shard-{{000000,000001}}.tar", f"{address}/shard-000002.tar"])) == whole


def test_several_folders_are_one_data_set(folder, tmp_path):
    other = write_folder(tmp_path / "other", [6])
    both = opened([str(folder), str(other)])
    assert both.num_samples(False) + both.num_samples(True) == 21 - 4 + 6 - 1  # every fifth was rejected
    assert len(both.prompts()) == len({*opened(str(folder)).prompts(), *opened(str(other)).prompts()})


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (None, "data.shards=DIR is needed"),
        ([], "data.shards=DIR is needed"),
        ("nowhere", "data.shards=nowhere: no such folder"),
        ("nowhere.tar", "data.shards=nowhere.tar: no such file"),
        ("pipe:cat secret", "commands are not run"),
        ([".", "./"], "is given twice"),
        ("a{1..", "a{1.."),
    ],
)
def test_places_that_cannot_be_are_refused_by_name(shards, message):
    with pytest.raises(UserError) as caught:
        places.expand(shards)
    assert message in str(caught.value)


def test_an_address_that_cannot_be_read_is_named(address):
    for place, message in (
        (f"{address}/nothing", f"{address}/nothing/request.json: cannot be read: no such file"),
        ("http://127.0.0.1:1/pairs", "http://127.0.0.1:1/pairs/request.json: cannot be read"),
        ("nosuch://bucket/pairs", "nosuch://bucket/pairs/request.json: cannot be read"),
        (f"{address}/shard-000003.tar", f"{address}/shard-000003.json: cannot be read: no such file"),
    ):
        with pytest.raises(UserError) as caught:
            opened(place)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_shard_cut_short_on_its_way_is_named(folder, address, tmp_path):
    data = opened(address, num_workers=0)
    tar = folder / "shard-000001.tar"
    whole = tar.read_bytes()
    try:
        for size in (len(whole) // 2, 0):
            tar.write_bytes(whole[:size])
            with pytest.raises(UserError, match="shard-000001.tar"):
                prompts(data)
    finally:
        tar.write_bytes(whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"path": "there"}, "backbone.path=there"),
        ({"lora_scale": 0.5}, "backbone.lora_scale=0.5"),
        ({"_target_": "npnet.backbones.HunyuanDiT"}, "HunyuanDiT"),
    ],
)
def test_pairs_of_two_backbones_are_refused(folder, tmp_path, changed, named):
    other = write_folder(tmp_path / "other", [6])
    request = {**REQUEST, "num_chunks": 1, "backbone": {**REQUEST["backbone"], "device": "cuda", **changed}}
    atomic.write_json(other / "request.json", request)
    with pytest.raises(UserError, match="a network is trained for one backbone") as caught:
        opened([str(folder), str(other)])
    assert str(other) in str(caught.value) and named in str(caught.value)


def test_pairs_of_two_sizes_or_widths_are_refused_before_training(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.pairs.WIDTH", 7)
    wide = write_folder(tmp_path / "wide", [3])
    with pytest.raises(UserError, match="backbones cannot be mixed") as caught:
        opened([str(folder), str(wide)])
    assert "prompt_embeds of width 7" in str(caught.value)
    monkeypatch.setattr("tests.pairs.SIDE", 4)
    small = write_folder(tmp_path / "small", [3])
    with pytest.raises(UserError, match="sizes cannot be mixed") as caught:
        opened([str(folder), str(small)])
    assert str(small) in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_pair_of_another_size_within_a_shard_is_named_by_its_key(tmp_path, monkeypatch, num_workers):
    import tarfile

    one = write_folder(tmp_path / "one", [3])
    monkeypatch.setattr("tests.pairs.SIDE", 4)
    odd = write_folder(tmp_path / "odd", [4])
    with tarfile.open(odd / "shard-000000.tar") as source, tarfile.open(one / "shard-000000.tar", "a") as target:
        for member in source.getmembers():
            if member.name.startswith("0000003"):
                target.addfile(member, source.extractfile(member))
    sidecar = json.loads((odd / "shard-000000.json").read_text())
    from npnet.data.shards import file_sha256

    tar = one / "shard-000000.tar"
    sidecar |= {"num_bytes": tar.stat().st_size, "sha256": file_sha256(tar)}
    (one / "shard-000000.json").write_text(json.dumps(sidecar))
    data = opened(str(one), validation_share=0, num_workers=num_workers)
    with pytest.raises(UserError) as caught:
        prompts(data)
    assert "shard-000000.tar: sample 0000003-0000000003: its noise is (4, 4, 4)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fewer_pairs_are_a_part_of_every_larger_number(folder):
    few, more, every = (set(prompts(opened(str(folder), max_pairs=n))) for n in (3, 8, None))
    assert len(few) == 3 and len(more) == 8
    assert few < more < every
    assert opened(str(folder), max_pairs=3).num_samples(True) == opened(str(folder)).num_samples(True)


def test_a_tar_in_another_order_than_its_sidecar_is_refused(tmp_path):
    folder = write_folder(tmp_path / "pairs", [40])
    sidecar = json.loads((folder / "shard-000000.json").read_text())
    sidecar["candidates"].reverse()
    (folder / "shard-000000.json").write_text(json.dumps(sidecar))
    with pytest.raises(UserError, match="is not the pair that its sidecar lists"):
        prompts(opened(str(folder), kept_only=False))


def test_uneven_shards_are_dealt_evenly():
    from npnet.data.index import TRAINING, Entry
    from npnet.data.stream import PairStream

    entries = [Entry("x", bytes([TRAINING] * size)) for size in (90, 10, 10, 10, 30, 30)]
    streams = [PairStream(entries, TRAINING, 5, rank=rank, world_size=2) for rank in range(2)]
    dealt = [[i for share in one.shares() for i in share] for one in streams]
    assert sorted(dealt[0] + dealt[1]) == list(range(180))
    assert [len(mine) for mine in dealt] == [90, 90]
    assert ResumableLoader(streams[0], 0).__len__() == 18

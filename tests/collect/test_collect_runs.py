"""Whole collections on the fakes: the data set, killed runs, finished folders."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from collect.cli import collect
from npnet.data import checksums
from npnet.data.shards import iterate_shard, list_shards, read_pairs
from npnet.errors import UserError
from npnet.seeding import source_noise
from tests.collected import PROMPTS, SMALL, alive, children, collect_small, composed, contents, start, wait_until
from tests.fakes import SHAPE


def test_a_collection_is_one_shard_and_sidecar_for_each_chunk_and_the_request(undisturbed):
    shards = [f"shard-00000{i}.{kind}" for i in range(3) for kind in ("json", "tar")]
    assert sorted(contents(undisturbed)) == ["request.json", *shards]
    request = json.loads((undisturbed / "request.json").read_text())
    assert (request["num_samples"], request["num_chunks"], request["selected_by"]) == (10, 3, ["target"])
    assert "output_dir" not in request and "workers" not in request and "device" not in request["backbone"]


def test_the_sidecar_tells_every_candidate_and_what_it_cost(undisturbed):
    shards = list_shards(undisturbed, verify=True)
    tried = [candidate for shard in shards for candidate in shard.tried]
    assert [candidate.prompt for candidate in tried] == PROMPTS
    assert all(candidate.kept == (candidate.scores["target"][1] > candidate.scores["target"][0]) for candidate in tried)
    assert {candidate.reason for candidate in tried if not candidate.kept} == {"not better: target"}
    assert 0 < sum(candidate.kept for candidate in tried) < 10
    request = json.loads((undisturbed / "request.json").read_text())
    for shard in shards:
        assert shard.sidecar["request"] == request
        assert shard.sidecar["versions"].keys() >= {"npnet", "python", "torch", "diffusers"}
        kept = sum(candidate.kept for candidate in shard.tried)
        assert shard.sidecar["num_kept"] == shard.sidecar["num_written"] == kept == len(shard.written)
        assert sum(shard.sidecar["rejected"].values()) == shard.sidecar["num_tried"] - kept
        assert shard.sidecar["forwards_per_pair"] == 13
        gains = [golden - source for source, golden in (c.scores["target"] for c in shard.tried)]
        assert shard.sidecar["scores"]["target"]["gain_mean"] == pytest.approx(sum(gains) / len(gains))


def test_kept_pairs_are_read_back_with_their_source_noise_and_embeddings(undisturbed):
    pairs = list(read_pairs(undisturbed, embeds=True))
    kept = [c for shard in list_shards(undisturbed) for c in shard.tried if c.kept]
    assert [pair.key for pair in pairs] == [candidate.key for candidate in kept]
    for pair, candidate in zip(pairs, kept, strict=True):
        assert torch.equal(pair.source_noise, source_noise(pair.seed, SHAPE).half())
        assert pair.scores == candidate.scores
        assert pair.prompt_embeds["prompt_embeds"].shape == (4, 64)
        assert 0 <= pair.seed <= 1024


@pytest.mark.parametrize("card", ["false", "true"])
def test_resuming_a_finished_folder_hashes_each_tar_once(undisturbed, tmp_path, monkeypatch, card):
    folder, hashed = Path(shutil.copytree(undisturbed, tmp_path / "copy")), []
    checksums._known.cache_clear()  # as in a new process
    monkeypatch.setattr(
        checksums, "file_sha256", lambda path, real=checksums.file_sha256: hashed.append(path) or real(path)
    )
    collect_small(folder, f"card={card}")
    assert sorted(hashed) == sorted(folder.glob("*.tar"))


def test_two_workers_write_the_same_bytes_as_one(undisturbed, tmp_path):
    process = start(tmp_path, "workers=2")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert contents(tmp_path) == contents(undisturbed)


def test_a_finished_folder_is_left_as_it_is(undisturbed, capsys):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
    collect_small(undisturbed)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()} == before


def test_a_killed_run_takes_its_workers_along_and_resumes_to_the_same_bytes(undisturbed, tmp_path):
    process = start(tmp_path, "workers=2", delay=0.5)
    wait_until(lambda: any(tmp_path.glob(".shard-*.partial")))
    workers = children(process)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(alive(pid) for pid in workers))
    assert not list(tmp_path.glob("shard-000002.json"))
    collect_small(tmp_path)
    assert contents(tmp_path) == contents(undisturbed)
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_stops_cleanly_and_resumes_to_the_same_bytes(undisturbed, tmp_path, workers):
    process = start(tmp_path, f"workers={workers}", delay=0.5)
    wait_until(lambda: any(tmp_path.glob(".shard-*.partial")))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "stopped: run the same command to resume\n"
    assert not list(tmp_path.glob(".*.partial"))
    collect_small(tmp_path)
    assert contents(tmp_path) == contents(undisturbed)


def test_keep_all_writes_the_rejected_pairs_too_and_the_reader_leaves_them_out(undisturbed, tmp_path):
    collect_small(tmp_path, "keep_all=true", "keep_embeds=false", "keep_images=true")
    kept = [pair.key for pair in read_pairs(undisturbed)]
    assert [pair.key for pair in read_pairs(tmp_path)] == kept
    everything = list(read_pairs(tmp_path, kept_only=False))
    assert [pair.prompt for pair in everything] == PROMPTS
    assert [pair.key for pair in everything if pair.kept] == kept
    members = set(next(iterate_shard(tmp_path / "shard-000000.tar")))
    assert members == {"__key__", "json", "noise.safetensors", "source.webp", "golden.webp"}


def test_a_chunk_with_nothing_kept_leaves_an_empty_shard_and_its_sidecar(tmp_path):
    collect_small(tmp_path, "margin=100")
    assert [len(shard.written) for shard in list_shards(tmp_path)] == [0, 0, 0]
    assert list(read_pairs(tmp_path)) == []


@pytest.mark.parametrize(
    ("target", "smallest"),
    # chunks of 4, 4 and 2 pairs, each denoised with its golden side, on a device that holds four samples
    [("test_candidates.Small", [2, 2, None]), ("test_candidates.LinearBackbone", [None, None, None])],
)
def test_a_batch_that_had_to_shrink_is_written_in_the_sidecar(tmp_path, target, smallest):
    collect_small(tmp_path, f"backbone._target_=tests.collect.{target}", "batch_size=4", "guidance_scale=5")
    assert [shard.sidecar["smallest_batch"] for shard in list_shards(tmp_path)] == smallest


def test_pairs_that_are_not_finite_are_rejected_with_that_reason_and_never_written(tmp_path):
    collect_small(tmp_path, "prompts.list=[a,'NaN',c]", "keep_all=true")
    (shard,) = list_shards(tmp_path)
    assert [candidate.reason == "not finite" for candidate in shard.tried] == [False, True, False]
    assert [pair.prompt for pair in read_pairs(tmp_path, kept_only=False)] == ["a", "c"]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("margin=0.5", "margin (got 0.5, there 0.0)"),
        ("batch_size=3", "batch_size (got 3, there 2)"),
        ("prompts.limit=9", "prompts.limit (got 9, there null)"),
        ("noise.inversion.cycles=2", "noise.inversion.cycles (got 2, there 1)"),
    ],
)
def test_another_configuration_is_refused_and_what_is_there_stays(undisturbed, override, named):
    before = contents(undisturbed)
    with pytest.raises(UserError) as caught:
        collect_small(undisturbed, override)
    assert named in str(caught.value)
    assert contents(undisturbed) == before


def test_changed_prompts_under_the_same_name_are_refused(tmp_path):
    (tmp_path / "p.txt").write_text("a\nb\n")
    options = ["prompts=file", f"prompts.path={tmp_path / 'p.txt'}"]
    overrides = [o for o in SMALL if not o.startswith("prompts")]

    def collect_file():
        collect(composed("collect", *overrides, *options, f"output_dir={tmp_path / 'out'}"))

    collect_file()
    (tmp_path / "p.txt").write_text("a\nc\n")
    with pytest.raises(UserError, match="samples_sha256"):
        collect_file()


def test_a_shard_changed_by_hand_is_refused_and_one_that_is_gone_is_made_again(tmp_path):
    collect_small(tmp_path)
    before = contents(tmp_path)
    path = tmp_path / "shard-000001.tar"
    path.unlink()
    collect_small(tmp_path)
    assert contents(tmp_path) == before
    data = bytearray(before[path.name])
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"shard-000001\.tar: was changed"):
        collect_small(tmp_path)
    assert path.read_bytes() == bytes(data)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path, capsys):
    collect_small(tmp_path / "out", "dry_run=true", "num_inference_steps=10")
    text = capsys.readouterr().out
    assert "10 in 3 chunks of 4" in text
    assert "forwards per pair  41" in text
    assert not (tmp_path / "out").exists()


def test_the_estimated_size_of_a_pair_is_about_the_measured_one(tmp_path, capsys):
    from collect.dry_run import bytes_per_pair
    from collect.plan import make_plan

    cfg = composed("collect", *SMALL, "keep_all=true", "chunk_size=10", f"output_dir={tmp_path}")
    collect(cfg)
    measured = (tmp_path / "shard-000000.tar").stat().st_size / 10
    estimate = bytes_per_pair(make_plan(cfg).settings)
    assert estimate == pytest.approx(measured, rel=0.2)

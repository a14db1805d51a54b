"""What is said of a folder, finished or not, and to loggers."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collect.status import main, status
from collect.survey import survey
from collect.watch import Watch
from npnet.data.shards import list_shards
from npnet.data.sidecars import sidecar_path
from npnet.work import lock
from tests.collected import collect_small, filter_small
from tests.commands import exit_code
from tests.pairs import write_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return collect_small(tmp_path_factory.mktemp("finished"), "keep_all=true", "keep_images=true")


@pytest.fixture
def unfinished(finished, tmp_path):
    """Two of three shards, written an hour apart, the last one a minute ago."""
    folder = shutil.copytree(finished, tmp_path / "unfinished")
    (folder / "shard-000002.json").unlink()
    now = time.time()
    for number, age in enumerate((3660, 60)):
        os.utime(folder / f"shard-00000{number}.json", (now - age, now - age))
    return folder


def as_json(capsys, *arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in (*arguments, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_finished_folder_is_counted_as_its_sidecars_say(finished, capsys):
    facts = as_json(capsys, finished)
    tried = [candidate for shard in list_shards(finished) for candidate in shard.tried]
    assert facts["state"] == "finished"
    assert facts["chunks"] == {"done": 3, "total": 3}
    kept = sum(candidate.kept for candidate in tried)
    assert {name: facts["pairs"][name] for name in ("tried", "total", "kept", "written")} == {
        "tried": 10,
        "total": 10,
        "kept": kept,
        "written": 10,
    }
    assert facts["pairs"]["rejected"] == {"not better: target": 10 - kept}
    gains = [c.scores["target"][1] - c.scores["target"][0] for c in tried]
    assert facts["mean_gain"]["target"] == pytest.approx(sum(gains) / 10)
    assert (facts["eta_seconds"], facts["runs"], facts["broken"]) == (None, [], [])
    assert facts["num_bytes"] == sum(path.stat().st_size for path in finished.iterdir())


def test_an_unfinished_folder_says_so_and_its_rate_comes_from_the_times_of_its_shards(unfinished, capsys):
    facts = as_json(capsys, unfinished)
    assert facts["state"] == "unfinished"
    assert facts["chunks"] == {"done": 2, "total": 3}
    assert facts["pairs_per_hour"] == pytest.approx(4, rel=0.01)
    assert facts["eta_seconds"] is None  # nobody works
    assert facts["seconds_since_last_shard"] == pytest.approx(60, abs=30)


def test_a_run_at_work_is_named_and_gives_the_remaining_time(unfinished, capsys):
    dead = unfinished / ".run-3-of-8.lock"  # left by a run that was killed
    dead.touch()
    os.utime(dead, (time.time() - 7200,) * 2)
    with lock.hold(unfinished):
        held = unfinished / ".run-0-of-1.lock"
        os.utime(held, (time.time() - 1860,) * 2)  # began half an hour before the last shard
        facts = as_json(capsys, unfinished)
        assert facts["state"] == "running"
        assert str(os.getpid()) in facts["runs"][0]
        assert facts["pairs_per_hour"] == pytest.approx(8, rel=0.01)  # the first shard was another run's
        assert facts["eta_seconds"] == pytest.approx(2 / 8 * 3600, rel=0.01)
        assert main([str(unfinished)]) == 0
        text = capsys.readouterr().out
        assert "15 min left" in text or "15 min" in text
    assert as_json(capsys, unfinished)["state"] == "unfinished"


def test_a_run_that_has_no_shard_yet_is_told(tmp_path, capsys):
    (tmp_path / "request.json").write_text('{"num_chunks": 3, "num_samples": 10}')
    facts = as_json(capsys, tmp_path)
    assert (facts["state"], facts["pairs"]["tried"], facts["pairs"]["keep_rate"]) == ("unfinished", 0, None)
    assert main([str(tmp_path)]) == 0


def test_broken_shards_are_named(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "broken")
    (folder / "shard-000000.tar").unlink()
    (folder / "shard-000001.json").write_text("{")
    tar = folder / "shard-000002.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    facts = as_json(capsys, folder)
    assert facts["state"] == "unfinished"
    assert [problem.split(":")[0].split("/")[-1] for problem in facts["broken"]] == [
        "shard-000000.tar",
        "shard-000001.json",
    ]
    facts = as_json(capsys, folder, "--verify")
    assert "shard-000002.tar: was changed" in facts["broken"][2]
    assert main([str(folder)]) == 0
    assert "broken" in capsys.readouterr().out


def test_what_was_verified_is_told(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "changed")
    number = len(list(folder.glob("*.tar")))
    assert "verified" not in as_json(capsys, folder)
    assert as_json(capsys, folder, "--verify")["verified"] == {"shards": number, "unchanged": number}
    (folder / "shard-000000.tar").write_bytes(b"")
    assert main([str(folder), "verify=true"]) == 0
    assert f"{number - 1} of {number} shards unchanged" in capsys.readouterr().out


def test_shards_without_a_request_are_counted_too(tmp_path, capsys):
    facts = as_json(capsys, write_folder(tmp_path / "pairs", [6, 0, 5]))
    assert (facts["state"], facts["pairs"]["tried"], facts["pairs"]["total"]) == ("finished", 11, None)


def refusal(capsys, *arguments):
    capsys.readouterr()
    assert exit_code(main, *map(str, arguments)) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("error: ")
    return captured.err


def test_a_folder_that_is_none_or_two_collections_is_one_line(finished, tmp_path, capsys):
    assert "no such folder" in refusal(capsys, tmp_path / "none")
    assert "holds no shards" in refusal(capsys, tmp_path)
    (tmp_path / "request.json").write_text('{"num_chunks": "many"}')
    assert "is not the request of a collection" in refusal(capsys, tmp_path)
    assert "folder=null: this key is missing" in refusal(capsys)
    assert "other: cannot be read as KEY=VALUE; keys: folder, json" in refusal(capsys, tmp_path, "other")
    mixed = shutil.copytree(finished, tmp_path / "mixed")
    other = filter_small(finished, tmp_path / "other", "card=false")
    for kind in ("tar", "json"):
        shutil.copy(other / f"shard-000001.{kind}", mixed)
    assert "shard-000001.json: belongs to another collection than request.json beside it" in refusal(capsys, mixed)
    (mixed / "request.json").unlink()
    assert "shard-000001.json: belongs to another collection than the first shard" in refusal(capsys, mixed)


def test_pictures_are_drawn_on_request_and_are_the_same_every_time(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "pictures")
    facts = as_json(capsys, folder, "--pictures")
    assert [Path(path).name for path in facts["pictures"]] == ["gains.png", "kept_pairs.webp"]
    drawn = [Path(path).read_bytes() for path in facts["pictures"]]
    assert drawn[0].startswith(b"\x89PNG") and drawn[1][8:12] == b"WEBP"
    facts = as_json(capsys, folder, "--pictures")
    assert [Path(path).read_bytes() for path in facts["pictures"]] == drawn


def test_looking_writes_nothing_and_imports_no_torch(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "read_only")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    code = f"import sys; from collect.status import main; main(['{folder}']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_times_that_tell_nothing_give_no_rate(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copied")
    for shard in list_shards(folder):
        os.utime(sidecar_path(shard.path), (1000, 1000))
    assert status(survey(folder), now=2000.0)["pairs_per_hour"] is None


# --- while it runs ----------------------------------------------------------------------------------------------------


class Recorder:
    def __init__(self):
        self.rows, self.status = [], None

    def log_metrics(self, row, step):
        self.rows.append((step, dict(row)))

    def save(self):
        pass

    def finalize(self, status):
        self.status = status


def test_the_bar_tells_pairs_kept_and_the_keep_rate_and_loggers_the_pairs_per_hour(monkeypatch):
    clock = iter([100.0, 101.0, 110.5])
    monkeypatch.setattr("collect.watch.time.monotonic", lambda: next(clock))
    recorder = Recorder()
    with Watch([recorder], before=1000) as watch:
        assert watch({"tried": 10, "kept": 4}) == "kept 4 (40%)"
        assert watch({"tried": 20, "kept": 8}) == "kept 8 (40%)"
        assert watch({"tried": 31, "kept": 31}) == "kept 31 (100%)"
    assert [step for step, _ in recorder.rows] == [1010, 1031, 1031]
    assert recorder.rows[-1][1] == {"tried": 31, "kept": 31, "keep_rate": 1.0, "pairs_per_hour": 7200.0}
    assert recorder.status == "success"


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_progress_goes_to_csv_and_the_data_stay_the_same(finished, tmp_path):
    folder = collect_small(tmp_path / "logged", "keep_all=true", "keep_images=true", "logger=[csv]")
    last = rows(folder)[-1]
    assert (last["step"], float(last["tried"])) == ("10", 10)
    assert (folder / "request.json").read_bytes() == (finished / "request.json").read_bytes()
    (folder / "shard-000002.tar").unlink()
    collect_small(folder, "keep_all=true", "keep_images=true", "logger=[csv]")
    assert int(rows(folder)[0]["step"]) <= 8  # what was there stays
    assert float(rows(folder)[-1]["tried"]) == 2  # of the second run


@pytest.mark.slow
def test_progress_goes_to_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = collect_small(tmp_path / "logged", "logger=[wandb]", "logger.wandb.offline=true")
    (run,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert run.stat().st_size > 0

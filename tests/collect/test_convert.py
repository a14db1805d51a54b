"""Pairs in the published layout become shards; nothing in them is executed."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from collect.convert import main
from npnet.data.shards import list_shards, read_pairs
from tests.collected import composed, contents
from tests.commands import exit_code

ROOT = Path(__file__).parents[2]


def line(index, seed, original=0.25, optimized=0.26, **changes):
    entry = {
        "index": index,
        "seed": seed,
        "caption": f"prompt {index}",
        "original_score_list": [original],
        "optimized_score_list": [optimized],
    } | changes
    return {name: value for name, value in entry.items() if value is not ...}


def noises(index, seed, shape=(1, 4, 8, 8)):
    draw = np.random.default_rng([index, seed])
    return [draw.standard_normal(shape).astype(np.float16) for _ in range(2)]


def publish(folder, lines, name="SDXL_step_10_training.json"):
    """Write what the official script writes."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    for entry in lines:
        source, golden = noises(entry["index"], entry["seed"])
        np.savez(folder / f"{entry['index']}_{entry['seed']}.npz", source, golden, entry["index"])
    return folder


LINES = [line(0, 7), line(2, 9, 0.3, 0.2), line(10, 3), line(1, 1024, 0.2, 0.2)]


@pytest.fixture
def published(tmp_path):
    return publish(tmp_path / "published", LINES)


def refusal(capsys, *arguments):
    capsys.readouterr()
    assert exit_code(main, *map(str, arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_every_pair_is_there_with_its_noises_prompt_seed_and_scores(published, tmp_path):
    assert main([str(published), str(tmp_path / "out"), "--chunk-size", "3"]) == 0
    pairs = list(read_pairs(tmp_path / "out", kept_only=False))
    assert [(pair.prompt, pair.seed, pair.kept) for pair in pairs] == [
        ("prompt 0", 7, True),
        ("prompt 1", 1024, False),
        ("prompt 2", 9, False),
        ("prompt 10", 3, True),
    ]
    for pair, index in zip(pairs, (0, 1, 2, 10), strict=True):
        source, golden = noises(index, pair.seed)
        assert np.array_equal(pair.source_noise.numpy(), source[0])
        assert np.array_equal(pair.golden_noise.numpy(), golden[0])
    assert pairs[0].scores == {"hpsv2": (0.25, 0.26)}
    assert [len(shard.tried) for shard in list_shards(tmp_path / "out", verify=True)] == [3, 1]
    assert json.loads((tmp_path / "out" / "request.json").read_text())["selected_by"] == ["hpsv2"]


def test_the_same_command_changes_nothing_and_a_lost_shard_is_the_same_again(published, tmp_path, capsys):
    command = [str(published), str(tmp_path / "out"), "--chunk-size", "2"]
    source = contents(published)
    main(command)
    before = contents(tmp_path / "out")
    assert {"README.md", "gains.png"} < set(before)
    (tmp_path / "out" / "shard-000001.tar").unlink()
    main(command)
    assert contents(tmp_path / "out") == before
    main(command)
    assert "nothing to do" in capsys.readouterr().out
    assert contents(published) == source


def test_converted_pairs_train(published, tmp_path):
    from npnet.training.command import train

    main([str(published), str(tmp_path / "out")])
    options = [f"data.shards={tmp_path / 'out'}", "data.kept_only=false", "data.validation_share=0"]
    options += [
        "network.text_term=off",
        "data.batch_size=2",
        "trainer.max_epochs=1",
        f"output_dir={tmp_path / 'train'}",
    ]
    train(composed("train", *options))
    assert (tmp_path / "train" / "network" / "model.safetensors").is_file()


def test_pairs_in_folders_of_their_own_and_lines_elsewhere_are_found(tmp_path, capsys):
    publish(tmp_path / "a", [line(0, 7)])
    publish(tmp_path / "a" / "b", [line(1, 7)])
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line(i, 7)) + "\n\n" for i in (1, 0)))
    assert main([str(tmp_path / "a"), str(tmp_path / "out"), "--lines", str(tmp_path / "lines.jsonl")]) == 0
    assert [pair.prompt for pair in read_pairs(tmp_path / "out")] == ["prompt 0", "prompt 1"]


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path, capsys):
    lines = [line(0, 7), line(1, 7, caption=" "), line(2, 7, float("nan")), line(3, 7, None)]
    folder = publish(tmp_path / "p", [*lines, line(4, 7)])
    (folder / "SDXL_step_10_training.json").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    source, golden = noises(0, 7)
    np.savez(folder / "0_7.npz", source, golden * np.float16(np.inf), 0)
    assert main([str(folder), str(tmp_path / "out")]) == 0
    assert list(read_pairs(tmp_path / "out", kept_only=False)) == []
    (shard,) = list_shards(tmp_path / "out")
    assert [candidate.reason for candidate in shard.tried] == ["not finite"] * 3
    text = capsys.readouterr().out
    assert "1 left out: empty" in text and "1 left out: npz without a line" in text


@pytest.mark.parametrize(
    ("scores", "arguments", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [], ["aes", "hpsv2", "imagereward", "pickscore"]),
        ([1.0, 2.0], ["--metrics", "mps,hpsv2"], ["hpsv2", "mps"]),
        ([], [], []),
    ],
)
def test_scores_have_the_names_of_the_script_or_those_given(tmp_path, scores, arguments, expected):
    changes = {"original_score_list": scores, "optimized_score_list": [score + 1 for score in scores]}
    folder = publish(tmp_path / "p", [line(0, 7, **changes)])
    assert main([str(folder), str(tmp_path / "out"), *arguments]) == 0
    (pair,) = read_pairs(tmp_path / "out")
    assert sorted(pair.scores) == expected


def trap():
    """A pickle that would leave a trace if it were loaded."""

    class Trap:
        def __reduce__(self):
            return (open, ("/tmp/npnet-trap", "w"))

    return Trap()


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


GOOD = npy(np.zeros((1, 4, 8, 8), np.float16))
DAMAGED = {
    "empty": (b"", "is not a pair of noises"),
    "a pickle": (pickle.dumps(trap()), "is not a pair of noises"),
    "an object array": (archive(arr_0=npy(np.array([trap()])), arr_1=GOOD), "allow_pickle=False"),
    "one noise": (archive(arr_0=GOOD), "has no arr_1 (got: arr_0)"),
    "two shapes": (archive(arr_0=GOOD, arr_1=npy(np.zeros((1, 4, 8, 9), np.float16))), "arr_1 float16 (1, 4, 8, 9)"),
    "whole numbers": (archive(arr_0=npy(np.zeros((1, 4, 8, 8), int)), arr_1=GOOD), "arr_0 is int64"),
    "a vector": (archive(arr_0=npy(np.zeros(8)), arr_1=npy(np.zeros(8))), "noises of shape (1, C, h, w)"),
    "another index": (archive(arr_0=GOOD, arr_1=GOOD, arr_2=npy(np.array(5))), "its arr_2 says index 5"),
    "cut": (archive(arr_0=GOOD, arr_1=GOOD)[:-30], "is not a pair of noises"),
    "a lying header": (archive(arr_0=GOOD.replace(b"(1, 4, 8, 8)", b"(9, 4, 9, 9)"), arr_1=GOOD), "EOF"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_or_hostile_file_is_one_line_that_names_it(tmp_path, capsys, name):
    data, message = DAMAGED[name]
    folder = publish(tmp_path / "p", [line(0, 7)])
    (folder / "0_7.npz").write_bytes(data)
    error = refusal(capsys, folder, tmp_path / "out")
    assert "0_7.npz: " in error and message in error
    assert not Path("/tmp/npnet-trap").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'index': 0, 'seed': 7, 'caption': 'a'}", "line 1 is not JSON: "),  # what eval would take
        ("__import__('os').system('touch /tmp/npnet-trap')", "line 1 is not JSON: "),
        ("[]", "line 1: is not a record"),
        (json.dumps(line(0, 7)) + "\n" + json.dumps(line(0, 7, caption=...)), "line 2: 'caption' is missing"),
        (json.dumps(line("0", 7)), 'index="0": a whole number of at least 0 is needed'),
        (json.dumps(line(0, 7, caption=3)), "caption=3: a text"),
        (json.dumps(line(0, 7, original_score_list=[1, 2])), "2 original scores, 1 optimized ones"),
        (json.dumps(line(0, 7, original_score_list=["x"])), "score=x: a number"),
        (json.dumps(line(0, 8)), "index 0 and seed 8 has no 0_8.npz"),
        (json.dumps(line(0, 7)) + "\n" + json.dumps(line(0, 7)), "appears twice"),
        ("", "names no pair of"),
        ("[" * 100_000, "line 1 is nested more than 100 levels deep"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, capsys, text, message):
    folder = publish(tmp_path / "p", [line(0, 7)])
    (folder / "SDXL_step_10_training.json").write_text(text)
    assert message in refusal(capsys, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/npnet-trap").exists()


def test_folders_that_cannot_be_converted_are_refused(published, tmp_path, capsys):
    assert "no such folder" in refusal(capsys, tmp_path / "none", tmp_path / "out")
    assert "which is only read" in refusal(capsys, published, published / "out")
    (published / "other.json").write_text("{}")
    assert "exactly one .json or .jsonl" in refusal(capsys, published, tmp_path / "out")
    (published / "other.json").unlink()
    (published / "name.npz").touch()
    assert "name.npz: is not named INDEX_SEED.npz" in refusal(capsys, published, tmp_path / "out")
    assert "chunk_size=0: a whole number of at least 1" in refusal(
        capsys, published, tmp_path / "out", "--chunk-size", "0"
    )
    assert "output_dir=null: this key is missing" in refusal(capsys, published)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.json").write_text(json.dumps(line(0, 7)))
    assert "holds no INDEX_SEED.npz" in refusal(capsys, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_keys_are_written_as_everywhere_else_and_workers_change_no_byte(published, tmp_path, capsys):
    assert main([str(published), str(tmp_path / "a"), "--chunk-size", "2", "--metrics", "hpsv2"]) == 0
    keys = [f"pairs={published}", f"output_dir={tmp_path / 'b'}", "chunk_size=2", "metrics=[hpsv2]", "workers=2"]
    assert main(keys) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    capsys.readouterr()
    assert main(["--help"]) == 0
    assert "npnet convert [pairs=]PAIRS [output_dir=]OUTPUT_DIR" in capsys.readouterr().out
    assert "output_dir=s3://bucket/x" in refusal(capsys, published, "s3://bucket/x")


def test_the_real_command_runs(published, tmp_path):
    command = [sys.executable, "-m", "collect.convert", str(published), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keep rate" in done.stdout

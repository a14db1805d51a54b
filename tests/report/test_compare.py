import json
import shutil
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from npnet.report.command import evaluate
from npnet.report.compare import NO_FEATURES, compare, groups, main
from npnet.report.runs import read_run
from tests.commands import exit_code
from tests.evaluation.extra_fakes import PROMPTS, config


def run(folder, noise, prompts=PROMPTS, per_prompt=2, **changes):
    value = config(list(prompts), per_prompt, noise, output_dir=str(folder), keep_images=0, **changes)
    evaluate(OmegaConf.create(value))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return run(folder / "one", ("standard", "redraw")), run(folder / "other", ("standard", "best"))


def test_two_runs_say_what_one_run_of_both_says(two, finished):
    found = compare([read_run(folder) for folder in two], 500)
    whole = json.loads((finished / "results.json").read_text())
    assert list(found["methods"]) == ["standard", "redraw", "best"]
    for label, method in whole["methods"].items():
        assert found["methods"][label]["metrics"] == method["metrics"]
        assert found["methods"][label]["versus"] == method["versus"]
        assert found["methods"][label]["diversity"] == method["diversity"]
        assert found["methods"][label]["noise"] == method["noise"]


def test_without_cells_the_column_says_why_it_is_empty(two, tmp_path):
    folder = tmp_path / "copied"
    folder.mkdir()
    for name in ("results.json", "samples.jsonl"):
        shutil.copy(two[0] / name, folder)
    found = compare([read_run(folder)], 50)
    assert found["diversity"]["absent"] == NO_FEATURES
    assert found["methods"]["redraw"]["noise"]["norm"]["count"] == 24


def test_only_common_samples_are_paired(two, tmp_path):
    less = read_run(run(tmp_path, ("standard", "again"), PROMPTS[2:5], per_prompt=1))
    found = compare([read_run(two[0]), less], 100)
    assert (found["num_pairs"], found["num_prompts"]) == (3, 3)
    assert list(found["methods"]) == ["standard", "redraw", "again"]


def test_runs_of_other_samples_are_told_apart(two, tmp_path, capsys):
    other = run(tmp_path, ("standard",), ["a thing of its own"])
    capsys.readouterr()
    assert [len(group) for group in groups([read_run(folder) for folder in (*two, other)])] == [2, 1]
    assert exit_code(main, *map(str, (*two, other)), "num_resamples=50") == 0
    said = capsys.readouterr().out
    assert said.startswith("2 tables, because these share no samples")
    assert said.count("**Mean score**") == 2


def test_a_method_that_scores_otherwise_under_the_same_label_keeps_its_runs_name(two, tmp_path):
    third = run(tmp_path / "third", ("standard",), num_inference_steps=2)
    found = compare([read_run(two[0]), read_run(third)], 50)
    assert list(found["methods"]) == ["standard", "redraw", f"standard @ {third}"]


def test_scores_that_only_rounding_tells_apart_are_of_one_method(two):
    one, other = (read_run(folder) for folder in two)
    for line in other.lines["standard"]["standard"].values():
        line["scores"] = {name: score * (1 + 1e-6) for name, score in line["scores"].items()}
    assert list(compare([one, other], 50)["methods"]) == ["standard", "redraw", "best"]


def test_a_metric_of_other_settings_is_another_metric(two):
    one, other = read_run(two[0]), read_run(two[1])
    other.results["settings"]["metric"]["close"]["_target_"] = "elsewhere.Close"
    assert list(compare([one, other], 50)["metrics"]) == ["target"]


@pytest.mark.parametrize("harm", ["results.json", "samples.jsonl", "a line"])
def test_a_run_that_cannot_be_paired_is_one_line(two, tmp_path, capsys, harm):
    folder = tmp_path / "run"
    shutil.copytree(two[0], folder)
    if harm == "a line":
        (folder / "samples.jsonl").write_text('{"prompt": 1}')
    else:
        (folder / harm).unlink()
    capsys.readouterr()
    assert exit_code(main, str(folder)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_several_training_seeds_cost_what_one_costs(two):
    run = read_run(two[0])
    (own,), methods = run.lines["redraw"].values(), run.digests["methods"]
    seeds = {f"redraw-{number}": own for number in range(2)}
    digests = {**run.digests, "methods": {**methods, **dict.fromkeys(seeds, methods["redraw"])}}
    found = compare([replace(run, lines={**run.lines, "redraw": seeds}, digests=digests)], 50)
    assert found["methods"]["redraw"]["cost"] == compare([run], 50)["methods"]["redraw"]["cost"]

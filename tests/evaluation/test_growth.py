"""An evaluation grows: what is there is not computed again, and the results are those of doing all of it at once."""

import itertools
import json

import pytest
from omegaconf import OmegaConf

from npnet.engine.denoising import Denoising
from npnet.errors import UserError
from npnet.evaluation.plan import make_plan
from npnet.report.command import evaluate
from npnet.work import atomic
from tests.evaluation.extra_fakes import PROMPTS, config
from tests.evaluation.test_command import comparable, state_of

WHOLE = {"noise": ("standard", "redraw", "best"), "metric": ("target", "close"), "prompts": 4, "per_prompt": 2}
LESS = {"noise": ("best", "standard"), "metric": ("target",), "prompts": 2, "per_prompt": 1}


def asked(folder, noise, metric, prompts, per_prompt, **changes):
    changes = {"output_dir": str(folder), "num_resamples": 50, **changes}
    value = config(list(PROMPTS[:prompts]), per_prompt, noise, **changes)
    value["metric"] = {name: value["metric"][name] for name in metric}
    return value


def run(folder, **changes):
    evaluate(OmegaConf.create(asked(folder, **{**WHOLE, "keep_images": 0, **changes})))


@pytest.fixture
def drawn(monkeypatch):
    """Counts the pictures that are drawn, by the label of their method."""
    counts = {}
    whole = Denoising.denoise

    def counting(self, task, *args, **options):
        counts[task.label] = counts.get(task.label, 0) + len(task.batch)
        return whole(self, task, *args, **options)

    monkeypatch.setattr(Denoising, "denoise", counting)
    return counts


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("at_once")
    run(folder)
    return folder


@pytest.mark.parametrize("order", [*itertools.permutations(LESS)][::7])
def test_growing_in_any_order_ends_as_doing_it_at_once(tmp_path, at_once, order):
    settings = dict(LESS)
    run(tmp_path, **settings)
    for key in order:
        settings[key] = WHOLE[key]
        run(tmp_path, **settings)
    assert comparable(tmp_path) == comparable(at_once)


def test_shrinking_ends_as_having_asked_for_less_and_draws_nothing(tmp_path, drawn):
    run(tmp_path / "less", **LESS)
    run(tmp_path / "grown")
    drawn.clear()
    run(tmp_path / "grown", **LESS)
    assert drawn == {}
    assert comparable(tmp_path / "grown") == comparable(tmp_path / "less")


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("noise", {"redraw": 8}),
        ("metric", {"standard": 8, "redraw": 8, "best": 8}),
        ("prompts", {"standard": 4, "redraw": 4, "best": 4}),
        ("per_prompt", {"standard": 4, "redraw": 4, "best": 4}),
    ],
)
def test_only_what_is_new_is_drawn_and_the_dry_run_says_so(tmp_path, drawn, capsys, key, new):
    run(tmp_path, **{key: LESS[key]})
    drawn.clear()
    before = state_of(tmp_path / "cells")
    capsys.readouterr()
    run(tmp_path, dry_run=True)
    said = capsys.readouterr().out
    assert drawn == {}
    run(tmp_path)
    assert drawn == new
    assert before.items() <= state_of(tmp_path / "cells").items()
    for label in WHOLE["noise"]:
        made = new.get(label, 0)
        assert f"  {label}: {8 - made} of 8 pairs there" + (f", {made} to be made" if made else "") in said


def test_an_added_metric_can_score_the_kept_pictures_and_this_is_said(tmp_path, drawn):
    run(tmp_path, metric=("target",), keep_images="all")
    drawn.clear()
    run(tmp_path, keep_images="all", added_metrics="kept")
    assert drawn == {}
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"]["close"]["notes"] == [
        "24 of 24 scores were made from kept pictures, files of 8 bits a colour"
    ]
    assert results["metrics"]["target"]["notes"] == []
    assert "24 of 24 scores were made from kept pictures" in (tmp_path / "report.html").read_text()
    run(tmp_path, keep_images="all")  # and what is there stays
    assert drawn == {}


def test_a_kept_picture_scores_as_the_sample_up_to_its_8_bits(tmp_path):
    run(tmp_path / "a", keep_images="all", noise=("standard",), metric=("close",))
    run(tmp_path / "a", keep_images="all", noise=("standard",), metric=("close", "target"), added_metrics="kept")
    run(tmp_path / "b", noise=("standard",), metric=("close", "target"))
    one, other = (scores(tmp_path / name, "target") for name in "ab")
    assert one == pytest.approx(other, abs=1e-3)
    assert one != other


def scores(folder, metric):
    return [json.loads(line)["scores"][metric] for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("key", ["num_pictures", "num_resamples", "chunk_size", "batch_size", "optimised"])
def test_keys_that_only_show_never_refuse_a_folder_and_draw_nothing(tmp_path, drawn, key):
    run(tmp_path)
    drawn.clear()
    other = {"optimised": ["close"], "num_resamples": 60}.get(key, 2)
    run(tmp_path, **{key: other})
    assert drawn == {}
    assert json.loads((tmp_path / "results.json").read_text())["settings"][key] == other


def test_pictures_that_were_not_kept_are_made_when_they_are_asked_for(tmp_path, drawn):
    run(tmp_path, keep_images=2)
    drawn.clear()
    run(tmp_path, keep_images=3)
    assert set(drawn.values()) == {1}
    assert len(list((tmp_path / "images").glob("*/*.webp"))) == 9
    run(tmp_path, keep_images=1)
    assert len(list((tmp_path / "images").glob("*/*.webp"))) == 3


def test_a_label_is_only_a_name(tmp_path, drawn):
    run(tmp_path, noise=("standard",))
    drawn.clear()
    run(tmp_path, noise=("again",))
    assert drawn == {}


def test_a_search_is_another_one_with_another_scorer():
    def digest(*metrics):
        value = asked("unset", **{**WHOLE, "noise": ("standard",)})
        value["metric"]["near"] = {"_target_": "tests.fakes.TargetScorer"}
        value["metric"] = {name: value["metric"][name] for name in metrics}
        value["noise"]["search"] = {"_target_": "npnet.noise.BestOfN", "num_inference_steps": 3, "guidance_scale": 2.0}
        return make_plan(OmegaConf.create(value)).methods["search"]

    assert digest("target") == digest("target", "close")  # a metric behind it changes nothing
    assert digest("close", "target") != digest("target")  # one before it is searched with


def test_a_folder_is_for_one_model_and_one_way_of_sampling(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="num_inference_steps"):
        run(tmp_path, num_inference_steps=2)


def test_a_folder_of_an_earlier_version_is_named_as_one(tmp_path):
    atomic.make_folder(tmp_path / "chunks")
    with pytest.raises(UserError, match="made by an earlier version"):
        run(tmp_path)

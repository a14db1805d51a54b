"""Diversity and noise in an evaluation: laws of their statistics, and when they are computed."""

import csv
import json

import pytest
import torch
from omegaconf import OmegaConf

from npnet.errors import UserError
from npnet.evaluation.cells import read_cell, write_cell
from npnet.evaluation.diversity import ONE_SEED, add_diversity, facts
from npnet.evaluation.plan import make_plan
from npnet.metrics.diversity import to_texts
from npnet.noise.runtime.whiteness import MEASURES
from npnet.report import diversity
from npnet.report.command import evaluate
from tests.evaluation.extra_fakes import PROMPTS, config
from tests.evaluation.test_command import comparable
from tests.evaluation.test_growth import drawn

__all__ = ["drawn"]

SEEDS = 3
TOLD = [prompt for prompt in PROMPTS for _ in range(SEEDS)]
FEATURES = torch.randn(len(TOLD), 4, generator=torch.Generator().manual_seed(0))
FIRSTS = FEATURES[[SEEDS * (row // SEEDS) for row in range(len(TOLD))]]
ONES = {name: [1.0] * len(TOLD) for name in MEASURES}


def found(**features):
    """The entries of methods whose pictures have these features, several for several networks, in a space ``s``."""
    several = {label: own if isinstance(own, list) else [own] for label, own in features.items()}
    columns = {label: [{**ONES, "s": to_texts(rows)} for rows in own] for label, own in several.items()}
    methods = {label: {} for label in columns}
    add_diversity(methods, columns, {"s": 1.0}, TOLD, 200)
    return {label: method["diversity"]["s"] for label, method in methods.items()}


def test_a_method_has_all_of_its_own_diversity_and_twice_the_distances_twice():
    entries = found(standard=FEATURES, same=FEATURES, twice=2 * FEATURES)
    for label, factor in (("standard", 1), ("same", 1), ("twice", 2)):
        distance = entries[label]["distance"]
        assert distance["share"] == pytest.approx(factor, abs=1e-3)
        assert distance["share_interval"] == pytest.approx([factor, factor], abs=1e-3)
        assert distance["difference"] == pytest.approx((factor - 1) * entries["standard"]["distance"]["mean"], abs=1e-3)
        assert (distance["count"], distance["shared_prompts"], distance["missing"]) == (len(PROMPTS), len(PROMPTS), 0)


def test_one_picture_for_every_seed_has_no_diversity():
    entry = found(standard=FEATURES, one=FIRSTS)["one"]
    assert entry["distance"]["mean"] == entry["distance"]["share"] == 0
    assert entry["vendi"]["mean"] == pytest.approx(1)
    assert entry["distance"]["difference_interval"][1] < 0


def test_a_prompt_with_a_picture_without_features_counts_for_neither_side_of_a_comparison():
    holes, less = FEATURES.clone(), 2 * FEATURES
    holes[0] = float("nan")
    less[SEEDS] = float("nan")
    entries = found(standard=holes, ours=less)
    count = len(PROMPTS)
    assert (entries["standard"]["distance"]["count"], entries["ours"]["distance"]["count"]) == (count - 1, count - 1)
    assert entries["ours"]["distance"]["shared_prompts"] == count - 2
    assert entries["ours"]["distance"]["share"] == pytest.approx(2, abs=1e-3)


def test_three_copies_of_a_network_say_what_it_says_and_of_two_it_is_the_mean():
    entries = found(
        standard=FEATURES, ours=2 * FEATURES, copies=[2 * FEATURES] * 3, mixed=[FEATURES, 3 * FEATURES, FIRSTS]
    )
    assert entries["copies"] == entries["ours"]
    shares = [1, 3, 0]
    assert entries["mixed"]["distance"]["share"] == pytest.approx(sum(shares) / 3, abs=1e-3)


def test_a_prompt_is_compared_where_at_least_one_network_has_all_its_pictures():
    holes = FEATURES.clone()
    holes[0] = float("nan")
    entry = found(standard=FEATURES, ours=[holes, FEATURES])["ours"]["distance"]
    assert (entry["count"], entry["shared_prompts"]) == (len(PROMPTS), len(PROMPTS))


def test_the_fewest_and_the_most_pictures_of_a_prompt_are_said():
    said = facts({}, ["standard"], ["a", "a", "b", "b", "b", "c"])
    assert (said["num_pictures"], said["num_prompts"]) == ([2, 3], 2)


def test_without_standard_the_first_method_is_what_the_others_are_shares_of():
    entries = found(ours=2 * FEATURES, other=FEATURES)
    assert entries["ours"]["distance"]["share"] == 1
    assert entries["other"]["distance"]["share"] == pytest.approx(0.5, abs=1e-3)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def asked(folder, **changes):
    return OmegaConf.create(config(output_dir=str(folder), num_resamples=50, **{"keep_images": 0, **changes}))


def test_every_table_names_the_space_and_each_sample_its_noise(finished):
    heading = "diversity (pixels), % of standard's"
    for name in ("results.md", "results.tex", "report.html"):
        text = (finished / name).read_text()
        assert heading.replace("%", r"\%") in text or heading.replace("'", "&#39;") in text or heading in text
    told = results(finished)
    row = next(csv.DictReader((finished / "results.csv").open(newline="")))
    share = told["methods"]["standard"]["diversity"]["pixels"]["distance"]["share"]
    assert (float(row["pixels_distance_share"]), share) == (1, 1)
    lines = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    for label, method in told["methods"].items():
        own = [line["noise"]["norm"] for line in lines if line["method"] == label]
        assert method["noise"]["norm"]["mean"] == pytest.approx(sum(own) / len(own))


def test_one_seed_a_prompt_has_a_column_that_says_why_and_keeps_what_a_second_seed_needs(tmp_path, drawn):
    evaluate(asked(tmp_path, per_prompt=1, noise=("standard",)))
    told = results(tmp_path)
    assert told["diversity"]["absent"] == ONE_SEED
    assert "diversity" not in told["methods"]["standard"]
    assert diversity.cells(told, "standard") == [ONE_SEED]
    assert diversity.rows(told) == []
    for name in ("results.md", "results.tex", "report.html"):
        assert ONE_SEED in (tmp_path / name).read_text()
    drawn.clear()
    evaluate(asked(tmp_path, per_prompt=2, noise=("standard",)))
    assert drawn == {"standard": len(PROMPTS)}
    assert results(tmp_path)["methods"]["standard"]["diversity"]["pixels"]["distance"]["count"] == len(PROMPTS)


def forget(folder):
    """Make the cells those of an earlier version, which kept neither features nor what noise is like."""
    for path in (folder / "cells").glob("*/*.json"):
        cell = read_cell(path)
        cell.values.clear()
        path.unlink()
        write_cell(path.parent, cell)
    (folder / "evaluation.json").unlink()


def test_features_that_an_earlier_version_did_not_keep_are_computed_again_and_the_dry_run_says_so(
    tmp_path, drawn, capsys
):
    evaluate(asked(tmp_path, noise=("standard",)))
    before = comparable(tmp_path)
    forget(tmp_path)
    capsys.readouterr()
    evaluate(asked(tmp_path, noise=("standard",), dry_run=True))
    assert "24 of them again for pixels" in capsys.readouterr().out
    evaluate(asked(tmp_path, noise=("standard",)))
    assert comparable(tmp_path) == before


def test_where_nothing_needs_them_an_earlier_versions_pictures_stay_and_their_noise_is_named(tmp_path, drawn):
    evaluate(asked(tmp_path, noise=("standard",), per_prompt=1))
    forget(tmp_path)
    drawn.clear()
    evaluate(asked(tmp_path, noise=("standard",), per_prompt=1))
    assert drawn == {}
    assert results(tmp_path)["methods"]["standard"]["noise"]["norm"]["missing"] == len(PROMPTS)
    assert f"Nothing is known about {len(PROMPTS)} noises" in (tmp_path / "results.md").read_text()


def test_a_space_that_is_added_later_can_read_the_kept_pictures(tmp_path, drawn):
    value = {"noise": ("standard",), "keep_images": "all", "added_metrics": "kept"}
    evaluate(asked(tmp_path, diversity={}, **value))
    assert "diversity" not in results(tmp_path)["methods"]["standard"]
    drawn.clear()
    evaluate(asked(tmp_path, **value))
    evaluate(asked(tmp_path / "whole", **value))
    assert drawn == {"standard": 24}  # of the second folder
    one, other = (
        results(folder)["methods"]["standard"]["diversity"]["pixels"] for folder in (tmp_path, tmp_path / "whole")
    )
    assert one["distance"]["mean"] == pytest.approx(other["distance"]["mean"], abs=2e-3)
    assert one != other


def test_a_space_that_does_not_read_these_pictures_is_refused_before_anything_is_loaded(tmp_path):
    node = {"_target_": "npnet.metrics.shapes_positions.ShapesPositions"}
    with pytest.raises(UserError, match=r"diversity.places reads pictures of backbone=shapes only"):
        make_plan(asked(tmp_path, diversity={"places": node}))

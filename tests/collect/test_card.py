"""The numbers of the data set card, from sidecars written by hand."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from collect import showcase, summary
from collect.card import card, gain_text
from collect.survey import Survey
from npnet.data.sidecars import Shard, TriedPair

GAINS = [0.5, -0.25, 0.125, -1.0, 0.75]
"""Of five pairs; those that gained are kept, and one of the others is written all the same."""


@pytest.fixture
def found():
    """A finished folder of one shard."""
    tried = tuple(
        TriedPair(f"{i}", f"p{i}", i, i, {"m": (1.0, 1.0 + gain)}, gain > 0, "" if gain > 0 else "no", gain > -1.0)
        for i, gain in enumerate(GAINS)
    )
    sidecar = {"num_bytes": 7, "cost": {"forwards": 150}}
    return Survey(Path("nowhere"), {}, 1, [Shard("x.tar", sidecar, tried)], [])


@pytest.fixture
def rows(found):
    """The card's table: name -> text."""
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", card(found, (4, 8, 8), set()), re.MULTILINE))


def test_the_hub_is_told_the_license_of_a_data_set(found):
    assert "\nlicense: cc-by-4.0\n" in card(found, (4, 8, 8), set(), "cc-by-4.0")
    assert "license" not in card(found, (4, 8, 8), set())


def test_pairs_are_counted_as_tried_kept_and_written(rows):
    counts = [rows[name] for name in ("pairs tried", "pairs kept", "pairs in the shards", "rejected, no")]
    assert counts == ["5", "3", "4", "2"]


def test_the_keep_rate_is_kept_of_tried(rows):
    assert rows["keep rate"].startswith("60.0% [")


def test_the_mean_gain_of_the_kept_is_that_of_the_kept(rows):
    assert rows["mean gain, m, tried"].startswith("+0.025 [")
    assert rows["mean gain, m, tried"].endswith("n = 5")
    assert rows["mean gain, m, kept"].startswith("+0.458 [")
    assert rows["mean gain, m, kept"].endswith("n = 3")


def test_the_cost_of_a_pair_is_that_of_a_tried_one(rows):
    assert rows["denoiser forwards per pair tried"] == "30"


def test_the_table_of_a_finished_command_says_what_the_card_says(found, rows, monkeypatch):
    printed = {}
    monkeypatch.setattr(summary, "print_facts", lambda folder, facts: printed.update(facts))
    summary.print_summary(found)
    for name in ("pairs tried", "pairs kept", "keep rate", "rejected, no"):
        assert printed[name] == rows[name]
    assert printed["mean gain, m"] == rows["mean gain, m, tried"]
    assert printed["forwards per pair"] == rows["denoiser forwards per pair tried"]


def test_a_mean_gain_has_the_normal_interval_of_95_percent():
    # mean 2, standard deviation 2, four pairs: 2 +- 1.96 * 2 / 2
    assert gain_text([3**0.5 + 2, 2 - 3**0.5, 3**0.5 + 2, 2 - 3**0.5]) == "+2 [+0.04, +3.96], n = 4"
    assert gain_text([0.5]) == "+0.5, n = 1"


def test_the_size_that_the_hub_is_told_is_that_of_the_pairs_in_the_shards():
    tried = tuple(TriedPair(f"{i}", "p", i, i, {"m": (0.0, 1.0)}, True, "", i > 0) for i in range(1000))
    found = Survey(Path("nowhere"), {}, 1, [Shard("x.tar", {"num_bytes": 7}, tried)], [])
    assert "- n<1K\n" in card(found, (4, 8, 8), set())


def test_the_smallest_of_the_batches_that_were_shrunk_is_said(found, monkeypatch):
    printed = {}
    monkeypatch.setattr(summary, "print_facts", lambda folder, facts: printed.update(facts))
    (shard,) = found.shards
    shards = [replace(shard, sidecar={**shard.sidecar, "smallest_batch": size}) for size in (4, 2, None)]
    summary.print_summary(replace(found, shards=shards))
    assert printed["batch size shrunk to"] == "2 (out of memory, in 2 shards)"


@pytest.mark.parametrize(
    ("selection", "selected_by", "margin"),
    [("all", ["m", "n"], 0.5), ("weighted", ["m", "n"], None), ("weighted", ["m"], 0.5), ("all", ["n"], None)],
)
def test_the_margin_is_drawn_where_it_stands_on_the_metrics_own_scale(found, selection, selected_by, margin):
    request = {"selection": selection, "selected_by": selected_by, "margin": 0.5}
    assert showcase._margin(replace(found, request=request), "m") == margin

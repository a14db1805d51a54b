"""What is gathered from cells is each sample's own; which cells count is decided by what decides their numbers."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from npnet.data.prompts import Sample
from npnet.engine.methods import Trace
from npnet.evaluation import samples_file
from npnet.evaluation.cells import Cell, Drawn, Noted, folder_of, write_cell
from npnet.evaluation.gathering import gather
from npnet.evaluation.identity import method_digest, metric_digest, setting_of
from npnet.evaluation.lacking import describe, lacking
from npnet.evaluation.plan import Wanted
from npnet.evaluation.store import Store
from npnet.noise.runtime.whiteness import MEASURES
from npnet.records import Cost

SAMPLES = [Sample(2, "c", 2), Sample(0, "a", 0), Sample(1, "b", 1)]
SEARCH = Trace([1.0, 2.0], [[0.1, 0.2], [0.3, 0.4]])


def cell(keys, scores, drawn):
    return Cell(keys, {"metric": scores}, {"metric": Noted([], False)}, {}, drawn)


@pytest.fixture
def store(tmp_path):
    two = Drawn("cpu", False, Cost(8, 4, 2), [(2, 6.0)], 10, [SEARCH], [None, None])
    one = Drawn("cpu", False, Cost(3, 5, 7), [(1, 9.0)], 30, [], [None])
    for found in (cell([("a", 0), ("b", 1)], [0.1, 0.2], two), cell([("c", 2)], [0.3], one)):
        write_cell(folder_of(tmp_path, "method"), found)
    return Store(tmp_path, ["method"])


def test_every_sample_has_the_cost_the_seconds_and_the_trace_of_its_own_cell(store):
    found = gather(store, "method", {"m": "metric"}, SAMPLES, tuple(MEASURES))
    assert found.record.scores == {"m": [0.3, 0.1, 0.2]}
    assert found.costs == [(3.0, 5.0, 7.0), (4.0, 2.0, 1.0), (4.0, 2.0, 1.0)]
    assert found.seconds == [9.0, 3.0, 3.0]
    assert found.record.cost == Cost(11, 9, 9)
    assert found.record.peak_bytes == 30
    assert found.record.traces == [Trace([1.0, 2.0], [[0.1], [0.3]]), Trace([1.0, 2.0], [[0.2], [0.4]])]
    plan = SimpleNamespace(members={"x": ["x"]}, samples=SAMPLES)
    costs = [json.loads(line)["cost"] for line in samples_file.to_lines(plan, {"x": found}).splitlines()]
    assert [tuple(cost.values()) for cost in costs] == [
        (*own, seconds) for own, seconds in zip(found.costs, found.seconds, strict=True)
    ]


def test_a_score_of_the_picture_itself_comes_before_that_of_its_kept_file(tmp_path):
    drawn = Drawn("cpu", False, Cost(), [(1, 1.0)], pictures=[None])
    for found in (cell([("a", 0)], [0.25], None), cell([("a", 0)], [0.5], drawn)):
        write_cell(folder_of(tmp_path, "method"), found)
    _, there, place = Store(tmp_path, ["method"]).score("method", "metric", ("a", 0))
    assert there.scores["metric"][place] == 0.5


def test_pictures_that_are_kept_and_not_scored_are_not_counted_as_there(store, monkeypatch):
    monkeypatch.setattr(store, "has_picture", lambda method, key: True)
    wanted = Wanted({"x": "method"}, {"new": "other"}, frozenset(), from_pictures=True)
    works = lacking(store, wanted, SAMPLES)
    assert "x: 0 of 3 pairs there, 3 kept pictures to be scored" in describe(works, store, wanted, len(SAMPLES))
    first = replace(wanted, metrics={"m": "metric"})
    assert "x: 3 of 3 pairs there" in describe(lacking(store, first, SAMPLES), store, first, len(SAMPLES))


CONFIG = {"backbone": {"path": None, "device": "cpu"}, "num_inference_steps": 4, "guidance_scale": 5.0}
CONFIG |= {"sampler": "default", "seed": 0}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"backbone": {"path": None, "device": "cuda"}}, True),
        ({"backbone": {"path": "x", "device": "cpu"}}, False),
        ({"num_inference_steps": 5}, False),
        ({"guidance_scale": 5.5}, False),
        ({"sampler": "ddim"}, False),
        ({"seed": 1}, False),
        ({"batch_size": 7}, True),
    ],
)
def test_what_decides_a_picture_is_in_the_setting_of_its_cell(change, same):
    assert (setting_of({**CONFIG, **change}) == setting_of(CONFIG)) is same


def test_a_search_is_another_one_where_the_metric_that_it_searches_with_is_another():
    search = SimpleNamespace(applied_network=None, scorers=("m",))

    def digest(metrics):
        return method_digest(setting_of(CONFIG), {"scorer": "m"}, search, None, metrics)

    assert digest({"m": "1", "other": "1"}) == digest({"m": "1", "other": "2"}) != digest({"m": "2", "other": "1"})


def test_a_file_that_was_written_again_makes_another_metric(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"x")
    before = metric_digest({"path": str(file)})
    os.utime(file, ns=(0, 10**18))
    assert metric_digest({"path": str(file)}) != before

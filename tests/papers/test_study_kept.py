"""What a study keeps beside its page, and what it takes from there."""

import json
import shutil
from dataclasses import replace

import pytest

from npnet.papers.asked import FOLDER, Asked
from npnet.papers.jobs import Job
from npnet.papers.study import Goal, Part, Study
from npnet.papers.study_command import pictures_of
from npnet.papers.study_kept import is_kept, keep, with_kept
from npnet.papers.study_page import made_of, study_page
from tests.papers.conftest import Saying

PART = Part("Part", settings=("shapes",), versus=(("best", "redraw"),), sheet=1)
STUDY = Study("A study", "Read this.", "close", "pixels", {"first": PART})


@pytest.fixture
def ran(finished, tmp_path):
    """A study that ran in a folder: its jobs, what was asked, and a page elsewhere."""
    asked = Asked(folder=tmp_path / "runs")
    folder = asked.folder / "shapes/first/pick_a_pic"
    shutil.copytree(finished, folder)
    trained = Job("train", asked.folder / "shapes/networks/one", {"network_path": str(asked.folder / "shapes/a")})
    keys = {"noise": ["standard", "redraw", "best"]}
    return [trained, Job("evaluate", folder, keys, place={"prompts": "pick_a_pic"})], asked, tmp_path / "docs/page.md"


@pytest.fixture
def elsewhere(ran):
    """The same study, kept beside its page and planned on a machine where nothing ran."""
    jobs, asked, page = ran
    made = made_of(jobs)
    (job, results), *_ = made.done
    keep(job, results, PART, STUDY, asked, page)
    shutil.rmtree(asked.folder)
    return jobs, asked, page, made


def test_what_is_kept_is_not_run_again_and_nothing_is_made_that_only_it_needed(elsewhere):
    jobs, asked, page, _ = elsewhere
    (left,) = with_kept(jobs, asked, page)
    assert left.command == "evaluate" and left.is_done and is_kept(left, asked)


def test_a_part_with_an_evaluation_to_run_keeps_its_trainings(elsewhere):
    jobs, asked, page, _ = elsewhere
    other = replace(jobs[1], output_dir=asked.folder / "shapes/first/complex")
    found = with_kept([*jobs, other], asked, page)
    assert [job.command for job in found] == ["train", "evaluate", "evaluate"]
    assert [is_kept(job, asked) for job in found] == [False, True, False]


@pytest.mark.parametrize("key, value", [("noise", ["standard", "another"]), ("seeds.per_prompt", 7)])
def test_an_evaluation_with_other_methods_or_keys_is_run(elsewhere, key, value):
    jobs, asked, page, _ = elsewhere
    changed = replace(jobs[1], keys={**jobs[1].keys, key: value})
    assert with_kept([changed], asked, page) == [changed]


def test_results_in_the_folder_come_first(ran):
    jobs, asked, page = ran
    (job, results), *_ = made_of(jobs).done
    keep(job, results, PART, STUDY, asked, page)
    assert with_kept(jobs, asked, page) == jobs


def test_the_page_is_the_same_from_what_is_kept(elsewhere):
    jobs, asked, page, made = elsewhere
    there = made_of(with_kept(jobs, asked, page))
    with_goal = replace(STUDY, goals={"a": Goal("good", against="redraw", forwards=1000, above=-1.0, diversity=0.0)})
    one, other = (study_page("one", with_goal, {("first", "shapes"): found}, Saying(), {}) for found in (made, there))
    assert one.replace(" This part is not finished.", "") == other
    assert "best against redraw" in other


def test_a_sheet_of_pictures_that_are_elsewhere_stays_as_it_is(elsewhere):
    jobs, asked, page, _ = elsewhere
    parts = {("first", "shapes"): made_of(with_kept(jobs, asked, page))}
    page.parent.mkdir(exist_ok=True)
    assert "sheet_first" not in pictures_of(STUDY, parts, asked, page)
    page.with_name("page_sheet.png").write_bytes(b"drawn there")
    drawn = pictures_of(STUDY, parts, asked, page)
    assert drawn == {"plot": "page.png", "sheet_first": "page_sheet.png"}
    assert page.with_name("page_sheet.png").read_bytes() == b"drawn there"


def test_no_path_of_the_machine_is_kept(ran):
    jobs, asked, page = ran
    (job, results), *_ = made_of(jobs).done
    path = str(asked.folder / "shapes/networks/one/network")
    results = {**results, "settings": {**results["settings"], "networks": [{"network_path": path}]}}
    keep(job, results, PART, STUDY, asked, page)
    text = (page.with_suffix("") / "shapes/first/pick_a_pic/results.json").read_text()
    assert str(asked.folder) not in text
    assert json.loads(text)["settings"]["networks"][0]["network_path"] == f"{FOLDER}/shapes/networks/one/network"

"""A study: its plan, what its page says of finished evaluations, and which goals are reached."""

from dataclasses import replace

import pytest

from npnet.errors import UserError
from npnet.papers.asked import Asked
from npnet.papers.costs import composed, cost
from npnet.papers.jobs import Job
from npnet.papers.setting import settings
from npnet.papers.study import Goal, Part, Study, studies
from npnet.papers.study_command import jobs_of, main
from npnet.papers.study_page import Made, difference, made_of, reached, study_page
from npnet.report.frontier import read
from tests.papers.conftest import Saying

PART = Part("Part", settings=("shapes",), versus=(("best", "redraw"), ("best", "absent")))
STUDY = Study("A study", "Read this.", "close", "pixels", {"first": PART, "second": PART}, outro="The end.")
GOAL = Goal("cheap and good", against="redraw", forwards=1000, above=-1.0, diversity=0.0)


@pytest.fixture(scope="session", params=sorted(studies()))
def planned(request):
    """A study, and the jobs of its parts."""
    name = request.param
    return studies()[name], jobs_of(name, studies()[name], Asked())


def test_every_job_is_one_that_its_command_takes(planned):
    _, parts = planned
    seen = set()
    for jobs in parts.values():
        for job in jobs:
            kind = tuple(key for key in job.keys if key not in ("seed", "init_from")), job.output_dir.parent
            if kind not in seen:  # of several training seeds, the first
                seen.add(kind)
                assert cost(job) is not None


def test_a_folder_belongs_to_one_job(planned):
    _, parts = planned
    found = {}
    for jobs in parts.values():
        for job in jobs:
            assert found.setdefault(job.output_dir, job.overrides) == job.overrides, job.output_dir


def test_a_network_is_trained_before_what_starts_from_it_or_applies_it(planned):
    study, parts = planned
    for (part, where), jobs in parts.items():
        trained = []
        for job in jobs:
            folder = str(job.output_dir / "network")
            if job.command == "train":
                assert job.keys.get("init_from") is None or job.keys["init_from"] in trained
                trained.append(folder)
        roles = study.parts[part].networks_of(where)
        own = [label for label, role in roles.items() if role.network_of is None]
        assert len(trained) == len(own) * len(settings()[where].training_seeds)


def test_each_row_of_networks_has_three_training_seeds_and_four_noises_of_a_prompt(planned):
    study, parts = planned
    for (part, where), jobs in parts.items():
        for job in (job for job in jobs if job.command == "evaluate"):
            config = composed(job)
            assert config["seeds"]["per_prompt"] == 4
            for label in study.parts[part].networks_of(where):
                assert "seed_{0,1,2}/network" in config["noise"][label]["network_path"], label


def test_the_goals_and_comparisons_name_rows(planned):
    study, _ = planned
    for part in study.parts.values():
        rows = {*part.methods, *part.networks, *(label for own in part.networks_on.values() for label in own)}
        assert {label for pair in part.versus for label in pair} <= rows
    assert {goal.against for goal in study.goals.values()} <= set(next(iter(study.parts.values())).methods)


@pytest.fixture
def job(finished):
    return Job("evaluate", finished, {"noise": ["standard", "redraw", "best"]}, place={"prompts": "pick_a_pic"})


def test_the_page_shows_finished_parts_and_says_which_are_not(job):
    study = replace(STUDY, parts={**STUDY.parts, "second": replace(PART, title="Later")})
    parts = {("first", "shapes"): [job], ("first", "shapes_b"): [], ("second", "shapes"): []}
    page = study_page("one", study, {key: made_of(jobs) for key, jobs in parts.items()}, Saying(), {})
    assert page.startswith("# A study\n\nRead this.")
    heading = next(line for line in page.splitlines() if line.startswith("| noise"))
    assert "diversity (pixels), % of standard's" in heading and "low-frequency share" in heading
    assert page.count("| best |") == 1 and "| best against redraw |" in page and "absent" not in page
    assert page.count("Not run yet.") == 1 and "have not run yet: Later." in page and "## Later" not in page
    assert page.index("The end.") < page.index("npnet study one")


def test_an_evaluation_without_all_its_methods_is_said_to_be_unfinished(job):
    lacking = replace(job, keys={"noise": ["standard", "other"]})
    page = study_page("one", STUDY, {("first", "shapes"): made_of([lacking])}, Saying(), {})
    assert "This part is not finished." in page


@pytest.mark.parametrize(
    "smoke, num_done, num_planned, shown",
    [(False, 1, 1, True), (True, 1, 1, False), (False, 0, 1, False), (False, 1, 2, False)],
)
def test_findings_are_of_finished_parts_at_full_size(job, smoke, num_done, num_planned, shown):
    results = {**read(job.output_dir), "smoke": smoke}
    made = Made([job] * num_planned, [(job, results)] * num_done)
    study = replace(STUDY, parts={"first": replace(PART, findings="It was found.")})
    page = study_page("one", study, {("first", "shapes"): made}, Saying(), {})
    assert ("It was found." in page) == shown


def test_a_difference_is_the_paired_one_and_nothing_where_a_row_is_missing(finished):
    results = read(finished)
    found = results["methods"]["best"]["versus"]["redraw"]["close"]
    assert difference(results, "best", "redraw", "close").startswith(f"{100 * found['mean_difference']:+.1f} [")
    assert difference(results, "best", "absent", "close") is None


def test_a_goal_is_reached_where_cost_diversity_and_the_lower_end_allow_it(finished):
    results = read(finished)
    best = results["methods"]["best"]
    low = best["versus"]["redraw"]["close"]["difference_interval"][0]
    share, forwards = best["diversity"]["pixels"]["distance"]["share"], best["cost"]["forwards"]
    tight = replace(GOAL, above=low - 0.01, diversity=max(0.0, min(1.0, share) - 0.01), forwards=int(forwards))

    def said(goal):
        return reached(goal, results, "close", "pixels")

    assert said(tight).startswith("reached by best (")
    assert "best (" not in said(replace(tight, forwards=int(forwards) - 1))
    assert said(replace(tight, above=low + 2)).startswith("not reached; closest: ")
    assert said(replace(tight, forwards=1)) == "not reached: no method with at most 1 forward has the diversity"


def test_a_part_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UserError, match="part 'network' is not known.*networks"):
        main(["frontier", "parts=[network]", "dry_run=true"])


@pytest.mark.slow
def test_a_study_runs_from_nothing_to_its_page_at_smoke_size(tmp_path):
    command = ["frontier", "parts=[networks,targets]", "smoke=true", f"folder={tmp_path}"]
    assert main(command) == 0
    text = (tmp_path / "smoke" / "frontier" / "README.md").read_text()
    assert "SMOKE: " in text and "| pairs_of_reno |" in text and "![Quality against diversity](README.png)" in text
    assert (tmp_path / "smoke" / "frontier" / "README_sheet.png").stat().st_size > 5_000

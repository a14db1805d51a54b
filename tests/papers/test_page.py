"""A page sets what is published beside what was found, and says whether the directions agree."""

import json
from dataclasses import replace

import pytest

from npnet.errors import UserError
from npnet.papers.asked import Asked
from npnet.papers.book import _verdicts, book, makeable
from npnet.papers.command import main
from npnet.papers.jobs import Job
from npnet.papers.page import direction, page
from npnet.papers.planning import plan
from npnet.papers.table import tables


@pytest.mark.parametrize(
    ("gain", "interval", "said"),
    [
        (0.2, [0.1, 0.3], "yes"),
        (0.2, [-0.3, -0.1], "no"),
        (-0.2, [-0.3, -0.1], "yes"),
        (0.2, [-0.1, 0.3], "undecided"),
        (0.0, [0.1, 0.3], "published: none"),
        (None, [0.1, 0.3], ""),
        (0.2, None, ""),
    ],
)
def test_a_direction_is_the_same_only_where_the_interval_leaves_out_zero(gain, interval, said):
    assert direction(gain, interval) == said


def versus(difference, interval):
    numbers = {"count": 400, "num_prompts": 100, "missing": 0, "wins": 1.0, "losses": 0.0, "winning_rate": 1.0}
    numbers |= {"ties": 0.0, "interval": [0.9, 1.0], "p_value": 0.1, "sign_test_p_value": 0.1, "optimised": True}
    return {**numbers, "mean_difference": difference, "difference_interval": interval, "verdict": "better"}


@pytest.fixture
def job(tmp_path):
    """A finished evaluation of SDXL on HPD: repaint gains, by HPSv2, where the paper's figure is a slip."""
    entry = {
        "mean": 0.30,
        "interval": [0.29, 0.31],
        "count": 400,
        "missing": 0,
        "display_scale": 100,
        "optimised": True,
    }
    cost = {"forwards": 102.0, "backwards": 0.0, "scorer_calls": 0.0, "seconds": 2.5, "peak_bytes": None, "count": 400}
    gain = {"standard": {"hpsv2": versus(0.004, [0.001, 0.007])}}
    methods = {
        "standard": {"metrics": {"hpsv2": entry}, "versus": {}, "cost": cost},
        "repaint": {"metrics": {"hpsv2": entry}, "versus": gain, "cost": cost},
    }
    facts = {"display_scale": 100, "zero_or_one": False, "random_weights": False, "notes": []}
    results = {"schema_version": 1, "num_pairs": 400, "num_prompts": 100, "smoke": False, "methods": methods}
    results |= {"metrics": {"hpsv2": facts}, "settings": {}, "device": [], "versions": {}, "notes": []}
    (tmp_path / "results.json").write_text(json.dumps(results))
    return Job("evaluate", tmp_path, {}, 100, None, {"prompts": "hpd"})


def test_a_row_has_the_published_figure_and_gain_beside_ours_with_its_interval(job):
    text = page(tables()["table2"], "sdxl", [job], Asked())
    ours = "30.0 [29.0, 31.0]† | +0.4 [+0.1, +0.7]† | 100 [90, 100]†"
    assert f"| repaint | hpsv2, x 100 | 29.78 | +0.07 | {ours} | yes |" in text
    assert "| repaint | 102 | 2.5 s |" in text
    assert "400 pairs of hpd in each evaluation" in text
    assert "repeats the row of inversion" in text


def test_what_is_not_finished_is_said_and_not_shown(job, tmp_path):
    other = Job("evaluate", tmp_path / "none", {}, 100, None, {"prompts": "drawbench"})
    text = page(tables()["table2"], "sdxl", [job, other], Asked())
    assert "1 of 2 evaluations are finished" in text
    assert "drawbench" not in text


def test_a_table_without_published_figures_has_no_columns_for_them(job):
    text = page(tables()["figure4"], "sdxl", [job], Asked())
    assert "| method | metric | ours |" in text and "prints no figures" in text
    assert "same direction" not in text


def test_what_a_paper_only_says_in_words_stands_on_the_page(job):
    table = tables()["noise_diffusion_rounds"]
    assert not table.claims, "another table shows it"
    text = page(tables()["noise_diffusion"], "sd14", [], Asked())
    assert all(f"- {claim}" in text for claim in tables()["noise_diffusion"].claims)


def test_an_evaluation_that_lacks_a_method_is_not_done(job):
    """So that a table to which a method was added is made anew: the evaluation computes what is new."""
    assert replace(job, keys={"noise": ["standard", "repaint"]}).is_done
    assert (
        replace(job, keys={"noise": ["standard"], "+noise.own._target_": "a.B", "noise.repaint.k": 1}).is_done is False
    )
    grown = replace(job, keys={"noise": ["standard", "npnet"]})
    assert grown.is_there and not grown.is_done
    text = page(tables()["table2"], "sdxl", [grown], Asked())
    assert "| repaint | hpsv2" in text and "0 of 1 evaluations are finished" in text, "what is there is shown"


MADE = {"prompts": {"limit": 100}, "num_inference_steps": 50, "noise": {"npnet": {"network_path": "a.pth"}}}


@pytest.mark.parametrize(
    ("key", "value", "other"),
    [
        ("prompts.limit", 100, 8),
        ("num_inference_steps", 50, 10),
        ("metric", ["hpsv2"], ["hpsv2", "aes"]),
        ("network_path", "a.pth", "b.pth"),
        ("network_path", "a.pth", "seed_{0,1}"),
        ("prompts", "hpd", "hpd"),
    ],
)
def test_an_evaluation_of_other_prompts_or_another_network_is_not_done(job, key, value, other):
    """So that no figures are shown as those of something else."""
    path = job.output_dir / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "settings": MADE}))
    assert replace(job, keys={key: value}).is_done
    assert replace(job, keys={key: other}).is_done is (value == other)


def test_the_list_counts_the_verdicts_that_no_method_could_have_optimised():
    rows = ["| a | yes |", "| b | 1† | yes |", "| c | no |", "| d | undecided |", "| e | yes |", "| yes |  |"]
    assert _verdicts("\n".join(rows)) == "2 yes, 1 undecided, 1 no"


def test_other_metrics_than_the_papers_are_said_to_be(job):
    assert "only directions can be compared" in page(tables()["table2"], "shapes", [], Asked())
    assert "only directions can be compared" not in page(tables()["table2"], "sdxl", [job], Asked())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["table8", "setting=shapes"], "not possible: one scorer selects there"),
        (["table2", "setting=flux"], "not possible: the paper has no such rows"),
        (["semantic_erasure_trellis"], "not possible: an extension point"),
        (["table22"], "table2"),
        (["table2", "setting=sdx"], "sdxl"),
    ],
)
def test_what_cannot_be_made_is_refused_with_its_reason(arguments, line):
    with pytest.raises(UserError, match=line):
        main(arguments)


def test_the_list_has_every_table_and_states_why_one_is_not_possible(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name}  " in f"\n{text}" for name in tables())
    for table in tables().values():
        reasons = [table.not_possible] if isinstance(table.not_possible, str) else table.not_possible.values()
        assert all(reason in text for reason in reasons)
    assert text.index("table2  ") < text.index("table10  ")


def test_a_dry_run_says_each_command_and_its_cost_and_runs_nothing(capsys, tmp_path):
    assert main(["table15", "setting=sdxl", "dry_run=true", f"folder={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert "npnet collect backbone=sdxl" in text
    assert "140,000 pairs" in text or "140000 pairs" in text
    assert "7 commands of 7 to run" in text
    assert not list(tmp_path.iterdir())


def test_a_missing_prompt_file_is_named_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match=r"inputs=DIR with simple_cases\.json is needed"):
        main(["noise_diffusion", "setting=sd14", f"inputs={tmp_path}", f"folder={tmp_path}"])


def test_the_page_of_all_tables_shows_what_was_made_and_says_what_was_not(tmp_path):
    made = [name for name, where in makeable(Asked()) if where == "shapes"]
    text = book(Asked(folder=tmp_path))
    assert {"table2", "table4", "table9", "figure8", "noise_diffusion"} <= set(made)
    assert all(f"| `{name}` | shapes |" in text for name in made)
    assert "| `table9` | shapes | Golden Noise, table 9: thresholds of the selection | not run |" in text
    assert (
        "[below](#golden-noise-table-12-the-trained-gates)" in text
        and "\n## Golden Noise, table 12: the trained gates" in text
    )
    assert "`npnet paper table12 setting=shapes`" in text, "the gates of the shipped network need no run"


def test_a_table_of_smoke_size_is_said_to_have_run_and_its_figures_are_not_shown(job, tmp_path):
    asked = Asked(folder=tmp_path / "f", methods=("standard", "repaint"), keys={"metric": ["hpsv2"]})
    (small,) = plan("table2", tables()["table2"], "shapes", replace(asked, smoke=True))
    small.output_dir.mkdir(parents=True)
    (small.output_dir / "results.json").write_bytes((job.output_dir / "results.json").read_bytes())
    text = book(asked)
    assert "| `table2` | shapes | Golden Noise, table 2: the main comparison | smoke: all its commands ran" in text
    assert "repaint" not in text

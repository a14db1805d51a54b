"""Quality against diversity: the table says what the results say, and the pictures are made."""

import json

import pytest
from omegaconf import OmegaConf

from npnet.errors import UserError
from npnet.report.command import evaluate
from npnet.report.frontier import contact_sheet, plot, read, to_markdown
from tests.evaluation.extra_fakes import config


def test_the_table_has_a_row_for_each_method_with_its_share_of_standards_diversity(finished):
    results = read(finished)
    heading, _, *rows = to_markdown(results, ["close"]).splitlines()
    assert "diversity (pixels), % of standard's" in heading
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["standard", "redraw", "best"]
    share = results["methods"]["best"]["diversity"]["pixels"]["distance"]["share"]
    assert f"| {100 * share:.0f} [" in rows[2]


def test_the_plot_and_the_sheet_are_made(finished, tmp_path):
    results = read(finished)
    plot({"one": results, "other": results}, "close", "pixels", tmp_path / "plot.png")
    contact_sheet(finished, results, 2, "close", tmp_path / "sheet.png")
    assert (tmp_path / "plot.png").stat().st_size > 5_000 < (tmp_path / "sheet.png").stat().st_size


def test_what_is_not_there_is_told(tmp_path):
    evaluate(OmegaConf.create(config(noise=("standard",), per_prompt=1, output_dir=str(tmp_path), num_resamples=50)))
    with pytest.raises(UserError, match="diversity was not measured: Diversity: one seed per prompt"):
        read(tmp_path)


def test_pictures_that_were_not_kept_are_told(finished, tmp_path):
    (tmp_path / "samples.jsonl").write_bytes((finished / "samples.jsonl").read_bytes())
    with pytest.raises(UserError, match="was not kept; evaluate with keep_images=all"):
        contact_sheet(tmp_path, json.loads((finished / "results.json").read_text()), 1, "close", tmp_path / "sheet.png")

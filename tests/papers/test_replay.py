"""Tables from nothing to their pages, at smoke size, by the commands themselves."""

from dataclasses import replace

import pytest

from npnet.papers.command import main
from npnet.papers.table import tables
from npnet.report.formats import NONE


@pytest.mark.slow
def test_a_table_is_made_from_nothing_and_is_there_the_second_time(tmp_path, monkeypatch, capfd):
    table = tables()["table9"]
    few = {label: table.networks[label] for label in ("margin_0.005", "margin_0.005_equal_steps")}
    monkeypatch.setitem(tables(), "table9", replace(table, networks=few))
    command = ["table9", "setting=shapes", "smoke=true", f"folder={tmp_path}"]
    assert main(command) == 0
    text = (tmp_path / "smoke" / "shapes" / "table9" / "README.md").read_text()
    assert "| margin_0_005 | shapes_judge, % right |" in text
    assert f"| margin_0_005_equal_steps | shapes_scorer, x 100 | {NONE} |" in text
    assert "| margin_0_005 | shapes_scorer, x 100 | 28.79 (hpsv2) | +0.11 |" in text
    assert "SMOKE: " in text
    capfd.readouterr()
    assert main(command) == 0
    assert "0 commands of 6 to run" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("table2", "shapes"),
        ("figure8", "shapes"),
        ("table7", "shapes_b"),
        ("semantic_erasure", "shapes"),
        ("semantic_erasure_figure2", "shapes"),
        ("semantic_erasure_figure3", "shapes"),
    ],
)
def test_a_table_of_the_built_in_models_runs_to_its_end(name, where, tmp_path):
    assert main([name, f"setting={where}", "smoke=true", f"folder={tmp_path}"]) == 0
    assert (tmp_path / "smoke" / where / name / "README.md").read_text().startswith("## ")

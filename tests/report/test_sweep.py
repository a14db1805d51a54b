import json

import pytest
from omegaconf import OmegaConf

from npnet.errors import UserError
from npnet.report import formats
from npnet.report.command import evaluate
from npnet.report.sweep import main, read_runs, table
from tests.commands import exit_code
from tests.evaluation.extra_fakes import config


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Evaluations at 10 and at 3 steps, which an inversion at as many steps follows."""
    made = []
    for steps in (10, 3):
        folder = tmp_path_factory.mktemp(f"steps_{steps}")
        value = config(output_dir=str(folder), noise=("standard", "inversion"), num_inference_steps=steps)
        value["noise"]["inversion"]["num_inference_steps"] = steps
        evaluate(OmegaConf.create(value))
        made.append(folder)
    return made


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heading, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return heading, rows


def test_a_row_is_a_method_of_an_evaluation_in_the_order_of_what_differs(folders):
    heading, rows = cells(table(read_runs(folders)))
    assert heading[:2] == ["num_inference_steps", "method"]
    assert [row[:2] for row in rows] == [[s, m] for s in ("3", "10") for m in ("standard", "inversion")]
    assert {len(row) for row in rows} == {len(heading)} == {7}
    assert "SMOKE" in table(read_runs(folders))


def test_the_numbers_are_those_of_each_evaluation(folders):
    _, rows = cells(table(read_runs(folders)))
    for row, folder in ((rows[3], folders[0]), (rows[1], folders[1])):
        inversion = json.loads((folder / "results.json").read_text())["methods"]["inversion"]
        assert float(row[3].split()[0]) == pytest.approx(100 * inversion["metrics"]["close"]["mean"], abs=0.06)
        gain = float(row[5].split()[0].replace(formats.MINUS, "-"))
        assert gain == pytest.approx(100 * inversion["versus_standard"]["close"]["mean_difference"], abs=0.06)


def test_the_command_prints_the_table_and_draws_it(folders, tmp_path, capsys):
    assert exit_code(main, *map(str, folders), "--plot", str(tmp_path / "p.svg")) == 0
    assert capsys.readouterr().out == table(read_runs(folders))
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_one_evaluation_alone_has_no_column_of_settings(finished):
    heading, rows = cells(table(read_runs([finished])))
    assert heading[0] == "method"
    assert [row[0] for row in rows] == ["standard", "redraw", "best"]


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["{run}", "--plot", "nowhere/p.svg"], ["{run}", "--plots"]])
def test_a_mistake_is_one_line(folders, arguments, capsys):
    assert exit_code(main, *(argument.format(run=folders[0]) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_evaluations_by_other_metrics_do_not_go_together(folders, tmp_path):
    value = config(output_dir=str(tmp_path), noise=("standard",))
    value["metric"].pop("close")
    evaluate(OmegaConf.create(value))
    with pytest.raises(UserError, match="other metrics"):
        read_runs([*folders, tmp_path])

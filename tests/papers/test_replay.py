"""A table from nothing to its page, on few prompts: collect, select, train, evaluate, by the commands themselves."""

from dataclasses import replace

import pytest

from npnet.papers.command import main
from npnet.papers.setting import settings
from npnet.papers.table import tables
from npnet.report.wording import NONE


@pytest.mark.slow
def test_a_table_is_made_from_nothing_and_is_there_the_second_time(tmp_path, monkeypatch, capfd):
    small = settings()["shapes"]
    small = replace(
        small,
        pairs=replace(small.pairs, prompts=16, per_prompt=1, keys={**small.pairs.keys, "workers": 1}),
        recipe={**small.recipe, "trainer.max_epochs": 1},
        training_seeds=(0, 1),
        prompts={name: replace(choice, count=4) for name, choice in small.prompts.items()},
    )
    monkeypatch.setitem(settings(), "shapes", small)
    table = tables()["table9"]
    few = {label: table.networks[label] for label in ("margin_0.005", "margin_0.005_equal_steps")}
    monkeypatch.setitem(tables(), "table9", replace(table, networks=few))
    command = ["table9", "setting=shapes", f"folder={tmp_path}"]
    assert main(command) == 0
    text = (tmp_path / "shapes" / "table9" / "README.md").read_text()
    assert "| shapes_held_out | margin_0_005 | shapes_judge |" in text
    assert f"| shapes_held_out | margin_0_005_equal_steps | shapes_scorer | {NONE} |" in text
    assert "| shapes_held_out | margin_0_005 | shapes_scorer | 28.79 | +0.11 |" in text
    capfd.readouterr()
    assert main(command) == 0
    assert "0 commands of 9 to run" in capfd.readouterr().out

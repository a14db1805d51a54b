"""The guide to members of one's own does what it says."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from npnet import cli

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in re.findall(r"`(\S+)`:\n\n```\w+\n(.*?)```", GUIDE, re.DOTALL):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    sys.modules.pop("my_noise", None)


def ended(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["npnet", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


def test_the_noise_method_of_the_guide_keeps_every_law(folder, monkeypatch, capsys):
    assert ended(monkeypatch, "check", "noise=blend", "--config-dir", "my_conf") == 0
    assert re.search(r"\b0 broken", capsys.readouterr().out)


def test_the_comparison_of_the_guide_is_planned_and_the_flag_may_stand_between_keys(folder, monkeypatch, capsys):
    (command,) = re.findall(r"^npnet evaluate (.*)$", GUIDE, re.MULTILINE)
    assert ended(monkeypatch, "evaluate", *shlex.split(command), "prompts.limit=2", "dry_run=true") == 0
    assert "blend: denoiser forwards 8" in capsys.readouterr().out


def test_a_module_that_is_not_there_is_one_line_that_says_where_it_is_looked_for(folder, monkeypatch, capsys):
    (folder / "my_noise.py").unlink()
    assert ended(monkeypatch, "check", "noise=blend", "--config-dir", "my_conf") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: noise.blend: ")
    assert "PYTHONPATH" in said[0]

"""``npnet info`` says of each kind of file what it is."""

import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import npnet_lightning
from npnet.description import imported
from npnet.errors import UserError
from npnet.info import facts as module
from npnet.info.command import in_words, main
from npnet.info.facts import facts
from npnet.paths import shapes_weights
from tests.commands import exit_code
from tests.pairs import write_folder

ROOT = Path(__file__).parent.parent.parent


def test_a_network_says_what_selected_its_pairs_and_how_good_it_is():
    found = facts(shapes_weights() / "network")
    trained = json.loads((shapes_weights() / "network" / "training.json").read_text())
    assert found["kind"] == "network"
    assert found["selected_by"] == trained["selected_by"]
    assert found["pairs"] == trained["pairs"]
    assert found["val/relative_mse"] == trained["last_epoch_metrics"]["val/relative_mse"]
    assert found["config"] == json.loads((shapes_weights() / "network" / "config.json").read_text())


def test_shards_say_how_many_pairs_they_hold(tmp_path):
    found = facts(write_folder(tmp_path / "pairs", [3, 2]))
    assert (found["kind"], found["shards"], found["pairs tried"]) == ("shards", 2, 5)
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "pairs").glob("*.tar"))


def test_the_installation_names_what_is_used():
    found = facts(None)
    assert found["torch"] == metadata.version("torch")
    assert "warning" not in found


def test_another_distribution_of_the_same_import_name_is_told(monkeypatch):
    both = {"npnet": ["npnet-lightning", "npnet"]}
    monkeypatch.setattr(module.metadata, "packages_distributions", lambda: both)
    assert "pip uninstall npnet, then reinstall npnet-lightning" in facts(None)["warning"]


def test_json_is_for_programs(capsys):
    assert exit_code(main, str(shapes_weights() / "network"), "json=true") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "network"


def test_what_is_nothing_of_ours_is_one_line(tmp_path, capsys):
    (tmp_path / "x.png").write_bytes(b"no picture")
    for path in (tmp_path, tmp_path / "x.png", tmp_path / "nosuch"):
        with pytest.raises(UserError, match="not made by npnet|no such file"):
            facts(path)
    assert exit_code(main, str(tmp_path)) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "yes"),
        (None, "not known"),
        (12345, "12,345"),
        (["a", "b"], "a, b"),
        ({"a": 1, "b": [2]}, "a: 1\nb: [2]"),
        ("x", "x"),
    ],
)
def test_values_are_written_as_people_read_them(value, said):
    assert in_words(value) == said


@pytest.mark.parametrize("content", ["", "import a_package_that_is_not_here"])
def test_a_script_says_in_one_line_that_another_projects_package_is_imported_instead(content, tmp_path):
    (tmp_path / "npnet").mkdir()
    (tmp_path / "npnet" / "__init__.py").write_text(content)
    command = [sys.executable, "-c", "import npnet_lightning; npnet_lightning.main()", "info"]
    paths = os.pathsep.join(map(str, (tmp_path, ROOT)))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "npnet") in line
    assert "pip uninstall npnet, then reinstall npnet-lightning" in line


def test_every_console_script_is_the_function_of_a_command(monkeypatch):
    called = []
    monkeypatch.setattr(npnet_lightning, "start", lambda module, name: called.append(f"{module}:{name}"))
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    for place in scripts.values():
        imported(place)()
    assert called == ["npnet.cli:main", "collect.cli:main", "npnet.cli:train", "npnet.cli:evaluate"]
    assert all(callable(imported(place)) for place in called)

"""The command table: one help, one way to write keys, one way to end."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from npnet import cli
from npnet.arguments import describe, parse
from npnet.composing import help_text
from npnet.description import Description, imported
from npnet.ending import end
from npnet.errors import MachineError, UserError
from npnet.experiments import COMMANDS, check_experiment, command_of, experiments
from npnet.fields import Count, Name
from npnet.paths import config_dir, config_dirs, options

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Keys(Description):
    """Keys of a made-up command.

    Attributes:
        folder: where it looks.
        size: of a chunk.
        json: print JSON.
    """

    folder: Name
    size: Count = 3
    json: bool = False
    more: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "arguments",
    [["pairs", "size=5", "json=true"], ["folder=pairs", "--size", "5", "--json"], ["--size=5", "pairs", "--json"]],
)
def test_keys_can_be_written_in_every_usual_way(arguments):
    assert parse(Keys, arguments, ["folder"]) == Keys("pairs", 5, True)


def test_the_last_position_takes_what_is_left():
    assert parse(Keys, ["a", "b", "c=d"], ["folder", "more"]).more == ("b", "c=d")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pairs", "size=0"], "size=0: a whole number of at least 1 is needed"),
        (["pairs", "sise=5"], "sise=5: no such key; did you mean 'size'? allowed: folder, size, json, more"),
        (["size=5"], "folder=null: this key is missing"),
        (["pairs", "others"], "others: cannot be read as KEY=VALUE; keys: folder, size, json, more"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, line):
    with pytest.raises(UserError) as caught:
        parse(Keys, arguments, ["folder"])
    assert str(caught.value) == line


def test_the_help_of_a_command_says_every_key_its_default_and_what_it_may_be():
    text = describe(Keys, "made-up", "Does nothing.", ["folder"])
    for part in ("size=3", "a whole number of at least 1", "where it looks", "json=false"):
        assert part in text


def test_the_table_lists_every_command_in_a_line():
    lines = cli.usage().splitlines()
    for name, command in cli.COMMANDS.items():
        assert sum(line.split()[:1] == [name] and command.summary in line for line in lines) == 1


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_where_the_table_says(name):
    assert callable(imported(cli.COMMANDS[name].place))


def test_a_command_with_a_configuration_has_its_file():
    with_file = {name for name, command in cli.COMMANDS.items() if command.has_configuration}
    assert (
        with_file == {*COMMANDS, "plan", "demo"} == {path.stem for path in config_dir().glob("*.yaml")}
    )  # plan, demo: no experiment


def test_every_experiment_says_its_command_in_its_name():
    assert {name: command_of(name) for name in options("experiment", [config_dir()])}.keys() == {
        name for command in COMMANDS for name in experiments(command, [config_dir()]) if command_of(name) == command
    }


@pytest.mark.parametrize(
    ("command", "typed", "line"),
    [
        ("evaluate", "demo_collect", "experiment=demo_collect: is for another command: npnet collect experiment=demo_"),
        ("collect", "demo_evaluate", "is for another command: npnet evaluate experiment=demo_evaluate"),
        ("train", "demo_trian", "did you mean 'demo_train'?"),
    ],
)
def test_an_experiment_of_another_command_is_refused_by_name(command, typed, line):
    with pytest.raises(UserError) as caught:
        check_experiment(command, [f"+experiment={typed}"], [config_dir()])
    assert line in str(caught.value)


def test_a_folder_of_ones_own_brings_groups_and_experiments(tmp_path):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "mine.yaml").write_text("mine:\n  _target_: npnet.noise.Standard\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ours_evaluate.yaml").write_text(
        "# @package _global_\n# Ours against theirs.\nseed: 1\n"
    )
    folders = config_dirs(["--config-dir", str(tmp_path), "noise=[mine]"])
    assert "mine" in options("noise", folders) and "standard" in options("noise", folders)
    text = help_text("evaluate", "Compare.", folders)
    assert "mine" in text and "Ours against theirs" in text and "demo_train" not in text


@pytest.mark.parametrize("command", ["collect", "train", "evaluate"])
def test_the_help_says_what_the_files_say_of_each_key_and_changes_no_value(command):
    folders = config_dirs([])
    text = help_text(command, "", folders, ["backbone=sdxl"]).partition("current values:\n")[2].rpartition("\n\n")[0]
    plain = "\n".join(re.sub(r"\s+# .*", "", line) for line in text.splitlines())
    assert yaml.safe_load(text) == yaml.safe_load(plain)
    assert yaml.safe_load(text)["backbone"]["path"] == "stabilityai/stable-diffusion-xl-base-1.0"
    own = (config_dir() / f"{command}.yaml").read_text().partition("task_name")[2]
    written = re.findall(r"^ *(\w+):.*?# (.+)$", own, re.MULTILINE)
    assert len(written) > 5
    for key, comment in written:
        assert re.search(rf"^ *{key}:.*# {re.escape(comment)}$", text, re.MULTILINE), key


@pytest.mark.parametrize(
    ("raised", "code"),
    [(UserError("no"), 2), (KeyboardInterrupt(), 130), (MachineError("lost\nit"), 137), (BrokenPipeError(), 141)],
)
def test_every_command_ends_in_one_way(raised, code, capfd):
    script = (
        "import sys; from npnet.ending import end; from npnet.errors import MachineError, UserError\n"
        f"def work(): raise {raised!r}\nend(work)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (0 if code == 141 else 1)


def test_sigterm_is_said_and_has_its_own_code():
    script = "import time; from npnet.ending import end\nprint('on', flush=True)\nend(lambda: time.sleep(60))"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "on\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert (process.wait(timeout=30), process.stderr.read()) == (143, "stopped: run the same command to resume\n")


def test_sigterm_in_a_finaliser_is_not_lost():
    script = (
        "import time; from npnet.ending import end\nclass Part:\n    def __del__(self):\n"
        "        print('on', flush=True); time.sleep(2)\n"
        "def work():\n    Part()\n    time.sleep(60)\nend(work)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGTERM)
    assert (process.wait(timeout=30), process.stderr.read()) == (143, "stopped: run the same command to resume\n")


def test_a_clean_end_is_code_zero():
    with pytest.raises(SystemExit) as caught:
        end(lambda: None)
    assert caught.value.code == 0


@pytest.mark.parametrize("name", ["collect", "status"])
def test_a_command_stopped_while_it_starts_ends_in_one_line(name, monkeypatch, capsys):
    def stopped(place):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "imported", stopped)
    with pytest.raises(SystemExit) as left:
        cli.run(name)
    assert left.value.code == 130
    assert capsys.readouterr().err == "stopped: run the same command to resume\n"

"""What people install: the wheel, in an environment that has never seen the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from npnet.cli import COMMANDS

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("install")
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("npnet_lightning-*.whl")
    environment = folder / "env"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([str(python), *pip[1:], "install", "--no-deps", str(wheel)], check=True)
    # the dependencies of this environment, without its own installation of the project: a .pth file in a folder
    # that a .pth file names is not followed
    site = next((environment / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin"


def run(installed, tmp_path, *command):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(installed / command[0]), *command[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_the_packages_the_configuration_and_nothing_else(installed):
    site = next((installed.parent / "lib").glob("python*")) / "site-packages"
    assert (site / "npnet" / "conf" / "collect.yaml").is_file()
    for variant in ("a", "b"):
        assert (site / "npnet" / "shapes" / "weights" / variant / "pipeline" / "model_index.json").is_file()
    assert (site / "collect" / "__init__.py").is_file()
    assert (site / "npnet_lightning.py").is_file()
    assert not any((site / name).exists() for name in ("conf", "tests", "train.py", "train", "benchmarks"))


@pytest.mark.parametrize("script", ["npnet-collect", "npnet-train", "npnet-evaluate"])
def test_every_console_script_shows_its_configuration_in_any_folder(installed, tmp_path, script):
    done = run(installed, tmp_path, script, "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert f"task_name: {script.removeprefix('npnet-')}" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_installed_commands_run_one_after_another(installed, tmp_path):
    steps = [
        ("npnet", "collect", "prompts.limit=24", "output_dir=pairs", "chunk_size=12"),
        ("npnet", "train", "data.shards=pairs", "output_dir=run", "trainer.max_epochs=1"),
        ("npnet", "evaluate", "prompts.limit=4", "network_path=run/network", "output_dir=results"),
    ]
    for step in steps:
        done = run(installed, tmp_path, *step)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "report.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"pairs", "run", "results"}


def test_the_umbrella_script_names_its_commands(installed, tmp_path):
    told = run(installed, tmp_path, "npnet").stdout
    assert all(f"\n  {name} " in told for name in COMMANDS)
    wrong = run(installed, tmp_path, "npnet", "colect")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: unknown command 'colect'")

"""Sweeps with Hydra's launchers, as docs/collecting.md shows them. Skipped where the extra [launchers] is missing."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from npnet.data.shards import list_shards
from tests.collected import SMALL, contents

ROOT = Path(__file__).parent.parent
LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray": [
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.include_dashboard=false",
        "+hydra.launcher.ray.remote.num_cpus=1",
    ],
}
MODULES = {"joblib": "joblib_launcher", "submitit_local": "submitit_launcher", "ray": "ray_launcher"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("hydra_plugins") is None, reason="needs the extra [launchers]"),
]


@pytest.fixture(params=LAUNCHERS)
def launcher(request):
    if importlib.util.find_spec(f"hydra_plugins.hydra_{MODULES[request.param]}") is None:
        pytest.skip("needs the extra [launchers]")
    return LAUNCHERS[request.param]


def sweep(tmp_path, *overrides):
    command = [sys.executable, "collect.py", "--multirun", *SMALL, f"hydra.sweep.dir={tmp_path / 'sweep'}", *overrides]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


def test_the_workers_of_an_array_are_a_sweep(launcher, undisturbed, tmp_path):
    done = sweep(tmp_path, *launcher, "worker.index=0,1", "worker.count=2", f"output_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_sweep_of_settings_leaves_a_folder_for_each(launcher, tmp_path):
    done = sweep(tmp_path, *launcher, "seed=0,1", f"output_dir={tmp_path}/seed_${{seed}}")
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        assert json.loads((tmp_path / f"seed_{seed}" / "request.json").read_text())["seed"] == seed
        assert len(list_shards(tmp_path / f"seed_{seed}")) == 3


def test_a_mistake_in_one_job_is_one_line_and_the_others_finish(launcher, tmp_path):
    done = sweep(tmp_path, *launcher, "margin=0,null", f"output_dir={tmp_path}/margin_${{margin}}")
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if "error" in line.lower()] == [
        "error: margin=None: a number is needed"
    ]
    assert "Traceback" not in done.stderr + done.stdout
    assert len(list_shards(tmp_path / "margin_0")) == 3

"""A user's mistakes: one line that names the key, exit code 2, soon, and nothing is written."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from collect import cli
from npnet.command import run_command
from npnet.ending import end
from npnet.errors import UserError
from tests.fakes import FAKE_OVERRIDES

ROOT = Path(__file__).parents[2]
FAKES = [*FAKE_OVERRIDES, "prompts.list=[a]"]


def command(capsys, monkeypatch, *arguments, function=cli.collect):
    """Run in this process; returns the exit code and what was printed."""
    monkeypatch.setattr(sys, "argv", ["collect.py", *arguments])
    code = 0
    try:
        end(lambda: run_command("collect", function))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


MISTAKES = [
    ("hydra.run.dir=s3://bucket/x", "hydra.run.dir=s3://bucket/x: a folder on this machine is needed"),
    ("+batch_size=3", "error: +batch_size: this key already exists; write batch_size=VALUE, without the +"),
    ("noise=[standard]", "noise=[standard]: it does not change the noise; choose another noise method"),
    ("batch_size=0", "batch_size=0: a whole number of at least 1"),
    ("batch_size=2.5", "batch_size=2.5"),
    ("batch_size=many", "batch_size=many"),
    ("chunk_size=-1", "chunk_size=-1"),
    ("workers=0", "workers=0"),
    ("threads_per_worker=true", "threads_per_worker=true"),
    ("num_inference_steps=0", "num_inference_steps=0"),
    ("num_inference_steps=null", "num_inference_steps=null"),
    ("guidance_scale=-1", "guidance_scale=-1: a number of at least 0 is needed"),
    ("noise.inversion.num_inference_steps=abc", "noise.inversion.num_inference_steps=abc: a whole number"),
    ("noise.inversion.guidance_scale=null", "noise.inversion.guidance_scale=null: a number of at least 0"),
    (
        "+noise.inversion.cycle=2",
        "noise.inversion: key 'cycle' is not known (did you mean 'cycles'?)",
    ),
    ("noise=null", "noise=null: a name is needed, or a list of names; allowed: best_of_n"),
    ("prompts=null", "prompts=null: a name is needed, or a list of names; allowed: drawbench"),
    ("guidance_scale=strong", "guidance_scale=strong: a number of at least 0 is needed"),
    ("margin=null", "margin=null: a number is needed"),
    ("margin=nan", "margin=nan: a finite number is needed"),
    ("noise.inversion.guidance_scale=nan", "noise.inversion.guidance_scale=nan"),
    ("selection=some", "selection=some: allowed: all, weighted"),
    ("keep_all=maybe", "keep_all=maybe: true or false is needed"),
    ("dry_run=1", "dry_run=1: true or false is needed"),
    ("seed=-1", "seed=-1"),
    ("output_dir=null", "output_dir=null"),
    ("seeds.range=[5]", "seeds.range=[5]"),
    ("seeds.range=[5,2]", "seeds.range=[5,2]"),
    ("seeds.list=[]", "seeds.list=[]"),
    ("seeds.list=5", "seeds.list=5: a list of distinct whole numbers"),
    ("seeds.list=[9223372036854775808]", "seeds.list=[9223372036854775808]"),
    ("seeds.range=null", "seeds.range=null: [low,high] is needed: two whole numbers"),
    ("seeds.per_prompt=2000", "seeds.per_prompt=2000: allowed: 1 to 1025"),
    ("noise=[inversion,standard]", "noise=[inversion,standard]: exactly one noise is needed"),
    ("noise=[]", "noise=[]: exactly one noise is needed"),
    ("noise=inversoin", "did you mean 'inversion'?"),
    ("noise.inversion.cycles=0", "cycles=0"),
    ("noise.inversion.cycle=2", "did you mean 'noise.inversion.cycles'?"),
    ("noise.inversion-a.cycles=2", "has only letters, digits and _"),
    ("noise.best_of_n.num_candidate=3", "did you mean 'num_candidates'?"),
    ("noise.best_of_n.num_candidates=3", "is not chosen; add best_of_n to noise=[...]"),
    ("metric.hpsv2.nosuch=1", "'metric.hpsv2.nosuch' is not known"),
    ("weights={target:1}", "is only for selection=weighted"),
    ("prompts.list=[]", "prompts.list"),
    ("prompts.limit=0", "prompts.limit=0"),
    ("bach_size=3", "did you mean 'batch_size'?"),
    ("backbone=no_such", "backbone 'no_such' is not known"),
    ("metric=[no_such]", "metric 'no_such' is not known"),
    ("+experiment=no_such", "no_such"),
    ("~metric.target", "metric=[]: at least one metric is needed"),
    ("backbone.dtype=int8", "int8"),
    ("backbone.device=tpu", "tpu"),
    ("backbone._target_=tests.fakes.NoSuch", "NoSuch"),
    ("+metric.other._target_=tests.fakes.ShapesOnly", "metric.other judges pictures of backbone=shapes only"),
    ("margin", "margin"),
    ("batch_size=[", "batch_size=["),
    ("guidance_scale=${nothing}", "nothing"),
    ("--no-such-flag", "--no-such-flag"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_a_mistake_is_one_line_and_writes_nothing(mistake, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(capsys, monkeypatch, *FAKES, f"output_dir={tmp_path / 'out'}", mistake)
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("weights={other:1}", "weights.other=1.0: is not a metric of this run; allowed: target"),
        ("weights={target:big}", "weights.target=big: a number is needed"),
        ("weights={target:0}", "at least one weight other than 0"),
        ("weights=3", "weights=3"),
    ],
)
def test_weights_are_numbers_of_chosen_metrics(weights, message, tmp_path, capsys, monkeypatch):
    options = [*FAKES, f"output_dir={tmp_path / 'out'}", "selection=weighted", weights]
    code, _, err = command(capsys, monkeypatch, *options)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_a_file_in_the_place_of_the_folder_and_foreign_files_are_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "shard-000000.tar").touch()
    for name in ("file", "foreign"):
        code, _, err = command(capsys, monkeypatch, *FAKES, f"output_dir={tmp_path / name}")
        assert code == 2
        assert err.startswith(f"error: output_dir={tmp_path / name}: ") and err.count("\n") == 1
        dry = command(capsys, monkeypatch, *FAKES, f"output_dir={tmp_path / name}", "dry_run=true")
        assert dry == (2, "", err)


def test_a_start_that_failed_does_not_bind_the_folder_to_its_configuration(tmp_path, capsys, monkeypatch):
    options = [*FAKES, f"output_dir={tmp_path / 'out'}"]
    code, _, err = command(capsys, monkeypatch, *options, "num_inference_steps=2000")
    assert (code, err) == (2, "error: num_inference_steps=2000: allowed: 1 to 1000\n")
    code, _, err = command(capsys, monkeypatch, *options, "num_inference_steps=2")
    assert (code, err) == (0, "")


def refuse_odd_seeds(cfg):
    if cfg.seed % 2:
        raise UserError(f"seed={cfg.seed}:\n is odd")
    print(f"seed {cfg.seed}")


def test_a_sweep_goes_on_after_a_mistake_and_says_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(capsys, monkeypatch, "--multirun", "seed=0,1,2,3", function=refuse_odd_seeds)
    assert (code, err) == (2, "error: seed=1: is odd\n")
    assert out == "seed 0\nseed 2\n"


def test_a_sweep_with_a_mistyped_key_says_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(capsys, monkeypatch, "--multirun", "seeed=0,1", function=refuse_odd_seeds)
    assert code == 2
    assert err == "error: the key 'seeed' is not known (did you mean 'seed'?); --cfg job shows all keys\n"


def test_a_bug_is_not_dressed_up_as_a_mistake(capsys, monkeypatch):
    def fail(cfg):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(capsys, monkeypatch, function=fail)


@pytest.mark.parametrize("flag", [["--help"], ["--cfg", "job"]])
def test_help_and_the_composed_configuration_are_printed(flag, capsys, monkeypatch):
    code, out, err = command(capsys, monkeypatch, *flag)
    assert code in (0, None)
    assert "batch_size: ${oc.select:backbone.settings.batch_size.collect,64}" in out
    assert err == ""


@pytest.mark.parametrize("mistake", ["bach_size=3", "margin=null", "noise.inversion.cycles=0"])
def test_a_mistake_is_told_by_the_real_command_soon(mistake, tmp_path):
    started = time.process_time(), time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "collect.py"), *FAKES, f"output_dir={tmp_path / 'out'}", mistake],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert time.monotonic() - started[1] < 30  # 10 on a quiet machine


def test_the_package_runs_as_a_module_and_importing_it_is_light():
    code = "import collect.cli, sys; assert not {'torch', 'diffusers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    done = subprocess.run([sys.executable, "-m", "collect", "--cfg", "job"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from npnet.backbones import Shapes
from npnet.errors import UserError
from npnet.evaluation.plan import make_plan, optimised_for
from npnet.noise import Network
from npnet.report.command import evaluate
from npnet.work import atomic
from tests.evaluation.extra_fakes import config


def run(folder, **changes):
    evaluate(OmegaConf.create(config(output_dir=str(folder), **changes)))


def comparable(folder):
    """The bytes of ``results.json`` without seconds and memory, which no two runs share, and digests of them."""
    results = json.loads((folder / "results.json").read_text())
    assert results.pop("sha256") and results.pop("samples_sha256")
    for method in results["methods"].values():
        method["cost"].pop("seconds")
        method["cost"].pop("peak_bytes")
    return json.dumps(results)


def state_of(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def cells(folder):
    return sorted((folder / "cells").glob("*/*.json"))


def refusal(**changes):
    with pytest.raises(UserError) as caught:
        make_plan(OmegaConf.create(config(**changes)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_same_command_on_a_finished_folder_changes_nothing(tmp_path, capsys):
    run(tmp_path / "run")
    before = state_of(tmp_path / "run")
    capsys.readouterr()
    run(tmp_path / "run", workers=2)
    assert state_of(tmp_path / "run") == before
    assert "finished already" in capsys.readouterr().out


def test_another_configuration_in_the_same_folder_is_refused(tmp_path, finished):
    with pytest.raises(UserError, match="guidance_scale"):
        run(finished, guidance_scale=3.0)


def test_a_run_that_lost_chunks_and_results_comes_out_the_same(tmp_path, finished):
    run(tmp_path / "run")
    assert comparable(tmp_path / "run") == comparable(finished)
    cell = cells(tmp_path / "run")[1]
    for path in (tmp_path / "run" / "results.json", tmp_path / "run" / "report.html", cell):
        path.unlink()
    cell.with_name(f".{cell.name}.1.partial").write_text("half")
    run(tmp_path / "run")
    assert comparable(tmp_path / "run") == comparable(finished)
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_the_size_of_chunks_changes_no_result(tmp_path, finished):
    run(tmp_path / "run", chunk_size=5)
    ours, theirs = (json.loads((f / "results.json").read_text())["methods"] for f in (tmp_path / "run", finished))
    for label in ours:
        for name in ("target", "close"):
            ours_mean, theirs_mean = (m[label]["metrics"][name]["mean"] for m in (ours, theirs))
            assert ours_mean == pytest.approx(theirs_mean, rel=1e-5)


def test_pictures_of_every_method_and_sample_are_left(finished):
    for label in ("standard", "redraw", "best"):
        assert len(list((finished / "images" / label).glob("*.webp"))) == 24


def test_pictures_of_the_first_pairs_alone_are_kept_where_that_was_asked(tmp_path, finished):
    run(tmp_path / "run", keep_images=10)
    assert comparable(tmp_path / "run").replace('"keep_images": 10', '"keep_images": "all"') == comparable(finished)
    for label in ("standard", "redraw", "best"):
        first, every = (sorted((f / "images" / label).iterdir()) for f in (tmp_path / "run", finished))
        assert [(path.name, path.read_bytes()) for path in first] == [
            (path.name, path.read_bytes()) for path in every[:10]
        ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "from the first 10 pairs, whose pictures were kept" in page
    assert page.count("<img") == 3 * 3 + 2 * 2 * 5 * 2  # ten pairs give five on each side


def test_without_pictures_there_is_a_report_all_the_same(tmp_path):
    run(tmp_path / "run", keep_images=0)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<img" not in page
    assert "largest gains" not in page
    assert not list((tmp_path / "run" / "images").rglob("*.webp"))


def test_a_dry_run_says_how_much_and_writes_nothing(tmp_path, capsys):
    run(tmp_path / "run", dry_run=True, noise=("standard", "inversion", "best"))
    said = capsys.readouterr().out
    assert "24 pairs (12 prompts)" in said
    assert "inversion: denoiser forwards 9 for each picture, 216 in all" in said
    assert "best (optimised: target): denoiser forwards depends on the data" in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_only_the_pictures_that_are_still_made(tmp_path, capsys):
    run(tmp_path / "run", noise=("standard", "inversion"))
    run(tmp_path / "run", noise=("standard", "inversion"), dry_run=True)
    assert "inversion: denoiser forwards 9 for each picture, 0 for the 0 to be made" in capsys.readouterr().out
    run(tmp_path / "run", noise=("standard", "inversion"), dry_run=True, per_prompt=3)
    assert "inversion: denoiser forwards 9 for each picture, 108 for the 12 to be made" in capsys.readouterr().out
    run(tmp_path / "run", noise=("standard",), dry_run=True)
    assert capsys.readouterr().out.endswith("not named in this command, so no longer in the results: inversion\n")


def test_a_dry_run_imports_no_torch(tmp_path):
    script = (
        "import atexit, sys; from npnet.cli import evaluate\n"
        "heavy = ('torch', 'diffusers', 'transformers')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
        f"sys.argv = ['evaluate.py', 'dry_run=true', 'output_dir={tmp_path / 'run'}']\n"
        "evaluate()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"noise": ()}, "noise="),
        ({"metric": {}}, "metric="),
        ({"batch_size": 0}, "batch_size=0"),
        ({"num_inference_steps": "many"}, "num_inference_steps=many"),
        ({"num_resamples": -1}, "num_resamples=-1"),
        ({"keep_images": "some"}, "keep_images=some: all, or a whole number"),
        ({"keep_images": -1}, "keep_images=-1"),
        ({"seeds": {"range": [0, float("nan")], "per_prompt": 1, "list": None}}, "seeds.range"),
        ({"backbone": {"_target_": "tests.fakes.LinearBackbone", "settings": {"x": float("inf")}}}, "settings.x=inf"),
        ({"guidance_scale": "strong"}, "guidance_scale=strong"),
        ({"sampler": "ddin"}, "did you mean 'ddim'"),
        ({"seeds": {"range": [5, 1], "per_prompt": 1, "list": None}}, "seeds.range"),
        ({"prompts": []}, "prompts.list"),
        ({"optimised": ["hpsv2"]}, "hpsv2"),
        ({"metric": {"judge": {"_target_": "tests.fakes.ShapesOnly"}}}, "metric.judge judges pictures of"),
    ],
)
def test_a_mistake_is_named_in_one_line_before_anything_is_loaded(changes, named):
    assert named in refusal(**changes)


def test_a_method_whose_scorer_is_not_measured_is_refused():
    said = refusal(metric={"close": {"_target_": "tests.evaluation.extra_fakes.Close"}})
    assert "noise.best optimises target" in said
    assert "metric=[close,target]" in said


def test_a_prompt_that_the_built_in_model_has_no_words_for_is_refused():
    shapes = {"_target_": "npnet.backbones.Shapes", "settings": {}, "device": "cpu"}
    said = refusal(backbone=shapes, prompts=["a photo of a horse"], noise=("standard",))
    assert "backbone=shapes" in said


def network_folder(tmp_path, **training):
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if training:
        (folder / "training.json").write_text(json.dumps(training))
    return Network(str(folder))


SHAPES = Shapes()
METRICS = dict.fromkeys(("shapes_scorer", "shapes_judge", "hpsv2"))


def test_a_network_is_optimised_for_what_selected_its_pairs(tmp_path):
    network = network_folder(tmp_path, selected_by=["hpsv2", "pickscore"])
    assert optimised_for(network, SHAPES, METRICS, ["shapes_judge"]) == ["hpsv2"]


@pytest.mark.parametrize("said", [5, [5], {"hpsv2": 1}, True])
def test_a_network_that_says_something_else_of_its_pairs_is_refused(tmp_path, said):
    with pytest.raises(UserError, match=r"network/training.json: selected_by.* is needed"):
        optimised_for(network_folder(tmp_path, selected_by=said), SHAPES, METRICS, [])


def test_a_network_that_says_nothing_is_optimised_for_what_the_user_declares(tmp_path):
    assert optimised_for(network_folder(tmp_path), SHAPES, METRICS, ["shapes_judge"]) == ["shapes_judge"]


def test_a_released_file_is_optimised_for_what_selected_the_published_pairs(tmp_path):
    network = Network(str(tmp_path / "sdxl.pth"))
    assert optimised_for(network, SHAPES, METRICS, []) == ["hpsv2"]
    assert optimised_for(network, SHAPES, METRICS, ["shapes_judge"]) == ["shapes_judge", "hpsv2"]


@pytest.mark.parametrize("which", ["recommended", "paper", "reward"])
def test_the_shipped_networks_are_optimised_for_the_scorer(which):
    assert optimised_for(Network(shipped=which), SHAPES, METRICS, []) == ["shapes_scorer"]


def test_a_network_trained_anew_is_another_request(tmp_path):
    def request(weights):
        save_file({"alpha": torch.tensor(weights)}, folder / "model.safetensors")
        noise = {"npnet": {"_target_": "npnet.noise.Network", "network_path": str(folder)}}
        return make_plan(OmegaConf.create({**config(), "noise": noise})).request()

    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert request(1.0) == request(1.0) != request(2.0)


def test_a_stopped_run_goes_on_and_comes_out_as_an_undisturbed_one(tmp_path, finished, monkeypatch):
    folder, whole = tmp_path / "run", atomic.write_json

    def stop_at_the_second_chunk(path, value):
        if len(cells(folder)) == 3:
            raise KeyboardInterrupt
        whole(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_json", stop_at_the_second_chunk)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert not (folder / "results.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in cells(folder)}
    run(folder)
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in cells(folder)}.items()
    assert comparable(folder) == comparable(finished)


SCRIPT = """
from omegaconf import OmegaConf
from npnet.report.command import evaluate
from tests.evaluation.extra_fakes import config
value = config(output_dir={folder!r}, chunk_size=2, batch_size=2, workers={workers})
value["backbone"]["delay_seconds"] = {delay}
if __name__ == "__main__":
    evaluate(OmegaConf.create(value))
"""


def start(folder, tmp_path, delay, workers=1):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(folder), delay=delay, workers=workers))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_comes_out_as_an_undisturbed_one(tmp_path):
    folder = tmp_path / "killed"
    process = start(folder, tmp_path, delay=0.02)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(cells(folder)) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "results.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in cells(folder)}
    assert start(folder, tmp_path, delay=0.02).wait() == 0
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in cells(folder)}.items()

    undisturbed = tmp_path / "undisturbed"
    assert start(undisturbed, tmp_path, delay=0.02).wait() == 0
    assert comparable(folder) == comparable(undisturbed)


@pytest.mark.slow
def test_two_workers_give_the_results_of_one(tmp_path):
    for workers in (1, 2):
        assert start(tmp_path / str(workers), tmp_path, delay=0.0, workers=workers).wait() == 0
    assert comparable(tmp_path / "1") == comparable(tmp_path / "2")

import csv
import json

import pytest
import torch

from npnet.errors import UserError
from npnet.networks import NPNet
from tests.pairs import embeds, shift, write_folder
from tests.training.runs import checkpoint, run, run_killed_at, same, weights

UNDISTURBED = ["trainer.max_epochs=4", "callbacks.latest.every_n_train_steps=5"]
COSINE = ["module.schedule=cosine", "module.warmup_steps=5"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [30, 20, 30], num_prompts=16)


@pytest.fixture(scope="module")
def undisturbed(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(pairs, folder, *UNDISTURBED)
    return folder


def test_a_finished_run_leaves_the_network_its_card_and_its_curves(undisturbed):
    rows = list(csv.DictReader((undisturbed / "metrics.csv").open()))
    assert {row["epoch"] for row in rows} == {"0", "1", "2", "3"}
    assert {"train/mse", "val/mse", "val/relative_mse", "val/direction_share", "alpha", "beta"} <= set(rows[0])
    training = json.loads((undisturbed / "network" / "training.json").read_text())
    assert training["pairs"] + training["validation_pairs"] == 64
    assert (training["epochs"], training["steps"]) == (4, checkpoint(undisturbed)["global_step"])
    after = training["held_out"]["after"]
    assert after["count"] == training["validation_pairs"]
    assert after["mse"]["interval"][0] <= after["mse"]["value"] <= after["mse"]["interval"][1]
    best = min(float(row["val/mse"]) for row in rows if row["val/mse"])
    assert after["mse"]["value"] == pytest.approx(best, rel=1e-5)  # the exported network is the best one
    card = (undisturbed / "network" / "README.md").read_text()
    assert "of other prompts" in card
    assert "![Curves](curves.png)" in card
    assert (undisturbed / "network" / "curves.png").stat().st_size > 5000
    assert (undisturbed / "checkpoints" / "best.ckpt").is_file()


def test_the_same_command_on_a_finished_folder_changes_nothing(pairs, undisturbed, capsys):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.name != ".lock"}
    run(pairs, undisturbed, *UNDISTURBED)
    assert "finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.name != ".lock"} == before


def test_another_configuration_is_refused_and_what_is_there_stays(pairs, undisturbed):
    before = weights(undisturbed)
    with pytest.raises(UserError, match=r"trainer.max_epochs \(got 3, there 4\)"):
        run(pairs, undisturbed, *UNDISTURBED, "trainer.max_epochs=3")
    with pytest.raises(UserError, match=r"seed \(got 5, there 0\)"):
        run(pairs, undisturbed, *UNDISTURBED, "trainer.max_epochs=5", "seed=5")
    assert same(weights(undisturbed), before)


@pytest.fixture(scope="module")
def undisturbed_cosine(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(pairs, folder, *UNDISTURBED, *COSINE)
    return folder


def test_a_killed_run_with_a_cosine_schedule_ends_with_the_same_weights(pairs, undisturbed_cosine, tmp_path):
    killed_run_ends_as(pairs, undisturbed_cosine, tmp_path, 13, *COSINE)


@pytest.mark.parametrize("killed_at", [8, 13, 30])
def test_a_run_killed_at_any_step_ends_with_the_same_weights(pairs, undisturbed, tmp_path, killed_at):
    killed_run_ends_as(pairs, undisturbed, tmp_path, killed_at)


def killed_run_ends_as(pairs, undisturbed, tmp_path, killed_at, *extra):
    run_killed_at(killed_at, pairs, tmp_path / "run", *UNDISTURBED, *extra)
    run(pairs, tmp_path / "run", *UNDISTURBED, *extra)
    last = [checkpoint(folder) for folder in (tmp_path / "run", undisturbed)]
    assert last[0]["global_step"] == last[1]["global_step"] == 32
    assert same(last[0]["state_dict"], last[1]["state_dict"])
    assert same(weights(tmp_path / "run"), weights(undisturbed))
    curves = [list(csv.DictReader((f / "metrics.csv").open())) for f in (tmp_path / "run", undisturbed)]
    assert [row["val/mse"] for row in curves[0]] == [row["val/mse"] for row in curves[1]]


def test_training_recovers_what_the_prompt_adds(tmp_path):
    folder = write_folder(tmp_path / "pairs", [150, 150], num_prompts=6)
    run(
        folder,
        tmp_path / "run",
        "trainer.max_epochs=30",
        "data.validation_share=0",
        "network.residual_branch=false",
        "module.schedule=cosine",
    )
    network = NPNet.from_pretrained(tmp_path / "run" / "network")
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(99))
    e = {name: tensor[None] for name, tensor in embeds("prompt 1").items()}
    with torch.no_grad():
        found = (network(noise, **e) - noise).flatten()
    wanted, other = shift("prompt 1").flatten(), shift("prompt 2").flatten()
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.8
    assert torch.cosine_similarity(found, other, dim=0) < 0.5


def test_half_precision_export_is_half_the_file_and_loads_in_float32(pairs, undisturbed, tmp_path):
    run(pairs, tmp_path / "run", "trainer.max_epochs=4", "export_dtype=float16")
    sizes = [(f / "network" / "model.safetensors").stat().st_size for f in (tmp_path / "run", undisturbed)]
    assert sizes[0] < 0.6 * sizes[1]
    assert all(t.dtype is torch.float32 for t in weights(tmp_path / "run").values() if t.is_floating_point())


def test_a_network_starts_from_another_ones_weights(pairs, undisturbed, tmp_path):
    run(
        pairs,
        tmp_path / "run",
        "trainer.max_epochs=1",
        f"init_from={undisturbed}/network",
        "module.learning_rate=1e-12",
    )
    near = zip(weights(tmp_path / "run").values(), weights(undisturbed).values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in near if a.is_floating_point())

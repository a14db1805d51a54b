"""A network trained for one backbone, fine-tuned for another."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir

from npnet import paths
from npnet.networks import NPNet
from npnet.paths import config_dir
from npnet.training.command import train
from tests.pairs import write_folder
from tests.training.runs import run, same, weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    run(write_folder(folder / "pairs", [40, 40], num_prompts=12), folder / "run", "trainer.max_epochs=3")
    return folder


@pytest.fixture(scope="module")
def other_pairs(tmp_path_factory):
    """Pairs of a backbone whose text is of another width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.pairs.WIDTH", 9)
        return write_folder(tmp_path_factory.mktemp("other") / "pairs", [40, 40], num_prompts=12)


def test_all_but_the_text_term_is_taken_and_both_ends_are_reported(trained, other_pairs, tmp_path, capsys):
    start = f"init_from={trained / 'run' / 'network'}"
    still = ["trainer.max_epochs=1", "module.learning_rate=1e-30", "data.validation_share=0.3"]
    run(other_pairs, tmp_path / "run", start, *still)
    found, given = weights(tmp_path / "run"), weights(trained / "run")
    text = {name for name in found if name.startswith("text.") or name == "alpha"}
    assert text and same(
        {name: found[name] for name in found.keys() - text}, {name: given[name] for name in given.keys() - text}
    )
    assert found["text.norm.weight"].shape != given["text.norm.weight"].shape
    printed = capsys.readouterr().out
    count = sum(found[name].numel() for name in text)
    assert f"it starts from fresh weights ({count} of {sum(t.numel() for t in found.values())} weights)" in printed
    assert "before: MSE" in printed and "after: MSE" in printed
    training = json.loads((tmp_path / "run" / "network" / "training.json").read_text())
    before, after = (training["held_out"][name] for name in ("before", "after"))
    assert before == after  # at a rate of nothing
    assert before["count"] == training["validation_pairs"]
    assert training["held_out"]["change"]["mse"]["value"] == 0
    card = (tmp_path / "run" / "network" / "README.md").read_text()
    assert "starts from fresh weights" in card and "| before | after |" in card


def test_with_the_same_text_all_weights_are_taken(trained, tmp_path, capsys):
    start = [f"init_from={trained / 'run' / 'network'}", "module.learning_rate=1e-30", "trainer.max_epochs=1"]
    run(trained / "pairs", tmp_path / "run", *start)
    assert same(weights(tmp_path / "run"), weights(trained / "run"))
    assert "all weights taken" in capsys.readouterr().out


def test_the_replay_on_the_built_in_models_runs(tmp_path, capsys):
    from collect.cli import collect

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        few = ["prompts.limit=20", "chunk_size=10", "keep_all=true", "workers=1", f"output_dir={tmp_path / 'pairs'}"]
        collect(compose("collect", ["experiment=finetune_shapes_collect", *few]))
        start = f"init_from={paths.shapes_weights() / 'network_paper'}"
        short = [
            "trainer.max_epochs=1",
            "data.kept_only=false",
            "callbacks.evaluation.num_pictures=2",
            "prompts.limit=2",
        ]
        where = [f"data.shards={tmp_path / 'pairs'}", f"output_dir={tmp_path / 'run'}"]
        train(compose("train", ["experiment=finetune_shapes_600_train", start, *where, *short]))
    network = NPNet.from_pretrained(tmp_path / "run" / "network")
    assert (network.config["prompt_embed_dim"], network.config["pooled_embed_dim"]) == (80, 40)
    shipped = NPNet.from_pretrained(paths.shapes_weights() / "network_paper").state_dict()
    change = network.state_dict()["singular_values.left.0.weight"] - shipped["singular_values.left.0.weight"]
    assert 0 < float(change.abs().max()) < 0.1
    assert torch.isfinite(network.state_dict()["beta"]).all()
    assert (tmp_path / "run" / "evaluation" / "epoch-0001.png").is_file()

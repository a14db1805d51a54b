"""The evaluation during training, on the fakes; training as a user starts it."""

import csv
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from npnet.data.prompts import PromptList
from npnet.engine.methods import MethodScores
from npnet.errors import UserError
from npnet.training.evaluation import Evaluation
from tests.fakes import LinearBackbone, TargetScorer
from tests.pairs import write_folder
from tests.training.runs import EVALUATION, FAKE_BACKBONE, LIGHT, checkpoint, run, run_killed_at, same, weights

WATCHED = ["callbacks=[best,latest,evaluation]", *EVALUATION]
EVERYTHING = ["callbacks=[best,latest,ema,early_stopping,evaluation]", *EVALUATION, "callbacks.ema.decay=0.9"]
EPOCHS = ["trainer.max_epochs=3", "callbacks.latest.every_n_train_steps=3"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [20, 24], num_prompts=16, with_embeds=False)


def started(pairs, folder, *overrides, **options):
    run(pairs, folder, *EPOCHS, *FAKE_BACKBONE, *overrides, small=LIGHT, **options)
    return folder


@pytest.fixture(scope="module")
def everything(pairs, tmp_path_factory):
    return started(pairs, tmp_path_factory.mktemp("everything") / "run", *EVERYTHING)


def test_it_logs_the_rate_with_its_interval_and_count_and_draws_the_pictures(everything, capsys):
    rows = [row for row in csv.DictReader((everything / "metrics.csv").open()) if row["evaluation/target/count"]]
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        names = ("winning_rate_low", "winning_rate", "winning_rate_high")
        low, rate, high = (float(row[f"evaluation/target/{name}"]) for name in names)
        assert 0 <= low <= rate <= high <= 1
        assert float(row["evaluation/target/count"]) == 6
    pictures = sorted((everything / "evaluation").iterdir())
    assert [path.name for path in pictures] == ["epoch-0001.png", "epoch-0002.png", "epoch-0003.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.width > 3 * 128  # a column for each prompt
        assert picture.height > 2 * 128  # a row for each method


def test_a_run_ends_with_the_same_weights_with_it_and_without(pairs, tmp_path):
    dropout = "network.residual_branch=true"  # the Swin draws: stochastic depth
    one = started(pairs, tmp_path / "one", dropout)
    other = started(pairs, tmp_path / "other", dropout, *WATCHED)
    assert same(checkpoint(one)["state_dict"], checkpoint(other)["state_dict"])


@pytest.mark.parametrize("killed_at", [5, 8])
def test_a_killed_run_with_everything_on_ends_as_an_undisturbed_one(pairs, everything, tmp_path, killed_at):
    run_killed_at(killed_at, pairs, tmp_path / "run", *EPOCHS, *FAKE_BACKBONE, *EVERYTHING, small=LIGHT)
    folder = started(pairs, tmp_path / "run", *EVERYTHING)
    for name in ("state_dict", "current_model_state"):
        assert same(checkpoint(folder)[name], checkpoint(everything)[name])
    assert same(weights(folder), weights(everything))
    curves = [list(csv.DictReader((f / "metrics.csv").open())) for f in (folder, everything)]
    column = "evaluation/target/mean_difference"
    assert [row[column] for row in curves[0]] == [row[column] for row in curves[1]]


def test_with_averaging_the_averaged_weights_are_evaluated(pairs, tmp_path, monkeypatch):
    seen = []
    records = Evaluation._records

    def watched(self, network):
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return records(self, network)

    monkeypatch.setattr(Evaluation, "_records", watched)
    folder = started(pairs, tmp_path / "run", *EVERYTHING)
    averaged = {n.removeprefix("network."): t for n, t in checkpoint(folder)["state_dict"].items()}
    assert same(seen[-1], averaged)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "the evaluation during training needs backbone=NAME"),
        (FAKE_BACKBONE, r"needs metric=\[NAME\]"),
        (EVALUATION[:4], "needs prompts=NAME"),
        ([*EVALUATION, "callbacks.evaluation.every_n_epochs=0"], "every_n_epochs=0"),
        ([*EVALUATION, "callbacks.evaluation.seeds.per_prompt=0"], "seeds.per_prompt=0"),
        (
            [*EVALUATION, "+metric.wrong._target_=tests.fakes.ShapesOnly"],
            "metric.wrong judges pictures of backbone=shapes",
        ),
    ],
)
def test_what_it_cannot_do_is_said_before_anything_is_written(pairs, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        run(pairs, tmp_path / "run", WATCHED[0], *overrides, small=LIGHT)
    assert not (tmp_path / "run").exists()


def test_another_backbone_than_that_of_the_pairs_is_refused(tmp_path):
    folder = write_folder(tmp_path / "pairs", [20])
    with pytest.raises(UserError, match="backbone's prompt_embed_dim is 64, that of the pairs 6"):
        run(folder, tmp_path / "run", *WATCHED, small=LIGHT)


def test_the_rate_is_that_of_the_network_over_standard(tmp_path):
    prompts = PromptList(("a", "b", "c", "d"))
    steps = {"num_inference_steps": 2, "guidance_scale": 2.0}
    evaluation = Evaluation(LinearBackbone(), {"target": TargetScorer()}, prompts, str(tmp_path), **steps)
    evaluation.check()
    records = {"npnet": MethodScores({"target": [3.0, 3.0, 3.0, 0.0]}), "standard": MethodScores({"target": [1.0] * 4})}
    values, said = evaluation.compare(records, ["target"])
    assert values["evaluation/target/winning_rate"] == 0.75
    assert values["evaluation/target/mean_difference"] == 1.25
    assert "target (which selected the pairs) wins 75 %" in said
    assert "mean +1.25" in said


def test_a_picture_stands_with_its_own_score_and_its_own_prompt(tmp_path, monkeypatch):
    prompts, steps = PromptList(("a", "b", "c")), {"num_inference_steps": 2, "guidance_scale": 2.0}
    seeds = {"list": [4, 5]}
    evaluation = Evaluation(
        LinearBackbone(), {"target": TargetScorer()}, prompts, str(tmp_path), seeds=seeds, num_pictures=2, **steps
    )
    evaluation.check()
    drawn = []
    monkeypatch.setattr("npnet.training.evaluation.draw_side_by_side", lambda *given: drawn.extend(given))
    own = {
        label: MethodScores({"target": [first + i for i in range(6)]})
        for label, first in (("npnet", 10), ("standard", 20))
    }
    evaluation._draw(tmp_path / "x.png", own)
    assert drawn[1] == ["a (4)", "b (4)"]
    assert drawn[3] == {"standard": ["20", "22"], "npnet": ["10", "12"]}


def test_every_second_epoch_and_the_last_one_are_evaluated_once(tmp_path, monkeypatch):
    steps = {"num_inference_steps": 2, "guidance_scale": 2.0}
    evaluation = Evaluation(
        LinearBackbone(), {"target": TargetScorer()}, PromptList(("a",)), str(tmp_path), every_n_epochs=2, **steps
    )
    done = []
    monkeypatch.setattr(evaluation, "_records", lambda network: done.append(trainer.current_epoch))
    monkeypatch.setattr(evaluation, "_draw", lambda path, records: None)
    monkeypatch.setattr(evaluation, "compare", lambda records, selected_by: ({}, ""))
    data = SimpleNamespace(request={})
    trainer = SimpleNamespace(max_epochs=5, is_global_zero=True, loggers=[], datamodule=data, current_epoch=0)
    module = SimpleNamespace(network=torch.nn.Identity(), log_dict=lambda values, **options: None)
    for trainer.current_epoch in (0, 1, 1, 2, 3, 4, 4):
        evaluation.on_train_epoch_end(trainer, module)
    assert done == [1, 3, 4]

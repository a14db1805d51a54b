"""Training on a reward as a user starts it: refused early, resumed to the bit, marked for good."""

import csv
import json

import pytest
import torch

from npnet.backbones import Backbone, Shapes
from npnet.data.prompt_noise import PromptNoise
from npnet.errors import UserError
from npnet.evaluation.plan import optimised_for
from npnet.metrics import ShapesJudge, ShapesScorer
from npnet.noise import Network
from npnet.training.settings import ON_PAIRS
from tests.metrics import tiny as tiny_metrics
from tests.pairs import write_folder
from tests.tiny import sdxl_pipeline
from tests.training.runs import FAKE_BACKBONE, checkpoint, run, run_killed_at, same, weights

PROMPTS = "prompts.list=[one,two,three,four,five,six,seven,eight,nine,ten]"
SMALL = [
    "objective=reward",
    *FAKE_BACKBONE,
    "network=shapes_unet",
    "network.trunk.widths=[8,8]",
    "metric=[]",
    "+metric.target._target_=tests.fakes.TargetScorer",
    "+metric.bright._target_=tests.fakes.Brightness",
    "objective.reward=target",
    "objective.num_inference_steps=2",
    "objective.noises_per_prompt=2",
    "prompts=list",
    PROMPTS,
    "batch_size=4",
    "data.validation_share=0.3",
    "module.learning_rate=1e-2",
    "trainer.max_epochs=2",
]
FULL = [
    *SMALL,
    "objective.kl=0.1",
    "objective.norm=0.001",
    "objective.diversity=0.2",
    "callbacks=[best,latest,ema]",
    "callbacks.ema.decay=0.8",
    "callbacks.latest.every_n_train_steps=1",
    "trainer.gradient_clip_val=0.1",
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "run"
    run("null", folder, small=FULL)
    return folder


def test_a_run_writes_its_values_its_network_and_a_card_that_says_what_it_is(undisturbed):
    rows = list(csv.DictReader((undisturbed / "metrics.csv").open()))
    known = set().union(*({name for name, value in row.items() if value} for row in rows))
    told = {"reward", "loss", "l2", "kl", "norm", "alikeness"}
    assert {f"train/{name}" for name in told} | {"val/reward", "val/target", "val/bright", "val/diversity"} <= known
    training = json.loads((undisturbed / "network" / "training.json").read_text())
    assert training["selected_by"] == ["target"]
    card = (undisturbed / "network" / "README.md").read_text()
    assert "Trained without pairs" in card and "Optimised for: target." in card and "experimental" in card


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_run_ends_with_the_same_bits(step, undisturbed, tmp_path):
    run_killed_at(step, "null", tmp_path / "run", small=FULL)
    run("null", tmp_path / "run", small=FULL)
    for name in ("last", "best"):
        found, expected = (checkpoint(folder, name) for folder in (tmp_path / "run", undisturbed))
        assert found["global_step"] == expected["global_step"]
        assert same(found["state_dict"], expected["state_dict"])
    assert same(weights(tmp_path / "run"), weights(undisturbed))
    assert (tmp_path / "run" / "metrics.csv").read_text() == (undisturbed / "metrics.csv").read_text()


def test_the_metrics_that_were_climbed_stay_marked_also_in_what_starts_from_it(undisturbed, tmp_path):
    metrics = {"target": None, "bright": None}
    assert optimised_for(Network(str(undisturbed / "network")), Shapes(), metrics, []) == ["target"]
    pairs = write_folder(tmp_path / "pairs", [12, 8], num_prompts=6)
    asked = ["network=shapes_unet", "network.trunk.widths=[8,8]", "trainer.max_epochs=1", "data.batch_size=8"]
    run(pairs, tmp_path / "next", f"init_from={undisturbed / 'network'}", small=asked)
    (tmp_path / "next" / "network" / "training.json").unlink()  # config.json alone is what a hub is sure to have
    assert "target" in optimised_for(Network(str(tmp_path / "next" / "network")), Shapes(), metrics, [])


REFUSED = [
    (["objective.reward=null"], "objective.reward=null: the label of a metric with gradients is needed; .* target"),
    (["objective.reward=nosuch"], r"objective.reward optimises nosuch: add it to the metrics"),
    (["+objective.reward={target:x}"], "objective.reward"),
    (["objective.num_inference_steps=9"], "objective.num_inference_steps=9: gradients through 9 steps are useless"),
    (["objective.noises_per_prompt=3"], "batch_size=4: a multiple of objective.noises_per_prompt=3"),
    (["objective.diversity=1", "objective.noises_per_prompt=1"], "objective.noises_per_prompt=1: diversity needs"),
    (["callbacks.best.monitor=val/mse"], "callbacks.best.monitor=val/mse: .*val/reward"),
    (["callbacks=[best,evaluation]"], "callbacks.evaluation would draw the prompts that objective=reward trains on"),
    (["objective.kl=-1"], "objective.kl=-1: a number of at least 0"),
    (["objective.kl_powers=1"], "objective.kl_powers=1: a whole number of at least 2"),
    (["objective.diversity_space._target_=npnet.metrics.TargetScorer"], "objective.*TargetScorer"),
    (["data.validation_share=0.999"], "prompts: none is left to train on"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_does_not_go_together_is_one_line_before_anything_is_loaded(overrides, message, tmp_path, monkeypatch):
    monkeypatch.setattr(Backbone, "load", lambda *args: pytest.fail("loaded"))
    with pytest.raises(UserError, match=message):
        run("null", tmp_path / "run", *overrides, "dry_run=true", small=SMALL)


@pytest.mark.parametrize("missing", ["prompts", "backbone"])
def test_what_is_missing_is_said_by_name(missing, tmp_path):
    without = [asked for asked in SMALL if not asked.startswith(missing)]
    with pytest.raises(UserError, match=f"objective=reward needs {missing}=NAME"):
        run("null", tmp_path / "run", "dry_run=true", small=without)


def test_a_metric_without_gradients_is_refused_before_loading(tmp_path, monkeypatch):
    for kind in (Backbone, ShapesJudge, ShapesScorer):
        monkeypatch.setattr(kind, "load", lambda *args: pytest.fail("loaded"))
    asked = ["experiment=reward_shapes_train", "objective.reward=shapes_judge"]
    with pytest.raises(UserError, match=r"objective.reward follows gradients, which metric.shapes_judge does not have"):
        run("null", tmp_path / "run", *asked, small=[])


def test_shards_and_a_jacobian_through_an_svd_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.shards=.*: objective=reward needs prompts=NAME instead of pairs"):
        run(tmp_path, tmp_path / "run", small=SMALL)
    with pytest.raises(UserError, match=r"objective.kl=0.1: the Jacobian leaves the SVD out"):
        run(
            "null",
            tmp_path / "run",
            "objective.kl=0.1",
            "network=shapes",
            "network.residual_branch=false",
            small=[o for o in SMALL if not o.startswith("network")],
        )


def test_a_dry_run_says_what_a_step_costs_and_a_start_from_nothing_is_warned_of(tmp_path, capsys):
    run("null", tmp_path / "run", "dry_run=true", small=SMALL)
    said = capsys.readouterr().out
    assert "a step costs 16 forwards" in said and "experimental" in said
    run("null", tmp_path / "run", "trainer.max_epochs=1", small=SMALL)
    assert "Training starts from fresh weights" in capsys.readouterr().out


def test_the_default_objective_is_no_part_of_a_request(tmp_path):
    from npnet.training.settings import request_of

    config = {"output_dir": "x", "data": {}, "objective": dict(ON_PAIRS)}
    assert "objective" not in request_of(config)
    assert "objective" in request_of({**config, "objective": {**ON_PAIRS, "mode": "max"}})


def prompt_noise(**keys):
    return PromptNoise([f"prompt {i}" for i in range(40)], (2, 3, 3), 8, 2, 0.25, seed=3, **keys)


def test_an_epoch_takes_every_training_prompt_once_with_noise_of_its_own():
    data = prompt_noise()
    epochs = [list(data.batches(epoch)) for epoch in (0, 1)]
    for batches in epochs:
        assert sorted(p for b in batches for p in b["prompts"]) == sorted(2 * data.training)
        assert all(b["prompts"][0::2] == b["prompts"][1::2] for b in batches)
    rows = torch.cat([b["source_noise"].flatten(1) for batches in epochs for b in batches])
    assert len(rows.unique(dim=0)) == len(rows) == 4 * len(data.training)
    assert not set(data.training) & set(data.validating)


def test_a_resumed_loader_gives_the_batches_that_were_left():
    whole, data = [list(prompt_noise().batches(epoch)) for epoch in (0, 1)], prompt_noise()
    data.position = (0, 2)
    loader = data.train_dataloader()
    for found, expected in zip([list(loader), list(loader)], [whole[0][2:], whole[1]], strict=True):
        assert [b["prompts"] for b in found] == [b["prompts"] for b in expected]
        assert all(torch.equal(a["source_noise"], b["source_noise"]) for a, b in zip(found, expected, strict=True))


def test_the_experiment_for_sdxl_turbo_runs_end_to_end_on_tiny_weights(tmp_path):
    torch.manual_seed(0)
    sdxl_pipeline().save_pretrained(tmp_path / "turbo")
    sources = {
        "hpsv2": tiny_metrics.write_hpsv2(tmp_path / "hpsv2"),
        "imagereward": tiny_metrics.write_imagereward(tmp_path / "imagereward"),
        "pickscore": tiny_metrics.write_clip(tmp_path / "pick", seed=20),
        "clipscore": tiny_metrics.write_clip(tmp_path / "clip"),
        "aes": tiny_metrics.write_aes(tmp_path / "aes"),
    }
    asked = [
        "experiment=reward_sdxl_turbo_train",
        f"backbone.path={tmp_path / 'turbo'}",
        *("backbone.dtype=float32", "backbone.variant=null", "backbone.height=64", "backbone.width=64"),
        *(f"metric.{label}.path={path}" for label, path in sources.items()),
        *("metric.imagereward.tokenizer_path=null", "metric.pickscore.tokenizer_path=null"),
        f"metric.aes.clip_path={tmp_path / 'clip'}",
        *("prompts=list", "prompts.list=[red,green,blue,sky,sea,sun,moon,star,cat,dog]", "prompts.limit=null"),
        *("network.trunk={widths:[8,8],patch_size:1}", "batch_size=2"),
        *("trainer.accumulate_grad_batches=2", "trainer.accelerator=cpu", "data.validation_share=0.2"),
    ]
    run("null", tmp_path / "run", *asked, small=[])
    told = json.loads((tmp_path / "run" / "network" / "config.json").read_text())["trained_for"]
    assert told["optimised_for"] == ["hpsv2", "imagereward", "pickscore", "clipscore"]
    assert {"val/aes", "val/reward"} <= json.loads((tmp_path / "run" / "network" / "training.json").read_text())[
        "last_epoch_metrics"
    ].keys()

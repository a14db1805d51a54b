"""Each option does what its name says, shown on weights."""

import pytest
import torch

from npnet.data.shards import read_pairs
from npnet.errors import UserError
from tests.pairs import write_folder
from tests.training.runs import LIGHT, checkpoint, run, same, weights


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [20, 20], num_prompts=16)


def trained(pairs, folder, *overrides):
    run(pairs, folder, "trainer.max_epochs=2", "data.validation_share=0", *overrides, small=LIGHT)
    return checkpoint(folder)


@pytest.fixture(scope="module")
def plain(pairs, tmp_path_factory):
    return trained(pairs, tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def start(pairs, tmp_path_factory):
    return trained(pairs, tmp_path_factory.mktemp("start") / "run", "module.learning_rate=1e-30")


def distance(a, b):
    return sum(float((a["state_dict"][n] - b["state_dict"][n]).square().sum()) for n in a["state_dict"]) ** 0.5


def test_the_batch_size_is_one_key_for_all_commands(pairs, tmp_path):
    light = [override for override in LIGHT if not override.startswith("data.batch_size")]
    kept = len(list(read_pairs(pairs)))
    for name, override in (("batch_size", "batch_size=4"), ("data.batch_size", "data.batch_size=4")):
        run(pairs, tmp_path / name, "trainer.max_epochs=1", "data.validation_share=0", override, small=light)
        assert checkpoint(tmp_path / name)["global_step"] == kept / 4


def test_a_cosine_schedule_ends_at_zero_and_a_warm_up_starts_small(pairs, plain, tmp_path):
    cosine = trained(pairs, tmp_path / "run", "module.schedule=cosine", "module.warmup_steps=2")
    assert cosine["lr_schedulers"][0]["_last_lr"] == [pytest.approx(0, abs=1e-12)]
    assert plain["lr_schedulers"][0]["_last_lr"] == [2e-3]


def test_the_averaged_weights_are_the_moving_average_and_are_exported(pairs, plain, start, tmp_path):
    averaged = trained(pairs, tmp_path / "zero", "callbacks=[best,latest,ema]", "callbacks.ema.decay=0.0")
    assert same(averaged["state_dict"], plain["state_dict"])
    averaged = trained(pairs, tmp_path / "run", "callbacks=[best,latest,ema]", "callbacks.ema.decay=0.9")
    assert 0 < distance(averaged, start) < distance(plain, start)
    exported = weights(tmp_path / "run")
    assert all(torch.equal(exported[n.removeprefix("network.")], t) for n, t in averaged["state_dict"].items())


def test_gradients_clipped_to_nothing_leave_weight_decay_alone(pairs, start, tmp_path):
    clipped = trained(pairs, tmp_path / "run", "trainer.gradient_clip_val=1e-30")
    steps, decay = clipped["global_step"], 1 - 2e-3 * 0.01
    for name, tensor in clipped["state_dict"].items():
        torch.testing.assert_close(tensor, start["state_dict"][name] * decay**steps, rtol=1e-5, atol=1e-8)


def test_bfloat16_computes_in_half_and_keeps_weights_in_float32(pairs, plain, start, tmp_path):
    half = trained(pairs, tmp_path / "run", "trainer.precision=bf16-mixed")
    assert {t.dtype for t in half["state_dict"].values()} == {torch.float32}
    assert 0 < distance(half, plain) < 0.5 * distance(plain, start)


def test_early_stopping_ends_a_run_that_no_longer_improves(pairs, tmp_path):
    stopping = ["callbacks=[best,latest,early_stopping]", "callbacks.early_stopping.patience=2"]
    still = ["module.learning_rate=1e-30", "data.validation_share=0.2", "trainer.max_epochs=50"]
    run(pairs, tmp_path / "run", *stopping, *still, small=LIGHT)
    assert checkpoint(tmp_path / "run")["epoch"] == 3
    with pytest.raises(UserError, match="no pair is left"):
        run(pairs, tmp_path / "other", *stopping, "data.validation_share=0", small=LIGHT)


def test_another_loss_on_pairs_learns_something_else(pairs, plain, tmp_path):
    assert distance(trained(pairs, tmp_path / "run", "objective.preference=0.5"), plain) > 1e-3


def test_a_gain_by_a_metric_that_the_shards_do_not_hold_is_refused(pairs, tmp_path):
    with pytest.raises(UserError, match=r"objective\.gain_metric.*nosuch.*the shards hold: "):
        trained(pairs, tmp_path / "run", "objective.gain_power=1", "objective.gain_metric=nosuch")
    assert not any(tmp_path.iterdir())

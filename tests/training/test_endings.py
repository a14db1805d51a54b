"""A run that is stopped says how to go on; one that cannot train says so before it begins."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from npnet.ending import end
from npnet.errors import UserError
from npnet.training.callbacks import FiniteLoss
from npnet.training.checkpoints import Best, Latest
from npnet.training.export import Begun, Result, export
from npnet.training.objective import PairsObjective
from npnet.training.run import _require_batches
from tests.pairs import write_folder
from tests.training.runs import LIGHT, checkpoint, run, same, weights


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [30], num_prompts=16)


def terminated(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("stop", "code"), [(terminated, 143), (interrupted, 130)])
def test_a_run_that_is_stopped_ends_with_its_code_and_says_how_to_resume(stop, code, pairs, tmp_path, capsys):
    overrides = ["trainer.max_epochs=3", "callbacks.latest.every_n_train_steps=2"]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def at_step(self, trainer, *rest):
        if trainer.global_step == 5:
            stop()

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FiniteLoss, "on_train_batch_start", at_step)
            with pytest.raises(SystemExit) as caught:
                end(lambda: run(pairs, tmp_path / "run", *overrides, small=LIGHT))
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)
    assert caught.value.code == code
    assert capsys.readouterr().err.strip() == "stopped: run the same command to resume"
    assert checkpoint(tmp_path / "run")["global_step"] == 4
    assert not (tmp_path / "run" / "network").exists()
    run(pairs, tmp_path / "run", *overrides, small=LIGHT)
    run(pairs, tmp_path / "whole", *overrides, small=LIGHT)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_fewer_pairs_than_processes_are_one_line_before_training(pairs):
    from npnet.data.pairs import Pairs

    data = Pairs(shards=str(pairs), validation_share=0.0).load()
    data.check()

    class Settings:
        trainer = type("Node", (), {"keys": {"devices": 25}})
        objective = PairsObjective()

    _require_batches(Settings, data, 24)
    with pytest.raises(UserError, match="trainer.devices=25: 24 pairs are fewer than the 25 processes"):
        _require_batches(Settings, data, 25)


def test_an_untrained_network_is_not_exported(tmp_path):
    with pytest.raises(UserError, match="no training step was taken"):
        export(None, None, Result(Begun(None), 0, 0, {}), tmp_path / "network", {})
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_pairs_that_was_killed_is_one_line_and_no_traceback(pairs, tmp_path, monkeypatch, capsys):
    def killed(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.\nMore advice")

    monkeypatch.setattr(FiniteLoss, "on_train_batch_start", killed)
    with pytest.raises(SystemExit) as caught:
        end(lambda: run(pairs, tmp_path / "run", small=LIGHT))
    error = capsys.readouterr().err
    assert caught.value.code == 137 and error.startswith("error: DataLoader worker (pid 7) is killed")
    assert error.count("\n") == 1 and "run the same command to resume" in error


def test_a_checkpoint_is_written_between_two_steps_of_the_optimiser_and_not_beside_a_validation():
    saved = []
    trainer = SimpleNamespace(
        accumulate_grad_batches=2,
        val_check_batch=4,
        num_training_batches=12,
        default_root_dir=".",
        save_checkpoint=lambda path: saved.append(done),
    )
    latest = Latest(every_n_train_steps=1)
    for done in range(1, 13):
        trainer.global_step = done // 2
        latest.on_train_batch_end(trainer, None, None, None, done - 1)
    assert saved == [2, 6, 10]


@pytest.mark.parametrize(("mode", "kept"), [("min", [3.0, 2.0, 1.0]), ("max", [3.0, 5.0])])
def test_the_best_checkpoint_is_that_of_the_smallest_or_the_largest_value(mode, kept):
    saved = []
    trainer = SimpleNamespace(
        default_root_dir=".", callback_metrics={}, save_checkpoint=lambda path: saved.append(value)
    )
    best = Best("val/x", mode)
    for value in (3.0, 2.0, float("nan"), 5.0, 2.0, 1.0, 5.0):
        trainer.callback_metrics["val/x"] = torch.tensor(value)
        best._look(trainer)
    assert saved == kept

"""The learning rate by hand, step by step."""

import math
from types import SimpleNamespace

import pytest
import torch

from npnet.networks import NPNet
from npnet.training.module import NPNetModule
from npnet.training.optimisation import Optimisation
from npnet.training.run_state import RunState
from tests.fakes import SHAPE


def factors(num_steps, **keys):
    return [Optimisation(**keys).factor(step, num_steps) for step in range(num_steps + 1)]


def test_half_a_cosine_is_one_at_the_start_a_half_in_the_middle_and_zero_at_the_end():
    root = math.sqrt(0.5)
    assert factors(4, schedule="cosine") == pytest.approx([1, (1 + root) / 2, 0.5, (1 - root) / 2, 0], abs=1e-12)


def test_a_warm_up_rises_by_equal_parts_and_is_whole_at_its_last_step():
    assert factors(6, warmup_steps=4) == [0.25, 0.5, 0.75, 1, 1, 1, 1]


def test_a_cosine_is_multiplied_by_the_warm_up():
    alone, both = factors(8, schedule="cosine"), factors(8, schedule="cosine", warmup_steps=2)
    assert both == pytest.approx([0.5 * alone[0], *alone[1:]])


@pytest.fixture
def module():
    sizes = {"latent_channels": SHAPE[0], "latent_size": SHAPE[1:], "text_term": "off", "residual_branch": False}
    return NPNetModule(NPNet(**sizes), Optimisation(schedule="cosine"))


@pytest.mark.parametrize(
    ("batches", "accumulated", "epochs", "most", "steps"),
    [(6, 1, 3, -1, 18), (6, 2, 3, -1, 9), (5, 2, 3, -1, 9), (5, 2, 3, 4, 4), (5, 2, 3, 40, 9)],
)
def test_a_run_has_one_step_for_each_group_of_batches_of_an_epoch(module, batches, accumulated, epochs, most, steps):
    data = SimpleNamespace(train_dataloader=lambda: range(batches))
    module._trainer = SimpleNamespace(
        datamodule=data, accumulate_grad_batches=accumulated, max_epochs=epochs, max_steps=most
    )
    assert module._num_steps() == steps


def test_the_figures_of_a_validation_are_of_its_own_pairs_alone(module, monkeypatch):
    logged = []
    monkeypatch.setattr(NPNetModule, "forward", lambda self, batch: batch["source_noise"])
    monkeypatch.setattr(NPNetModule, "log_dict", lambda self, values, **options: logged.append(values["val/mse"]))
    for error in (2.0, 1.0):
        module.on_validation_epoch_start()
        source = torch.zeros(3, *SHAPE)
        module.validation_step({"source_noise": source, "golden_noise": source + error}, 0)
        module.on_validation_epoch_end()
    assert logged == [4.0, 1.0]


def test_the_loss_that_is_taken_down_is_that_of_a_pair_however_many_batches_make_a_step():
    state, trainer = RunState(0), SimpleNamespace(accumulate_grad_batches=4)
    bare = SimpleNamespace(network=SimpleNamespace(gates=dict))
    for size, error in ((2, 1.0), (6, 2.0)):
        divided = torch.tensor(error / 4)  # by Lightning
        state.on_train_batch_end(trainer, bare, divided, {"source_noise": range(size)}, 0)
    assert state._sums["train/mse"] / state._count == pytest.approx((2 * 1 + 6 * 2) / 8)

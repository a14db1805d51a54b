import pytest
import torch

from npnet.training.accuracy import Measurement, pair_errors, summarise, worse


@pytest.fixture
def noises():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(6, 4, 5, 5, generator=generator)
    return source, source + 0.3 * torch.randn(6, 4, 5, 5, generator=generator)


@pytest.mark.parametrize(
    ("step", "relative_mse", "share"), [(0.0, 1.0, 0.0), (0.25, 0.5625, 0.25), (1.0, 0.0, 1.0), (2.0, 1.0, 2.0)]
)
def test_a_step_of_s_towards_the_golden_noise_has_relative_error_one_less_s_squared(noises, step, relative_mse, share):
    source, golden = noises
    found = summarise(pair_errors(source + step * (golden - source), source, golden))
    assert found["relative_mse"] == pytest.approx(relative_mse, abs=1e-6)
    assert found["direction_share"] == pytest.approx(share, abs=1e-6)


def test_the_figures_of_several_pairs_are_ratios_of_their_sums():
    # columns: squared error, squared length of the golden direction, the share in it
    found = summarise(torch.tensor([[1.0, 1.0, 0.5], [1.0, 3.0, 2.5]], dtype=torch.float64))
    assert found == {"mse": 1.0, "relative_mse": 0.5, "direction_share": 0.75}


def test_the_pairs_improved_are_those_whose_error_fell():
    before = torch.tensor([[4.0, 9.0, 0.0]] * 4, dtype=torch.float64)
    after = torch.tensor([[e, 9.0, 0.0] for e in (1.0, 2.0, 3.0, 8.0)], dtype=torch.float64)
    change = Measurement(after, list("abcd")).change_since(Measurement(before, list("abcd")))
    assert (change["pairs_improved"], change["mse"]["value"]) == (0.75, -0.5)


def test_figures_do_not_depend_on_how_pairs_are_batched(noises):
    source, golden = noises
    prediction = source.roll(1, 0)
    whole = pair_errors(prediction, source, golden)
    parts = [pair_errors(prediction[i : i + 4], source[i : i + 4], golden[i : i + 4]) for i in (0, 4)]
    assert torch.equal(whole, torch.cat(parts))
    assert summarise(whole)["mse"] == pytest.approx(float((prediction - golden).square().mean()))


def test_intervals_hold_the_value_and_shrink_with_more_prompts(noises):
    generator = torch.Generator().manual_seed(1)
    errors = torch.rand(400, 3, generator=generator, dtype=torch.float64) + 1
    widths = []
    for count in (20, 400):
        figures = Measurement(errors[:count], [f"p{i}" for i in range(count)]).figures()
        for name in ("mse", "relative_mse", "direction_share"):
            low, high = figures[name]["interval"]
            assert low < figures[name]["value"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_change_is_paired(noises):
    errors = torch.rand(50, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    better = errors.clone()
    better[:, 0] -= 0.01
    prompts = [f"p{i}" for i in range(50)]
    change = Measurement(better, prompts).change_since(Measurement(errors, prompts))
    assert change["mse"]["interval"] == pytest.approx([-0.01, -0.01])
    assert change["pairs_improved"] == 1


def test_a_network_is_called_worse_where_the_ratio_that_is_shown_is_above_one():
    ratios = (0.9, 1.0, 1.004, 1.0049, 1.006, 1.2)
    said = [worse({"relative_mse": {"value": ratio}}) for ratio in ratios]
    assert said[:4] == [None] * 4 and "1.01 times" in said[4] and "1.20 times" in said[5]

"""How close a network's golden noise is to the true one: the errors of each pair, and their summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn

from npnet.metrics import statistics
from npnet.training.record import Change, Figure, Figures, Measure

MSE, TRIVIAL, RECOVERED = range(3)


def pair_errors(prediction: Tensor, source: Tensor, golden: Tensor) -> Tensor:
    """Return, for each pair of ``(B, C, *grid)`` noises, three means over its cells, ``(B, 3)`` float64 on the CPU.

    The squared error of the prediction; that of predicting the source noise, which is also the squared length of the
    golden direction x' - x; and the prediction's share in it, <prediction - x, x' - x>.
    """
    prediction, source, golden = (noise.float().flatten(1) for noise in (prediction, source, golden))
    direction = golden - source
    columns = ((prediction - golden).square(), direction.square(), (prediction - source) * direction)
    return torch.stack([column.mean(1) for column in columns], dim=1).double().cpu()


def summarise(errors: Tensor) -> dict[Measure, float]:
    """Return the summary of ``(N, 3)`` errors.

    ``relative_mse``: 1 for a network that returns its input. ``direction_share``, the share of the golden direction
    that was recovered, <prediction - x, x' - x> / |x' - x|^2: it is 0 for that network, and 1 for one that is right on
    average.
    """
    sums = errors.sum(0)
    trivial = sums[TRIVIAL].clamp_min(1e-12 * len(errors))
    return {
        "mse": float(errors[:, MSE].mean()),
        "relative_mse": float(sums[MSE] / trivial),
        "direction_share": float(sums[RECOVERED] / trivial),
    }


@dataclass(frozen=True)
class Measurement:
    """A network's ``(N, 3)`` errors on N pairs, in the order of the data."""

    errors: Tensor
    prompts: list[str]

    def figures(self) -> Figures:
        """Return ``summarise`` with 95 % intervals over prompts; None where there is only one pair."""
        rows = self.errors.T.numpy()
        intervals: dict[Measure, tuple[float, float]] = {
            "mse": statistics.means(rows[MSE], self.prompts)[0].interval,
            "relative_mse": statistics.ratios(rows[MSE], rows[TRIVIAL], self.prompts)[0][1],
            "direction_share": statistics.ratios(rows[RECOVERED], rows[TRIVIAL], self.prompts)[0][1],
        }
        found: dict[Measure, Figure] = {
            name: {"value": value, "interval": _known(intervals[name])}
            for name, value in summarise(self.errors).items()
        }
        return {
            "count": len(self.prompts),
            "num_prompts": len(set(self.prompts)),
            "mse": found["mse"],
            "relative_mse": found["relative_mse"],
            "direction_share": found["direction_share"],
        }

    def change_since(self, before: Measurement) -> Change:
        """Return the paired difference of the squared error, after minus before, with its interval over prompts."""
        one, other = (m.errors[:, MSE].numpy() for m in (self, before))
        found = statistics.compare(one, other, self.prompts)[0]
        return {
            "mse": {"value": found.mean_difference, "interval": _known(found.difference_interval)},
            "p_value": found.p_value,
            "pairs_improved": found.losses / found.count,
        }


def measure(network: nn.Module, batches: Iterable[Mapping[str, Any]], device: torch.device | str) -> Measurement:
    """Apply ``network`` to all ``batches``, in ``eval()`` mode; its mode and the random state stay as they are."""
    was_training, errors, prompts = network.training, [], []
    network.eval()
    try:
        for batch in batches:
            prompts += batch["prompts"]
            with torch.no_grad():
                prediction = predict(network, move_data_to_device(batch, device))
            errors.append(pair_errors(prediction.cpu(), batch["source_noise"], batch["golden_noise"]))
    finally:
        network.train(was_training)
    return Measurement(torch.cat(errors), prompts)


def predict(network: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Return the predicted golden noise ``(B, C, *grid)``; every sample is conditioned on its own prompt."""
    ahead = {"decomposition": batch["decomposition"]} if "decomposition" in batch else {}
    return network(
        batch["source_noise"],
        batch.get("prompt_embeds"),
        batch.get("pooled_prompt_embeds"),
        batch.get("prompt_mask"),
        **ahead,
    )


def cell(entry: Figure, sign: str = "") -> str:
    """Write a value with its interval."""
    if entry["interval"] is None:
        return f"{entry['value']:{sign}.4f}"
    low, high = entry["interval"]
    return f"{entry['value']:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"


def _known(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if all(map(math.isfinite, interval)) else None


def say(figures: Figures) -> str:
    """Write ``Measurement.figures`` in a line."""
    words: dict[Measure, str] = {"mse": "MSE", "relative_mse": "relative MSE", "direction_share": "direction share"}
    parts = []
    for name, word in words.items():
        parts.append(f"{word} {cell(figures[name])}")
    return f"{', '.join(parts)} (n = {figures['count']}, {figures['num_prompts']} prompts)"


def worse(figures: Figures) -> str | None:
    """Say that a network is further from the golden noise than its input is; None where it is closer."""
    relative = figures["relative_mse"]["value"]
    if relative is None or round(relative, 2) <= 1:  # as it is shown
        return None
    return (
        f"the network made things worse: its error is {relative:.2f} times that of the noise left as it is "
        "(more pairs, a lower module.learning_rate or fewer trainer.max_epochs may help)"
    )

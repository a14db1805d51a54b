"""Can a network tell a good noise from a bad one before sampling? The figures of docs/frontier.md.

    python evaluate.py noise=[standard] prompts=shapes_train prompts.limit=1000 seeds.per_prompt=8 output_dir=DIR
    OMP_NUM_THREADS=1 python benchmarks/score_predictor.py DIR

A U-Net reads a noise and its prompt, and learns the score of the picture that the built-in model draws from them. One
prompt in five is held out. Printed, for each training seed: the correlation of prediction and score over all held-out
noises, that within a prompt (each prompt's mean taken away from both), and what the judge says of each prompt's noise
with the highest prediction against its first noise, with a 95 % confidence interval over prompts.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from npnet.instantiate import build
from npnet.metrics import statistics
from npnet.networks import NPNet
from npnet.paths import config_dir
from npnet.seeding import named_seed, source_noises

SCORER, JUDGE = "shapes_scorer", "shapes_judge"
BATCH, STEPS, LEARNING_RATE = 64, 1400, 1e-3


class Data:
    """Noises ``(P, K, C, h, w)``, the embeddings of P prompts, and two scores ``(P, K)`` of each noise's picture."""

    def __init__(self, folder: Path) -> None:
        found = defaultdict(list)
        for line in (folder / "samples.jsonl").read_text().splitlines():
            row = json.loads(line)
            found[row["prompt"]].append(row)
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            backbone = build(compose("evaluate").backbone, "backbone").load()
        shape = backbone.latent_shape()
        self.given = backbone.encode(list(found))
        self.noises = torch.stack([source_noises([row["seed"] for row in rows], shape) for rows in found.values()])
        self.scores, self.judged = (
            torch.tensor([[row["scores"][metric] for row in rows] for rows in found.values()])
            for metric in (SCORER, JUDGE)
        )
        held_out = torch.tensor([named_seed(0, "score predictor", prompt) % 5 == 0 for prompt in found])
        self.training, self.held_out = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


class Predictor(nn.Module):
    """The recommended network's U-Net, and a linear map of what comes out of it."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        channels, *size = data.noises.shape[2:]
        length, width = data.given.prompt_embeds.shape[1:]
        form = {"trunk": {"widths": [24, 48, 80]}, "singular_value_branch": "off", "text_term": "spatial"}
        gates = {"alpha_init": 2.0, "beta_init": 1.0}
        self.network = NPNet(channels, size, prompt_length=length, prompt_embed_dim=width, **form, **gates)
        self.head = nn.Linear(data.noises[0, 0].numel(), 1)

    def forward(self, data: Data, prompts: Tensor, noises: Tensor) -> Tensor:
        """Return a prediction ``(B,)`` for the noise ``noises`` of each prompt."""
        features = self.network(data.noises[prompts, noises], data.given.prompt_embeds[prompts])
        return self.head(features.flatten(1))[:, 0]


def trained(data: Data, seed: int) -> Predictor:
    """Train on all but the held-out prompts."""
    torch.manual_seed(seed)
    predictor = Predictor(data)
    known = data.scores[data.training]
    target = (data.scores - known.mean()) / known.std()
    optimizer = torch.optim.AdamW(predictor.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        prompts = data.training[torch.randint(len(data.training), (BATCH,))]
        noises = torch.randint(data.noises.shape[1], (BATCH,))
        loss = nn.functional.mse_loss(predictor(data, prompts, noises), target[prompts, noises])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return predictor


@torch.no_grad()
def predictions(data: Data, predictor: Predictor) -> Tensor:
    """Return the prediction for every held-out noise, ``(prompts, K)``."""
    noises = range(data.noises.shape[1])
    columns = [predictor(data, data.held_out, torch.full_like(data.held_out, noise)) for noise in noises]
    return torch.stack(columns, 1)


def correlation(one: Tensor, other: Tensor) -> float:
    """Return Pearson's correlation over all entries."""
    return float(np.corrcoef(one.flatten(), other.flatten())[0, 1])


def main() -> None:
    """Print a row for each training seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = Data(options.folder)
    scores, judged = data.scores[data.held_out], data.judged[data.held_out]
    print(f"{len(data.training)} training prompts, {len(data.held_out)} held out, {scores.shape[1]} noises of each\n")
    print("| training seed | correlation | within a prompt | chosen against first, judge, points |\n|---|---|---|---|")
    for seed in range(options.seeds):
        found = predictions(data, trained(data, seed))
        centred = [values - values.mean(1, keepdim=True) for values in (found, scores)]
        chosen = judged.gather(1, found.argmax(1, keepdim=True))[:, 0]
        gain = statistics.compare(chosen.numpy(), judged[:, 0].numpy(), [str(i) for i in range(len(chosen))])[0]
        low, high = gain.difference_interval
        cells = [f"{correlation(found, scores):+.2f}", f"{correlation(*centred):+.2f}"]
        cells.append(f"{100 * gain.mean_difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

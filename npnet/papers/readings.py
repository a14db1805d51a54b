"""The tables that need no scores: gates of networks, singular vectors of pairs, pictures and FID."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from npnet.data.shards import read_pairs
from npnet.metrics.fid import fid_of_folders
from npnet.networks import NPNet, decompose
from npnet.papers import published
from npnet.papers.asked import FISH, INCEPTION, Asked
from npnet.papers.comparing import shipped_network
from npnet.papers.jobs import Job
from npnet.papers.setting import Setting
from npnet.papers.table import Table
from npnet.report.formats import NONE
from npnet.report.markdown import table as markdown_table
from npnet.seeding import named_seed, source_noise
from npnet.text import markdown as escaped

MAX_PAIRS = 256
"""Pairs whose singular vectors are compared."""
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Places of singular values that are shown, the largest first."""


def gates(table: Table, where: str, setting: Setting, jobs: Sequence[Job], asked: Asked) -> list[str]:
    """Return the trained gates of equation 9 beside the published ones.

    Raises:
        ValueError: a network cannot be read.
    """
    trained = [job.output_dir / "network" for job in jobs if job.command == "train" and job.is_done]
    path = Path(asked.network_path) if asked.network_path else shipped_network()
    figures = published.table(table.published) if table.published else None
    theirs = figures.select(backbone=table.published_backbone(where, setting)) if figures else {}
    alpha, beta = (
        (f"{values[name]:g}" if (values := next(iter(theirs.values()), None)) else NONE) for name in ("alpha", "beta")
    )
    rows = []
    for folder in trained or [path]:
        network = NPNet.from_pretrained(folder)
        found = network.gates()
        effect = f"{float(network.text_gate.detach()):.4g}" if "alpha" in found else NONE
        ours = [f"{float(found[name].detach()):.4g}" if name in found else NONE for name in ("alpha", "beta")]
        start = [f"{network.config[f'{name}_init']:g}" for name in ("alpha", "beta")]
        named = "/".join(folder.parts[-3:-1]) if trained else str(asked.network_path or "the shipped network")
        rows.append([named, network.config["text_term"], alpha, ours[0], effect, start[0], beta, ours[1], start[1]])
    heading = ["network", "text term", "alpha, published", "ours", "in effect", "at the start"]
    text = "alpha is the raw value; its effect is 2 sigmoid(alpha) - 1, as in the published code."
    return [markdown_table([*heading, "beta, published", "ours", "at the start"], rows), text]


def similarities(source: Tensor, golden: Tensor) -> tuple[Tensor, Tensor]:
    """Return the absolute cosines of the left and the right singular vectors of two noises, rank by rank.

    Args:
        source: ``(B, C, h, w)``.
        golden: of the same shape.

    Returns:
        Two tensors ``(B, K)`` in [0, 1], K the rank of a noise as one matrix (see ``npnet.networks.svd``).
    """
    (u, _, v), (other_u, _, other_v) = decompose(source), decompose(golden)
    return (u * other_u).sum(-2).abs(), (v * other_v).sum(-1).abs()


def singular_vectors(table: Table, where: str, setting: Setting, jobs: Sequence[Job], asked: Asked) -> list[str]:
    """Return the similarity of the singular vectors of source and golden noise, and of two random noises.

    Raises:
        UserError: the pairs cannot be read.
    """
    pairs = list(itertools.islice(read_pairs(jobs[-1].output_dir), MAX_PAIRS))
    source, golden = (
        torch.stack([getattr(pair, f"{side}_noise") for pair in pairs]).float() for side in ("source", "golden")
    )
    seeds = range(len(pairs))
    drawn = torch.stack([source_noise(named_seed(seed, "another noise"), source.shape[1:]) for seed in seeds])
    compared = [*similarities(source, golden), *similarities(source, drawn)]
    ranks = [rank for rank in RANKS if rank <= compared[0].shape[-1]]
    rows = [[str(rank), *(f"{found[:, rank - 1].mean():.3f}" for found in compared)] for rank in ranks]
    rows.append(["mean over all", *(f"{found.mean():.3f}" for found in compared)])
    heading = ["singular value", "left", "right", "left, two drawn noises", "right, two drawn noises"]
    said = f"Mean absolute cosine over {len(pairs)} kept pairs; the paper shows a picture and prints no figures."
    return [markdown_table(heading, rows), said]


def fid(table: Table, where: str, setting: Setting, jobs: Sequence[Job], asked: Asked) -> list[str]:
    """Return the FID of each method's pictures against ImageNet's.

    Raises:
        UserError: see ``fid_of_folders``.
    """
    real, weights = asked.input(FISH)[0], asked.input(INCEPTION)[0]
    drawn = [job for job in jobs if job.command == "generate" and job.is_done]
    rows = [[str(job.place["method"]), f"{fid_of_folders(job.output_dir, real, weights):.2f}"] for job in drawn]
    return [markdown_table(["method", "FID, lower is better"], rows)]


def controlled(table: Table, where: str, setting: Setting, jobs: Sequence[Job], asked: Asked) -> list[str]:
    """Return the sheets of pictures, one for each control image."""
    drawn = [job for job in jobs if job.command == "generate" and job.is_done]
    return [
        f"{escaped(str(job.place['case']))}: {escaped(str(job.place['prompt']))}\n\n"
        f"![{escaped(str(job.place['case']))}]({job.output_dir.name}/sheet.png)"
        for job in drawn
    ]

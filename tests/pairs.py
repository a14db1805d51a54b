"""Folders of shards with made-up pairs, written the way ``collect.py`` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import webdataset

from npnet.data import schema, shards
from npnet.records import NoisePair
from npnet.seeding import source_noise, stream

CHANNELS, SIDE, LENGTH, WIDTH, POOLED = 4, 8, 5, 6, 3


def shift(prompt: str) -> torch.Tensor:
    """Return what this data set adds to the noise of a prompt: ``(4, 8, 8)``, what a network can learn."""
    return 0.5 * torch.randn(CHANNELS, SIDE, SIDE, generator=stream(1, "shift", prompt))


def embeds(prompt: str) -> dict[str, torch.Tensor]:
    """Return made-up embeddings of a prompt."""
    generator = stream(2, "embeds", prompt)
    return {
        "prompt_embeds": torch.randn(LENGTH, WIDTH, generator=generator),
        "pooled_prompt_embeds": torch.randn(POOLED, generator=generator),
    }


def pair(prompt: str, seed: int, key: str, kept: bool = True, with_embeds: bool = True) -> NoisePair:
    """Return one made-up pair."""
    noise = source_noise(seed, (CHANNELS, SIDE, SIDE))
    return NoisePair(
        key=key,
        prompt=prompt,
        seed=seed,
        source_noise=noise,
        golden_noise=noise + shift(prompt),
        scores={"fake": (0.0, 1.0 if kept else -1.0)},
        kept=kept,
        prompt_embeds=embeds(prompt) if with_embeds else None,
    )


def write_folder(folder: Path, sizes: Sequence[int], num_prompts: int | None = None, with_embeds: bool = True) -> Path:
    """Write one finished shard for each size; every fifth pair is a rejected one."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for chunk, size in enumerate(sizes):
        path = shards.shard_path(folder, chunk)
        candidates = []
        with webdataset.TarWriter(str(path), mtime=0) as tar:
            for _ in range(size):
                prompt = f"prompt {number % (num_prompts or 10**9)}"
                made = pair(prompt, number, f"{number:07d}-{number:010d}", number % 5 != 4, with_embeds)
                tar.write(schema.encode(made, number))
                candidates.append(shards.TriedPair(made.key, prompt, number, number, made.scores, made.kept).to_json())
                number += 1
        sidecar = {
            "candidates": candidates,
            "num_bytes": path.stat().st_size,
            "sha256": shards.file_sha256(path),
        }
        shards.sidecar_path(path).write_text(json.dumps(sidecar))
    return folder

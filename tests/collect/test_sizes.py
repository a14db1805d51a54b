"""What pairs of SDXL's shapes take on the disk: the noises and embeddings, and hardly anything besides."""

import pytest
import torch

from collect.writer import ShardWriter, write_sidecar
from npnet.data.shards import TriedPair
from npnet.data.sidecars import shard_path, sidecar_path
from npnet.records import NoisePair

TRIED_PER_KEPT = 1 / 0.76
"""The paper keeps 76 % of the pairs; the sidecar lists the others too."""
NUM_PAIRS = 6
PROMPT = "a long prompt of about two hundred characters, as people write them: " + "highly detailed, " * 8


def bytes_per_kept_pair(folder, with_embeds):
    path = shard_path(folder, 0)
    generator = torch.Generator().manual_seed(0)
    candidates = []
    with ShardWriter(path) as writer:
        for number in range(NUM_PAIRS):
            source, golden = (torch.randn(4, 128, 128, generator=generator) for _ in range(2))
            embeds = {"prompt_embeds": torch.randn(77, 2048), "pooled_prompt_embeds": torch.randn(1280)}
            scores = dict.fromkeys(("hpsv2", "pickscore", "aes", "imagereward"), (0.2812345678, 0.2912345678))
            key = f"{number:07d}-{number:010d}"
            writer.add(NoisePair(key, PROMPT, number, source, golden, scores, True, embeds if with_embeds else None), 0)
            candidates.append(TriedPair(key, PROMPT, number, number, scores, True))
    write_sidecar(path, writer, candidates, {})
    in_tar = path.stat().st_size / NUM_PAIRS
    return in_tar + TRIED_PER_KEPT * sidecar_path(path).stat().st_size / NUM_PAIRS


@pytest.mark.parametrize(("with_embeds", "gigabytes"), [(True, 60), (False, 30)])
def test_a_hundred_thousand_pairs_of_sdxl_fit(tmp_path, with_embeds, gigabytes):
    assert 100_000 * bytes_per_kept_pair(tmp_path, with_embeds) < gigabytes * 1e9


def test_noises_and_embeddings_are_nearly_all_of_it(tmp_path):
    noises, embeds = 2 * 2 * 4 * 128 * 128, 2 * (77 * 2048 + 1280)
    (tmp_path / "a").mkdir()
    assert bytes_per_kept_pair(tmp_path, True) < 1.02 * (noises + embeds)
    assert bytes_per_kept_pair(tmp_path / "a", False) < 1.03 * noises

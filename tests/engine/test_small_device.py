"""Every command on a device that cannot hold more than three pictures: it ends, and nothing is denoised twice."""

import json
import sys

import pytest
import torch

from collect.cli import collect
from npnet import cli
from npnet.backbones.runtime.pipeline import VaeDecoder
from npnet.data.shards import read_shard, shard_path
from npnet.report.command import evaluate
from tests.collected import composed
from tests.fakes import LoadedLinear
from tests.pairs import write_folder
from tests.training.runs import EVALUATION, FAKE_BACKBONE, LIGHT, run

HELD = 3
STEPS = 4
"""Of the Shapes model, each of two forwards under guidance."""


@pytest.fixture
def refused(monkeypatch):
    """Lets the device hold three pictures, and returns how many more were asked for, at each refusal."""
    found = []
    for owner in (VaeDecoder, LoadedLinear):
        monkeypatch.setattr(owner, "decode", narrow(owner.decode, found))
    return found


def narrow(decode, found):
    def call(self, latents):
        if len(latents) > HELD:
            found.append(len(latents))
            raise torch.OutOfMemoryError
        return decode(self, latents)

    return call


def test_collect(tmp_path, refused):
    asked = ["prompts.limit=8", "chunk_size=4", "batch_size=4", "card=false", f"output_dir={tmp_path}"]
    collect(composed("collect", *asked))
    for chunk in (0, 1):  # the first shard too, in which the device is learnt
        assert read_shard(shard_path(tmp_path, chunk)).sidecar["forwards_per_pair"] == 4 * STEPS + 1
    assert refused == [8, 4]


def test_evaluate(tmp_path, refused):
    search = ["noise.best_of_n.num_candidates=2", "noise.best_of_n.scorer=shapes_scorer"]
    asked = ["noise=[standard,best_of_n]", *search, "prompts.limit=4", "batch_size=4", "num_resamples=40"]
    evaluate(composed("evaluate", *asked, "keep_images=0", f"output_dir={tmp_path}"))
    methods = json.loads((tmp_path / "results.json").read_text())["methods"]
    forwards = {label: method["cost"]["forwards"] for label, method in methods.items()}
    assert forwards == {"standard": 2 * STEPS, "best_of_n": 4 * STEPS}  # the winner was sampled
    assert refused == [4, 4]  # what a search can hold is its own


def test_generate(tmp_path, refused, monkeypatch):
    prompt = "a red circle to the left of a blue square"
    call = [prompt, "--seed", "0", "1", "2", "3", "--noise", "standard", "--out", str(tmp_path), "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["npnet", "generate", *call])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    assert len(list(tmp_path.glob("a-red-*.png"))) == 4
    assert refused == [4]


def test_train(tmp_path, refused):
    pairs = write_folder(tmp_path / "pairs", [20], num_prompts=8, with_embeds=False)
    watched = ["callbacks=[best,latest,evaluation]", *EVALUATION, "trainer.max_epochs=1"]
    run(pairs, tmp_path / "run", *FAKE_BACKBONE, *watched, small=LIGHT)
    assert list((tmp_path / "run" / "evaluation").glob("*.png"))
    assert refused

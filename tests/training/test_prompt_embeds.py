"""Shards without embeddings: made once for each prompt, and kept."""

import pytest
import torch

from npnet import seeding
from npnet.data import schema
from npnet.data.pairs import Pairs
from npnet.errors import UserError
from npnet.work import atomic
from tests.fakes import LinearBackbone, LinearText, linear
from tests.pairs import write_folder
from tests.training.runs import FAKE_BACKBONE, LIGHT, run, same, weights


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [12, 12], num_prompts=8, with_embeds=False)


@pytest.fixture
def encoded(monkeypatch):
    """The prompts that any text encoder was given."""
    seen = []
    encode = LinearText.encode
    monkeypatch.setattr(LinearText, "encode", lambda self, prompts: (seen.extend(prompts), encode(self, prompts))[1])
    return seen


def start(folder, output_dir, *overrides):
    run(folder, output_dir, "trainer.max_epochs=1", *overrides, small=LIGHT)


def test_every_prompt_is_encoded_once_and_a_second_run_needs_no_encoder(bare, tmp_path, encoded, monkeypatch):
    cache = f"data.embeddings_cache={tmp_path / 'cache'}"
    start(bare, tmp_path / "one", cache, *FAKE_BACKBONE)
    assert sorted(encoded) == [f"prompt {i}" for i in range(8)]

    def refuse(self, device=None):
        raise AssertionError("a text encoder was loaded")

    monkeypatch.setattr(LinearBackbone, "load", refuse)
    start(bare, tmp_path / "two", cache, *FAKE_BACKBONE)
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_training_is_the_same_as_on_shards_that_hold_the_embeddings(bare, tmp_path, monkeypatch):
    def embeds(prompt):
        conditioning = linear(device="cpu").encode([prompt])
        return schema.prompt_embeds(conditioning, 0)

    monkeypatch.setattr("tests.pairs.embeds", embeds)
    full = write_folder(tmp_path / "full", [12, 12], num_prompts=8)
    start(bare, tmp_path / "one", *FAKE_BACKBONE, "data.num_workers=1")
    start(full, tmp_path / "two", "data.num_workers=1")
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_the_collections_own_backbone_is_the_default(tmp_path):
    from npnet.backbones import Shapes
    from npnet.data.prompts import ShapesPrompts
    from npnet.records import NoisePair

    prompts = ShapesPrompts("train", limit=6).read().prompts
    folder = write_shapes(tmp_path / "pairs", prompts)
    start(folder, tmp_path / "run", "data.batch_size=4")
    data = Pairs(str(folder), embeddings_cache=str(tmp_path / "run" / ".embeddings")).load()
    data.check()
    assert not data.holds_embeddings
    held = Shapes(device="cpu").load().encode(prompts[:1])
    found = list((tmp_path / "run" / ".embeddings").glob("*/*.safetensors"))
    assert len(found) == 6
    assert NoisePair is not None and held.prompt_embeds.shape[1:] == (16, 96)


def write_shapes(folder, prompts):
    """Pairs without embeddings as ``collect.py keep_embeds=false`` leaves them."""
    import json

    import webdataset

    from npnet.data import shards
    from npnet.records import NoisePair

    folder.mkdir()
    candidates = []
    with webdataset.TarWriter(str(folder / "shard-000000.tar"), mtime=0) as tar:
        for number, prompt in enumerate(prompts):
            noise = seeding.source_noise(number, (4, 16, 16))
            pair = NoisePair(f"{number:07d}-{number:010d}", prompt, number, noise, noise + 0.1, {"f": (0.0, 1.0)}, True)
            tar.write(schema.encode(pair, number))
            entry = shards.TriedPair(pair.key, prompt, number, number, pair.scores, True).to_json()
            candidates.append(entry)
    path = folder / "shard-000000.tar"
    sidecar = {"candidates": candidates, "num_bytes": path.stat().st_size, "sha256": shards.file_sha256(path)}
    (folder / "shard-000000.json").write_text(json.dumps(sidecar))
    backbone = {"_target_": "npnet.backbones.Shapes", "path": None, "height": 32, "width": 32, "dtype": "float32"}
    atomic.write_json(folder / "request.json", {"num_chunks": 1, "backbone": backbone, "selected_by": ["f"]})
    return folder


@pytest.mark.parametrize("target", ["os.system", "npnet.backbones.loading", "npnet.cli.main", ""])
def test_a_request_builds_nothing_but_a_backbone_of_this_project(bare, tmp_path, target):
    folder = write_folder(tmp_path / "pairs", [12], with_embeds=False)
    atomic.write_json(folder / "request.json", {"num_chunks": 1, "backbone": {"_target_": target, "path": "x"}})
    with pytest.raises(UserError, match="hold no embeddings, and their request names no backbone of this project"):
        start(folder, tmp_path / "run")


def test_another_backbone_than_the_collections_is_refused(tmp_path):
    folder = write_shapes(tmp_path / "pairs", ["a red circle above a blue square"] * 1)
    with pytest.raises(UserError, match="no pair|is asked for"):
        start(folder, tmp_path / "run", *FAKE_BACKBONE, "data.validation_share=0")


def test_without_a_text_term_no_embeddings_are_needed(bare, tmp_path):
    run(bare, tmp_path / "run", "trainer.max_epochs=1", "network.text_term='off'", small=LIGHT)
    assert not any(name.startswith("text") for name in weights(tmp_path / "run"))


def test_a_prompt_that_is_not_cached_is_named(bare):
    data = Pairs(str(bare), validation_share=0).load()
    data.check()
    data.embeddings = {}.get
    with pytest.raises(UserError, match="no embeddings are cached for 'prompt"):
        list(data.train_dataloader())
    data.embeddings = lambda prompt: {"prompt_embeds": torch.zeros(2, 3)}
    assert next(iter(data.train_dataloader()))["prompt_embeds"].shape[1:] == (2, 3)


def test_a_start_that_does_not_fit_is_refused_before_the_backbone_is_loaded(bare, tmp_path, monkeypatch):
    start(bare, tmp_path / "one", *FAKE_BACKBONE)

    def refuse(self, device=None):
        raise AssertionError("the backbone was loaded")

    monkeypatch.setattr(LinearBackbone, "load", refuse)
    begin = [f"init_from={tmp_path / 'one' / 'network'}", f"data.embeddings_cache={tmp_path / 'cache'}", *FAKE_BACKBONE]
    with pytest.raises(UserError, match="init_from=.*does not fit its network"):
        start(bare, tmp_path / "two", *begin, "network.residual_branch=true")
    with pytest.raises(AssertionError, match="loaded"):
        start(bare, tmp_path / "three", *begin)

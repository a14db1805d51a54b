"""At full size, our models take exactly the tensors that the authors' own classes have.

``tests/fixtures/metrics/*.json`` lists names, shapes and types, made by those classes on the meta device (``source``
says which); ``{0-23}`` stands for the layers 0 to 23. Nothing here needs memory for the weights.
"""

import functools
import json
import re
from pathlib import Path

import pytest
import torch
from open_clip import get_model_config

from npnet.errors import UserError
from npnet.metrics.runtime.blip import TextConfig, VisionConfig
from npnet.metrics.runtime.clip import VIT_H_14, build_clip
from npnet.metrics.runtime.clip_flant5 import ClipFlanT5, rename, rename_tower
from npnet.metrics.runtime.head import LinearHead
from npnet.metrics.runtime.hpsv2 import build_open_clip
from npnet.metrics.runtime.imagereward import UNUSED, RewardModel
from npnet.metrics.runtime.inception import Inception
from npnet.metrics.runtime.mps import MPSModel
from npnet.weights.files import matches
from npnet.weights.tensors import LEGACY_BUFFERS, build_empty, load_strict

FIXTURES = Path(__file__).parents[1] / "fixtures" / "metrics"
VIT_L_14 = {
    "projection_dim": 768,
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
}
TOWER = {**VIT_L_14["vision_config"], "image_size": 336}


def flant5(d_model, d_ff, num_heads):
    return {
        "vocab_size": 32128,
        "d_kv": 64,
        "num_layers": 24,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "mm_vision_select_layer": -2,
        "d_model": d_model,
        "d_ff": d_ff,
        "num_heads": num_heads,
    }


MODELS = {
    "hpsv2": lambda: build_open_clip(get_model_config("ViT-H-14")),
    "pickscore": lambda: build_clip(VIT_H_14),
    "clip_vit_b_32": lambda: build_clip({}),
    "clip_vit_l_14": lambda: build_clip(VIT_L_14),
    "aes": lambda: build_empty(lambda: LinearHead(768)),
    "imagereward": lambda: build_empty(lambda: RewardModel(TextConfig(), VisionConfig())),
    "mps": lambda: build_empty(lambda: MPSModel(VIT_H_14)),
    "clip_flant5_xl": lambda: build_empty(lambda: ClipFlanT5(flant5(2048, 5120, 32), TOWER)),
    "clip_flant5_xxl": lambda: build_empty(lambda: ClipFlanT5(flant5(4096, 10240, 64), TOWER)),
    "inception": lambda: build_empty(Inception).body,
}
WEIGHTS = {"hpsv2": 986_109_441, "imagereward": 447_000_000, "clip_vit_l_14": 427_616_513, "clip_flant5_xxl": 11.4e9}


def published(name):
    """Return the tensors of a published checkpoint, without their values."""
    state = {}
    for template, (dtype, shape) in json.loads((FIXTURES / f"{name}.json").read_text())["tensors"].items():
        span = re.search(r"\{(\d+)-(\d+)\}", template)
        for layer in range(int(span[1]), int(span[2]) + 1) if span else [None]:
            key = template if span is None else template.replace(span[0], str(layer))
            state[key] = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
    return state


@functools.cache
def empty(name):
    return MODELS[name]()


def load(name, state):
    model = empty(name)
    if name.startswith("clip_flant5"):
        state = rename(state)
    load_strict(model, state, "path", name, ignored=UNUSED if name == "imagereward" else LEGACY_BUFFERS)
    return model


@pytest.fixture(scope="module")
def states():
    return {name: published(name) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_the_fixture_is_whole(name, states):
    about = json.loads((FIXTURES / f"{name}.json").read_text())
    assert len(states[name]) == about["num_tensors"]
    assert sum(v.numel() for v in states[name].values() if v.is_floating_point()) == about["num_weights"]


@pytest.mark.parametrize("name", MODELS)
def test_our_model_takes_the_published_tensors_and_no_others(name, states):
    model = load(name, states[name])
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in states[name].items()}
    if not name.startswith("clip_flant5"):
        unused = UNUSED if name == "imagereward" else LEGACY_BUFFERS
        assert own == {key: shape for key, shape in theirs.items() if not matches(key, unused)}
    assert all(value.dtype == torch.float32 for value in model.state_dict().values() if value.is_floating_point())


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_an_unknown_and_a_misshapen_tensor_are_refused(name, states):
    model_key = next(
        key for key in states[name] if (key.endswith("weight") and "block" in key) or "layer" in key or "Mixed" in key
    )
    for change, words in (
        (lambda s: s.pop(model_key), "1 missing"),
        (lambda s: s.update({"extra.weight": torch.empty(1, device="meta")}), "1 unknown"),
        (lambda s: s.update({model_key: torch.empty(3, 1, device="meta")}), "another shape"),
        (lambda s: s.update({model_key: s[model_key].long()}), "another shape or type"),
    ):
        state = dict(states[name])
        change(state)
        with pytest.raises(UserError, match=words):
            load(name, state)


def test_the_picture_tower_of_clip_flant5_may_come_from_its_own_checkpoint(states):
    state = {k: v for k, v in states["clip_flant5_xl"].items() if not k.startswith("vision_tower.")}
    tower = states["clip_vit_l_14"] | {
        "vision_model.embeddings.position_embedding.weight": torch.empty(577, 1024, device="meta")
    }
    load_strict(empty("clip_flant5_xl"), {**rename(state), **rename_tower(tower)}, "path", "clip_flant5_xl")


def test_half_precision_files_are_taken(states):
    state = {key: value.half() if value.is_floating_point() else value for key, value in states["hpsv2"].items()}
    assert {value.dtype for value in load("hpsv2", state).state_dict().values()} == {torch.float32}

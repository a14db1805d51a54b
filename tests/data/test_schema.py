import json
import math
import pickle

import pytest
import safetensors.torch
import torch

from npnet.data import schema
from npnet.errors import UserError
from npnet.records import Conditioning, NoisePair


def make_pair(**changes):
    generator = torch.Generator().manual_seed(0)
    values = {
        "key": "0000003-0000000007",
        "prompt": 'a "red" circle, naïve',
        "seed": 7,
        "source_noise": torch.randn(4, 8, 8, generator=generator),
        "golden_noise": torch.randn(4, 8, 8, generator=generator),
        "scores": {"b": (0.25, 0.5), "a": (-1.0, 2.0)},
        "kept": True,
        "prompt_embeds": {"prompt_embeds": torch.randn(5, 6), "prompt_mask": torch.tensor([1, 1, 0, 0, 0])},
    }
    return NoisePair(**(values | changes))


def test_what_is_written_is_read_back():
    pair = make_pair()
    read = schema.decode(schema.encode(pair, 3), "x.tar")
    for name in ("key", "prompt", "seed", "scores", "kept"):
        assert getattr(read, name) == getattr(pair, name)
    assert torch.equal(read.source_noise, pair.source_noise.half())
    assert torch.equal(read.golden_noise, pair.golden_noise.half())
    assert torch.equal(read.prompt_embeds["prompt_embeds"], pair.prompt_embeds["prompt_embeds"].half())
    assert torch.equal(read.prompt_embeds["prompt_mask"], pair.prompt_embeds["prompt_mask"])


def test_every_number_of_grid_dimensions_is_kept():
    for grid in [(8,), (8, 8), (2, 8, 8), (2, 2, 8, 8)]:
        noise = torch.randn(4, *grid)
        read = schema.decode(schema.encode(make_pair(source_noise=noise, golden_noise=noise), 3), "")
        assert read.source_noise.shape == (4, *grid)


def test_equal_pairs_are_equal_bytes_whatever_the_order_of_their_dictionaries():
    pair = make_pair(prompt_embeds=None)
    reversed_scores = make_pair(prompt_embeds=None, scores=dict(reversed(pair.scores.items())))
    assert schema.encode(pair, 3) == schema.encode(reversed_scores, 3)


def test_scores_that_are_not_finite_become_null_and_nan():
    sample = schema.encode(make_pair(scores={"a": (math.nan, math.inf)}, kept=False), 3)
    assert json.loads(sample["json"])["scores"] == {"a": {"source": None, "golden": None}}
    assert all(math.isnan(value) for value in schema.decode(sample, "").scores["a"])


def test_embeddings_that_exceed_half_precision_are_stored_in_float32():
    read = schema.decode(schema.encode(make_pair(prompt_embeds={"prompt_embeds": torch.tensor([[1e6]])}), 3), "")
    assert read.prompt_embeds["prompt_embeds"].item() == 1e6


def test_pictures_are_webp_and_small_ones_are_exact():
    import io

    import numpy as np
    from PIL import Image

    image = torch.rand(3, 32, 32)
    sample = schema.encode(make_pair(), 3, images=(image, 1 - image))
    with Image.open(io.BytesIO(sample["source.webp"])) as picture:
        assert picture.format == "WEBP"
        assert np.array_equal(np.asarray(picture), (image * 255).round().byte().permute(1, 2, 0).numpy())


def test_only_the_conditional_embeddings_of_one_prompt_are_stored():
    embeds = torch.randn(2, 5, 6)
    conditioning = Conditioning(("a", "b"), embeds, torch.zeros(2, 5, 6), pooled_prompt_embeds=torch.randn(2, 3))
    stored = schema.prompt_embeds(conditioning, 1)
    assert set(stored) == {"prompt_embeds", "pooled_prompt_embeds"}
    assert torch.equal(stored["prompt_embeds"], embeds[1])


def noise_bytes(**changes):
    noises = {"source_noise": torch.zeros(4, 8, 8).half(), "golden_noise": torch.zeros(4, 8, 8).half()}
    return safetensors.torch.save({name: t for name, t in (noises | changes).items() if t is not None})


def record(**changes):
    value = json.loads(schema.encode(make_pair(), 3)["json"]) | changes
    return json.dumps({name: v for name, v in value.items() if v is not ...}).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"json": b"{"}, "Expecting"),
        ({"json": b"\xff"}, "utf-8"),
        ({"json": b"[]"}, "not the record"),
        ({"json": record(key="other")}, "not the record"),
        ({"json": record(seed="7")}, 'seed="7": a whole number is needed'),
        ({"json": record(kept=1)}, "kept=1: true or false is needed"),
        ({"json": record(prompt=...)}, "'prompt' is missing"),
        ({"json": record(scores={"a": {"source": 1}})}, "'golden' is missing"),
        ({"json": record(scores={"a": {"source": 1, "golden": "x"}})}, "scores=.?x.?: a number is needed"),
        ({"noise.safetensors": b""}, "header"),
        ({"noise.safetensors": b"\x80\x04N."}, "header"),
        ({"noise.safetensors": noise_bytes(golden_noise=None)}, "'golden_noise' is missing"),
        ({"noise.safetensors": noise_bytes(golden_noise=torch.zeros(4, 8, 8))}, "finite float16"),
        ({"noise.safetensors": noise_bytes(golden_noise=torch.zeros(4, 8, 9).half())}, "differ in shape"),
        ({"noise.safetensors": noise_bytes(golden_noise=torch.full((4, 8, 8), math.nan).half())}, "finite float16"),
        ({"noise.safetensors": None}, "'noise.safetensors' is missing"),
        ({"embeds.safetensors": b"junk"}, "header"),
        ({"pyd": pickle.dumps(print)}, "member 'pyd' is not of this format"),
    ],
)
def test_a_damaged_sample_is_one_line_with_its_file_and_key(changes, message):
    sample = schema.encode(make_pair(), 3) | changes
    sample = {name: data for name, data in sample.items() if data is not None}
    with pytest.raises(UserError, match=message) as caught:
        schema.decode(sample, "folder/shard-000000.tar")
    assert str(caught.value).startswith("folder/shard-000000.tar: sample 0000003-0000000007: ")
    assert "\n" not in str(caught.value)

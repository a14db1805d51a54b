"""Damaged files and those of strangers: one line that says what is wrong, at once, and nothing in them is executed."""

import io
import json
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from collect.npz import read_npz
from collect.published import read_lines
from npnet.data import schema
from npnet.data.json_lines import read_json_lines
from npnet.data.prompts import PromptFile
from npnet.data.shards import iterate_shard
from npnet.data.sidecars import CHECKSUM, list_shards, sidecar_path
from npnet.data.tensor_cache import TensorCache
from npnet.errors import UserError
from npnet.evaluation.cells import Damaged, read_cell
from npnet.evaluation.contract import read_results
from npnet.networks import NPNet
from npnet.pictures.opener import open_picture
from npnet.text import visible
from npnet.training import checkpoints
from npnet.weights.files import read_index
from npnet.weights.tensors import read_tensors
from npnet.work import request as requests
from tests import hostile, pairs

SECONDS = 5.0
NETWORK = {"latent_channels": 4, "latent_size": [8, 8], "prompt_embed_dim": 6, "prompt_length": 5}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Return a whole file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    pairs.write_folder(folder / "pairs", [2])
    tar = folder / "pairs" / "shard-000000.tar"
    network = NPNet(**NETWORK, text_term="off", residual_branch=False)
    network.save_pretrained(folder / "network")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    return {
        "tar": tar.read_bytes(),
        "sidecar": json.loads(sidecar_path(tar).read_text()),
        "config": json.loads((folder / "network" / "config.json").read_text()),
        "weights": dict(network.state_dict()),
        "picture": picture.getvalue(),
        "noise": {name: torch.zeros(4, 8, 8).half() for name in (schema.SOURCE, schema.GOLDEN)},
    }


def cases(good):
    """Yield kind of file, name, bytes, and what reads a file of it."""
    shard = "shard-000000.tar"
    sample = next(iter(hostile_sample(good)))
    readers = {
        "request.json": (hostile.JSON, lambda path: requests.read(path.parent)),
        "request of pairs": (hostile.JSON, lambda path: beside(path, good, request=path.read_bytes())),
        "sidecar": (
            {**hostile.JSON, **hostile.changed({k: v for k, v in good["sidecar"].items() if k != CHECKSUM})},
            lambda path: beside(path, good, sidecar=path.read_bytes()),
        ),
        "entry": (
            {
                name: json.dumps({**good["sidecar"], "candidates": [json.loads(data)]}).encode()
                for name, data in hostile.changed(good["sidecar"]["candidates"][0]).items()
                if name not in ("reason is missing", "written is missing")
            },
            lambda path: beside(path, good, sidecar=path.read_bytes()),
        ),
        "results.json": (hostile.JSON, read_results),
        "cell": (hostile.JSON, read_cell),
        "index": (hostile.JSON, lambda path: read_index(path, "path")),
        "images.jsonl": (
            {name: data for name, data in hostile.JSON.items() if name not in NOT_WRONG_LINES},
            lambda path: list(read_json_lines(path, "images")),
        ),
        "pairs.jsonl": ({n: d for n, d in hostile.JSON.items() if n != "empty"}, read_lines),
        "config.json": (
            {**hostile.JSON, **hostile.changed(good["config"])},
            lambda path: network(path, config=path.read_bytes(), weights=good["weights"]),
        ),
        "network": (hostile.safetensors_files(good["weights"]), lambda path: network(path, good["config"])),
        "noise": (
            hostile.safetensors_files(good["noise"]),
            lambda path: schema.decode({**sample, schema.NOISE: path.read_bytes()}, "x.tar"),
        ),
        "embeddings": (
            hostile.safetensors_files(pairs.embeds("a")),
            lambda path: schema.decode({**sample, schema.EMBEDS: path.read_bytes()}, "x.tar"),
        ),
        "npz": (hostile.npz_files(), lambda path: read_npz(path, 7)),
        shard: (hostile.tar_files(good["tar"]), lambda path: [schema.decode(s, "x.tar") for s in iterate_shard(path)]),
        "picture": (hostile.picture_files(good["picture"]), lambda path: open_picture(path, "images")),
        "pth": (hostile.pth_files(), lambda path: NPNet.from_pretrained(path)),
        "checkpoint": (hostile.pth_files(), checkpoints.read),
        "weights": (hostile.pth_files(), lambda path: read_tensors(path, "weights_path")),
        **{
            f"prompts{suffix}": (files, lambda path: PromptFile(path=path).read())
            for suffix, files in hostile.PROMPTS.items()
        },
    }
    for kind, (files, read) in readers.items():
        for name, data in files.items():
            yield kind, name, data, read


NOT_WRONG_LINES = ("empty", "a number", "null", "a text", "a list", "lists", "an empty object", "escapes", "a tag")
"""JSON of any shape: what it should hold is for who asked for the lines."""
FINE = {
    *(("request.json", name) for name in ("an empty object", "escapes", "a tag")),
    *(("request of pairs", name) for name in ("an empty object", "escapes", "a tag")),
    *(("shard-000000.tar", name) for name in ("zeros", "no sample", "cut at the end", "twice")),
    *(("prompts.json", name) for name in ("a text", "escapes", "a tag")),
    ("prompts.jsonl", "a text"),
    ("prompts.csv", "quotes"),
    ("weights", "flipped"),
    *(("weights", name) for name in ("other tensors", "an escape as name", "numbers as names")),
}
"""Files in which nothing is wrong for this reader: a request may say anything, tensors may have any name, a shard may
be empty or end in less padding, odd texts are prompts, and what others publish has no checksum."""


def hostile_sample(good):
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(good["tar"])) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    key = next(iter(members)).split(".")[0]
    yield {schema.KEY: key} | {n.partition(".")[2]: data for n, data in members.items() if n.startswith(f"{key}.")}


def beside(path, good, sidecar=None, request=None):
    folder = path.parent / "pairs"
    folder.mkdir()
    (folder / "shard-000000.tar").write_bytes(good["tar"])
    (folder / "shard-000000.json").write_bytes(json.dumps(good["sidecar"]).encode() if sidecar is None else sidecar)
    if request is not None:
        (folder / "request.json").write_bytes(request)
    return list_shards(folder)


def network(path, config, weights=None):
    import safetensors.torch

    folder = path.parent / "network"
    folder.mkdir()
    (folder / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    data = path.read_bytes() if weights is None else safetensors.torch.save(weights)
    (folder / "model.safetensors").write_bytes(data)
    return NPNet.from_pretrained(folder)


def fault(path: Path, read) -> str | None:
    """Return what is wrong with how a file was refused, None where nothing is."""
    began = time.monotonic()
    try:
        read(path)
        return "accepted"
    except (UserError, Damaged) as error:
        line = str(error)
    except (ValueError, FileNotFoundError) as error:  # the contract of the library's own readers
        line = str(error)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        took = time.monotonic() - began
    if hostile.MARK:
        return "executed"
    if took > SECONDS:
        return f"took {took:.1f} s"
    if "\n" in line or visible(line) != line:
        return f"a line that a terminal obeys: {line!r}"[:300]
    return None if line else "says nothing"


def test_every_hostile_file_is_refused_in_one_line_at_once_and_runs_nothing(good, tmp_path):
    faults, count = [], 0
    for kind, name, data, read in cases(good):
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        suffix = {"pth": "a.pth", "weights": "a.pth", "network": "a.safetensors", "npz": "7_1.npz"}
        path = folder / (suffix.get(kind) or (f"a{kind[7:]}" if kind.startswith("prompts.") else kind))
        path.write_bytes(data)
        found = fault(path, read)
        is_fine = (kind, name) in FINE or (kind == "config.json" and name.endswith("is missing"))  # it has a default
        if found is None or (is_fine and found == "accepted"):
            continue
        faults.append(f"{kind}: {name}: {found}")
    assert count >= 300
    assert not faults, f"{len(faults)} of {count}\n" + "\n".join(faults)


@pytest.mark.parametrize("name", hostile.JSON)
def test_a_damaged_cached_embedding_is_made_again(tmp_path, name):
    cache = TensorCache(tmp_path, "model")
    cache.write("a", pairs.embeds("a"))
    cache.path("a").write_bytes(hostile.JSON[name])
    assert cache.read("a") is None


def test_a_cached_embedding_of_an_odd_dtype_is_made_again(tmp_path):
    cache = TensorCache(tmp_path, "model")
    for data in hostile.safetensors_files(pairs.embeds("a")).values():
        cache.write("a", pairs.embeds("a"))
        cache.path("a").write_bytes(data)
        assert cache.read("a") is None

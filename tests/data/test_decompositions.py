import functools

import pytest
import torch

from npnet.data import decompositions
from npnet.data.decompositions import KeptDecompositions
from npnet.data.pairs import Pairs
from npnet.networks import decompose
from tests.pairs import write_folder

CALLS = []


def counted(noise, scale=1.0):
    CALLS.append(len(noise))
    return decompose(noise * scale)


@pytest.fixture(autouse=True)
def small_noise_is_kept_too(monkeypatch):
    monkeypatch.setattr(decompositions, "LEAST_NUMBERS", 0)
    CALLS.clear()


def noise(*seeds):
    return torch.stack([torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(s)) for s in seeds])


def equal(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_each_noise_is_decomposed_once_whatever_the_batches(tmp_path):
    first = KeptDecompositions(counted, str(tmp_path))(noise(0, 1, 0))
    again = KeptDecompositions(counted, str(tmp_path))
    assert CALLS == [2]
    assert equal(again(noise(1, 2, 0)), [torch.stack([p[1], q[0], p[0]]) for p, q in zip(first, again(noise(2)))])  # noqa: B905
    assert CALLS == [2, 1]


def test_a_kept_decomposition_is_the_computed_one_rounded_to_half_precision(tmp_path):
    for _ in range(2):
        found = KeptDecompositions(decompose, str(tmp_path))(noise(3, 4))
        assert equal(found, [part.half().float() for part in decompose(noise(3, 4))])


def test_a_damaged_file_is_made_again(tmp_path):
    kept = KeptDecompositions(counted, str(tmp_path))
    first = kept(noise(5))
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert equal(kept(noise(5)), first)
    assert CALLS == [1, 1]


def test_functions_of_another_name_or_argument_share_nothing(tmp_path):
    for function in (counted, functools.partial(counted, scale=2.0), decompose):
        found = KeptDecompositions(function, str(tmp_path))(noise(6))
        assert equal(found, [part.half().float() for part in function(noise(6))])


def test_small_noise_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.undo()
    for seeds in ((7,), range(200)):  # a batch of them makes none larger
        assert equal(KeptDecompositions(decompose, str(tmp_path))(noise(*seeds)), decompose(noise(*seeds)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_second_epoch_decomposes_nothing(tmp_path, num_workers):
    data = Pairs(
        str(write_folder(tmp_path / "pairs", [12])),
        batch_size=4,
        num_workers=num_workers,
        decompositions_cache=str(tmp_path / "kept"),
    ).load()
    data.check()
    data.decompose = decompose
    loader = data.train_dataloader()
    first = {batch["prompts"][0]: batch["decomposition"] for batch in loader}
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.safetensors")}
    assert len(files) == data.num_samples(False) and first
    list(loader)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.safetensors")} == files

import os
from dataclasses import replace

import pytest
import torch

from npnet.data.datamodule import ResumableLoader, readers
from npnet.data.index import TRAINING, VALIDATION, PairSizes, is_validation, make_index
from npnet.data.pairs import Pairs
from npnet.data.shards import list_shards
from npnet.data.stream import PairStream, collate
from npnet.data.tensors import is_finite
from npnet.errors import UserError
from npnet.records import NoisePair
from tests.pairs import pair, write_folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return list_shards(write_folder(tmp_path_factory.mktemp("pairs"), [7, 0, 5, 9, 4, 6]))


def stream(shards, **options):
    share, split = options.pop("share", 0.0), VALIDATION if options.pop("validation", False) else TRAINING
    entries = make_index(shards, share, options.pop("kept_only", True), options.pop("max_pairs", None))
    options = {"shuffle_buffer": options.pop("buffer", 8), "validation_share": share, **options}
    return PairStream(entries, split, options.pop("batch_size", 4), **options)


def prompts(batches):
    return [prompt for batch in batches for prompt in batch["prompts"]]


def everything(shards, kept_only=True):
    return sorted(c.prompt for shard in shards for c in shard.written if c.kept or not kept_only)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_an_epoch_is_every_sample_once(shards, num_workers):
    loader = ResumableLoader(stream(shards), num_workers)
    batches = list(loader)
    assert sorted(prompts(batches)) == everything(shards)
    assert len(batches) == len(loader)


def test_the_order_is_a_function_of_the_seed_and_the_epoch(shards):
    one, two, other = (ResumableLoader(stream(shards, seed=s), 0) for s in (0, 0, 1))
    first, again = prompts(one), prompts(two)
    assert first == again
    assert prompts(one) == prompts(two) != first
    assert prompts(other) != first


def test_the_pairs_of_one_shard_come_in_another_order_in_every_epoch(tmp_path):
    one = stream(list_shards(write_folder(tmp_path, [24])), buffer=64)
    first = list(one.order())
    one.begin(1)
    assert sorted(one.order()) == sorted(first)
    assert list(one.order()) != first


def test_validation_goes_through_the_shards_in_their_order(tmp_path):
    folder = write_folder(tmp_path, [20, 20])
    data = Pairs(str(folder), batch_size=4, validation_share=0.5, kept_only=False).load()
    data.check()
    found = prompts(data.val_dataloader())
    assert len(found) > 10
    assert found == [c.prompt for shard in list_shards(folder) for c in shard.written if is_validation(c.prompt, 0.5)]


def test_without_a_buffer_the_order_is_that_of_the_shards(shards):
    found = prompts(ResumableLoader(stream(shards, buffer=0), 0))
    assert found == [c.prompt for shard in shards for c in shard.written if c.kept]


@pytest.mark.parametrize("num_workers", [0, 2, 3])
@pytest.mark.parametrize("stopped_after", [0, 1, 3, 6, 7])
def test_a_loader_goes_on_where_it_was_stopped(shards, num_workers, stopped_after):
    whole = ResumableLoader(stream(shards), num_workers)
    list(whole)
    expected = list(whole)
    interrupted = ResumableLoader(stream(shards), num_workers)
    list(interrupted)
    running = iter(interrupted)
    before = [next(running) for _ in range(min(stopped_after, len(expected)))]
    resumed = ResumableLoader(stream(shards), num_workers, epoch=1, delivered=len(before))
    assert prompts(before + list(resumed)) == prompts(expected)
    assert prompts(resumed) == prompts(whole)  # the epoch is followed by the next


def test_the_order_does_not_depend_on_how_many_read_or_train(shards):
    whole = list(ResumableLoader(stream(shards, batch_size=6), 0))
    for num_workers in (1, 2, 3, 7):
        assert [b["prompts"] for b in ResumableLoader(stream(shards, batch_size=6), num_workers)] == [
            b["prompts"] for b in whole
        ]
    for world_size in (2, 3, 6):
        loaders = [
            ResumableLoader(stream(shards, batch_size=6 // world_size, rank=r, world_size=world_size), 0)
            for r in range(world_size)
        ]
        rounds = [prompts(together) for together in zip(*loaders, strict=True)]
        for found, expected in zip(rounds, whole, strict=False):  # a round of fewer pairs than processes is left out
            assert found == expected["prompts"][: len(found)]
            assert len(expected["prompts"]) - len(found) < world_size
        assert len(whole) - len(rounds) <= 1


def test_the_readers_of_an_epoch_are_those_of_the_next(shards):
    seen = []
    loader = ResumableLoader(stream(shards, decompose=lambda noise: torch.full((len(noise),), os.getpid())), 2)
    for _ in range(3):
        seen.append({int(batch["decomposition"][0]) for batch in loader})
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 2 and os.getpid() not in seen[0]


def test_an_epoch_that_was_left_in_the_middle_does_not_leak_into_the_next(shards):
    whole, left = ResumableLoader(stream(shards), 0), ResumableLoader(stream(shards), 2)
    next(iter(left))
    list(whole)
    assert prompts(left) == prompts(whole)


def test_large_pairs_are_held_in_smaller_number(tmp_path):
    folder = str(write_folder(tmp_path, [24]))
    few, many = (Pairs(folder, shuffle_buffer_bytes=size).load() for size in (1, 10**9))
    for data in (few, many):
        data.check()
    assert (few.train_dataloader().stream.shuffle_buffer, many.train_dataloader().stream.shuffle_buffer) == (1, 4096)
    exact = Pairs(folder, shuffle_buffer_bytes=3 * many.pair_bytes).load()
    exact.check()
    assert exact.train_dataloader().stream.shuffle_buffer == 3


def test_loader_processes_share_the_cores_of_a_gpu_and_leave_a_cpu_alone(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [readers("cuda", processes) for processes in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert readers("cpu", 1) == 0


@pytest.mark.parametrize("world_size", [2, 6, 9, 24])
def test_more_processes_than_shards_all_have_something_to_do(shards, world_size):
    streams = [stream(shards, rank=rank, world_size=world_size, batch_size=1) for rank in range(world_size)]
    taken = [prompts(ResumableLoader(one, 0)) for one in streams]
    assert min(map(len, taken)) == max(map(len, taken)) == 25 // world_size > 0
    assert len({prompt for part in taken for prompt in part}) == world_size * (25 // world_size)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 24, 25, 26])
def test_the_number_of_batches_is_that_of_the_shares(shards, world_size):
    for batch_size in (1, 2, 4, 25):
        one = stream(shards, batch_size=batch_size, world_size=world_size)
        assert one.num_batches() == len(one.shares())


def test_fewer_pairs_than_processes_are_no_batch(shards):
    assert stream(shards, rank=0, world_size=26).num_batches() == 0


def test_a_reader_reads_its_own_pairs_alone(shards, monkeypatch):
    from npnet.data import schema

    decoded = []
    monkeypatch.setattr(
        schema, "decode", lambda raw, where, original=schema.decode: decoded.append(raw) or original(raw, where)
    )
    one = stream(shards, rank=1, world_size=3, batch_size=2)
    assert len(prompts(ResumableLoader(one, 0))) == len(decoded) == 8
    wanted = [raw for _, _, raw in one._raw({0: {1}}, 0, 1)]
    assert len(wanted) == 1 and len(wanted[0]) > 2


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_an_epoch_without_overlap_and_take_equally_many_batches(shards, world_size):
    loaders = [ResumableLoader(stream(shards, rank=r, world_size=world_size), 0) for r in range(world_size)]
    taken = [list(loader) for loader in loaders]
    assert len({len(batches) for batches in taken}) == 1
    seen = [prompt for batches in taken for prompt in prompts(batches)]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(everything(shards))


def test_validation_and_training_share_no_prompt_and_leave_none_out(shards):
    train = prompts(ResumableLoader(stream(shards, share=0.3), 0))
    validation = prompts(ResumableLoader(stream(shards, share=0.3, validation=True), 0))
    assert not set(train) & set(validation)
    assert sorted(train + validation) == everything(shards)
    assert validation


def test_the_share_of_validation_prompts_is_the_one_asked_for():
    share = sum(is_validation(f"prompt {i}", 0.1) for i in range(4000)) / 4000
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 4000) ** 0.5


def test_rejected_pairs_come_only_when_asked_for(shards):
    assert sorted(prompts(ResumableLoader(stream(shards, kept_only=False), 0))) == everything(shards, kept_only=False)
    assert everything(shards, kept_only=False) != everything(shards)


def test_the_decomposition_belongs_to_the_batchs_own_noise(shards):
    batches = list(ResumableLoader(stream(shards, decompose=lambda noise: noise.square()), 0))
    assert all(torch.equal(b["decomposition"], b["source_noise"].square()) for b in batches)


def test_embeddings_of_different_lengths_are_padded_and_masked():
    def pair(length):
        embeds = {"prompt_embeds": torch.ones(length, 3), "pooled_prompt_embeds": torch.ones(2)}
        noise = torch.zeros(4, 2, 2).half()
        return NoisePair("k", "p", 0, noise, noise, {}, True, embeds)

    batch = collate([pair(2), pair(4)])
    assert batch["prompt_embeds"].shape == (2, 4, 3)
    assert batch["prompt_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert "prompt_mask" not in collate([pair(2), pair(2)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_value_that_is_not_finite_is_found_and_huge_ones_are_no_mistake(dtype):
    largest = torch.finfo(dtype).max
    assert is_finite(torch.full((3, 5), largest, dtype=dtype))
    for wrong in ([torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf], [torch.nan, largest]):
        values = torch.zeros(15, dtype=dtype)
        values[4 : 4 + len(wrong)] = torch.tensor(wrong, dtype=dtype)
        assert not is_finite(values)


def test_a_gain_is_the_golden_score_less_the_source_score_of_metrics_that_scored_all():
    made = [pair("a", number, str(number)) for number in range(2)]
    scores = ({"m": (0.25, 1.0), "one": (0.0, 1.0)}, {"m": (2.0, 1.5)})
    batch = collate([replace(one, scores=own) for one, own in zip(made, scores, strict=True)])
    assert {name: gains.tolist() for name, gains in batch["gains"].items()} == {"m": [0.75, -0.5]}


def test_the_metrics_of_the_data_are_those_of_every_shard(tmp_path, monkeypatch):
    found = [replace(pair("a", 0, "0"), scores=dict.fromkeys(names, (0.0, 1.0))) for names in ("ab", "bc", "abc")]
    monkeypatch.setattr("npnet.data.found.first_pairs", lambda entries: ((str(i), one) for i, one in enumerate(found)))
    assert Pairs(str(write_folder(tmp_path, [6]))).find().metrics == ["b"]


def test_the_pairs_of_one_prompt_are_drawn_each_by_itself(tmp_path):
    shards = list_shards(write_folder(tmp_path, [40], num_prompts=1))
    (entry,) = make_index(shards, 0.0, False, 10)
    drawn = [place for place, split in enumerate(entry.splits) if split == TRAINING]
    assert len(drawn) == 10 and drawn != list(range(10))


def test_prompts_of_other_lengths_go_together_and_of_other_widths_do_not():
    short, long, wide = (
        PairSizes.of(
            replace(pair("a", 0, "0"), prompt_embeds={"prompt_embeds": torch.ones(n, w), "prompt_mask": torch.ones(n)})
        )
        for n, w in ((3, 6), (5, 6), (3, 7))
    )
    short.require(long, "here", "there")
    with pytest.raises(UserError, match="backbones cannot be mixed"):
        short.require(wide, "here", "there")

import pytest
import torch

from npnet import seeding


def test_source_noise_depends_on_the_seed_alone():
    torch.manual_seed(5)
    first = seeding.source_noise(7, (4, 8, 8))
    torch.manual_seed(6)
    assert torch.equal(first, seeding.source_noises([9, 7], (4, 8, 8))[1])
    assert not torch.equal(first, seeding.source_noise(8, (4, 8, 8)))


def test_source_noise_is_white_with_unit_variance():
    noise = seeding.source_noises(range(64), (4, 16, 16))
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < 4 / noise.numel() ** 0.5


def test_streams_differ_by_seed_and_by_purpose_and_are_stable_across_versions():
    seeds = {seeding.named_seed(s, p) for s in (0, 1) for p in ("a", "b")}
    assert len(seeds) == 4
    assert seeding.named_seed(0, "validation split", "a cat") == 1148472160327632783
    assert all(0 <= s <= seeding.MAX_SEED for s in seeds)


def test_words_of_a_purpose_do_not_run_together():
    assert seeding.named_seed(0, "ab", "c") != seeding.named_seed(0, "a", "bc")


def test_a_draw_does_not_depend_on_the_rest_of_the_batch():
    like = torch.zeros(3, 4, 8, 8)
    together = seeding.randn_like(like, seeding.streams([1, 2, 3], "x"))
    alone = seeding.randn_like(like[:1], seeding.streams([2], "x"))
    assert torch.equal(together[1:2], alone)
    with pytest.raises(ValueError, match="got 1 generators for a batch of 3"):
        seeding.randn_like(like, seeding.streams([1], "x"))


def test_prompt_seeds_are_distinct_in_range_and_belong_to_the_prompt():
    seeds = seeding.prompt_seeds("a cat", 0, 0, 1024, 50)
    assert len(set(seeds)) == 50
    assert min(seeds) >= 0
    assert max(seeds) <= 1024
    assert seeds == seeding.prompt_seeds("a cat", 0, 0, 1024, 50)
    assert seeds != seeding.prompt_seeds("a dog", 0, 0, 1024, 50)
    assert seeds != seeding.prompt_seeds("a cat", 1, 0, 1024, 50)
    assert seeding.prompt_seeds("a cat", 0, 0, 1024, 10) == seeds[:10]
    assert sorted(seeding.prompt_seeds("a cat", 0, 5, 8, 4)) == [5, 6, 7, 8]
    with pytest.raises(ValueError, match="cannot give 5 distinct seeds"):
        seeding.prompt_seeds("a cat", 0, 5, 8, 5)

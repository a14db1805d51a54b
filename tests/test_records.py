import pytest
import torch

from npnet.records import Branches, Conditioning, Cost, NoisePair, require_images, require_noise


def conditioning(prompts):
    rows = torch.arange(len(prompts), dtype=torch.float32)
    return Conditioning(
        tuple(prompts),
        prompt_embeds=rows.view(-1, 1, 1).expand(-1, 2, 3),
        pooled_prompt_embeds=rows.view(-1, 1),
        prompt_mask=torch.ones(len(prompts), 2, dtype=torch.long),
        extras={"style": rows},
    )


def test_taking_parts_and_joining_them_is_the_identity():
    whole = conditioning("abcd")
    joined = Conditioning.cat([whole[:1], whole[[1, 2]], whole[3:]])
    assert joined.prompts == whole.prompts
    for name, tensor in whole.tensors().items():
        assert torch.equal(joined.tensors()[name], tensor)


def test_a_selection_takes_the_same_rows_of_everything():
    part = conditioning("abcd")[[2, 0]]
    assert part.prompts == ("c", "a")
    assert part.extras["style"].tolist() == [2, 0]
    assert part.pooled_prompt_embeds.flatten().tolist() == [2, 0]


def test_a_change_of_dtype_leaves_masks_whole_numbers():
    half = conditioning("ab").to(dtype=torch.float16)
    assert half.prompt_embeds.dtype is torch.float16
    assert half.prompt_mask.dtype is torch.long


def test_rows_must_match_the_prompts():
    with pytest.raises(ValueError, match="prompt_embeds has 1 rows for 2 prompts"):
        Conditioning(("a", "b"), torch.zeros(1, 2, 3))


def test_branches_join_only_at_one_level():
    ones = torch.ones(1, 4, 2, 2)
    assert len(Branches(5, ones, ones).cat(Branches(5, ones, ones)).unconditional) == 2
    with pytest.raises(ValueError, match="another timestep"):
        Branches(5, ones).cat(Branches(6, ones))
    with pytest.raises(ValueError, match="without the unconditional half"):
        Branches(5, ones, ones).cat(Branches(5, ones))


def test_costs_add_and_subtract():
    a, b = Cost(5, 2, 1), Cost(1, 1, 1)
    assert (a + b) - b == a


def test_pictures_outside_the_unit_range_are_refused_and_named():
    require_images(torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\].*\[-1, 1\]: use x / 2"):
        require_images(torch.rand(2, 3, 4, 4) * 2 - 1)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        require_images(torch.full((1, 3, 2, 2), float("nan")))
    with pytest.raises(ValueError, match="floating"):
        require_images(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


def test_noise_must_be_finite_and_batched():
    require_noise(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match="NaN or infinity"):
        require_noise(torch.full((1, 4, 2, 2), float("inf")))
    with pytest.raises(ValueError, match="floating"):
        require_noise(torch.zeros(4, 2))


def test_a_pairs_sides_have_one_shape():
    with pytest.raises(ValueError, match="differ in shape"):
        NoisePair("k", "p", 0, torch.zeros(4, 2, 2), torch.zeros(4, 2, 3), {}, True)

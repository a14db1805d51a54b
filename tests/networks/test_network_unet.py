import pytest
import torch
from torch.nn import functional as F

from npnet.networks import NPNet, initialise_from
from npnet.networks.unet import NUM_POSITIONS, UNetBranch, positions

UNET = {"trunk": {"widths": [8, 16]}, "singular_value_branch": "off"}


@pytest.fixture
def unet(small):
    """Build a small network with a U-Net whose last convolution, zero at the start, has learned something."""

    def build(**changes):
        network = small(**{**UNET, **changes})
        torch.manual_seed(1)
        torch.nn.init.normal_(network.residual.exit.weight, std=0.1)
        for block in (*network.residual.down, *network.residual.up):
            torch.nn.init.normal_(block.second.weight, std=0.1)
        return network

    return build


def test_a_new_unet_adds_nothing_and_learns_at_once(small, draw):
    network, noise, embeds = small(**UNET).train(), draw(2, 4, 16, 16), draw(2, 7, 12)
    without = small(residual_branch=False, singular_value_branch="off")
    without.load_state_dict({name: t for name, t in network.state_dict().items() if name.startswith(("text", "alpha"))})
    golden = network(noise, embeds)
    assert torch.equal(golden, without(noise, embeds))
    (golden - draw(2, 4, 16, 16, seed=1)).square().mean().backward()
    assert network.residual.exit.weight.grad.abs().max() > 0


def test_noise_and_text_are_seen_apart_not_as_their_sum(unet, draw):
    branch, noise, text = unet().residual, draw(2, 4, 16, 16), draw(2, 4, 16, 16, seed=1)
    with torch.no_grad():
        assert (branch(noise, text) - branch(text, noise)).abs().max() > 1e-2
        assert (branch(noise, text) - branch(noise + text)).abs().max() > 1e-2
        assert torch.equal(branch(noise), branch(noise, torch.zeros_like(noise)))


@pytest.mark.parametrize("size", [(16, 16), (20, 28), (9, 13), (1, 5), (24, 42)])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_noise_of_any_size_passes_whole(size, patch_size, unet, draw):
    network = unet(trunk={"widths": [8, 16, 16], "patch_size": patch_size})
    noise, embeds = draw(2, 4, *size), draw(2, 7, 12)
    changed = noise.clone()
    changed[:, :, 0, 0] += 5
    with torch.no_grad():
        golden, after = network(noise, embeds), network(changed, embeds)
    assert golden.shape == noise.shape and golden.isfinite().all()
    # a network of windows leaves all other windows as they were; here every cell hears of every other
    assert ((golden - after).abs().amax((0, 1)) > 0).all()


def test_a_batch_of_two_is_two_batches_of_one_on_any_size(unet, draw):
    network, noise, embeds = unet(), draw(2, 4, 10, 14), draw(2, 7, 12)
    with torch.no_grad():
        together = network(noise, embeds)
        for row in range(2):
            torch.testing.assert_close(network(noise[[row]], embeds[[row]]), together[[row]], atol=1e-5, rtol=0)


def test_the_positions_are_the_same_on_every_grids_scale_and_tell_rows_from_columns():
    coarse, fine = (positions(*size, torch.zeros(1)) for size in ((4, 6), (12, 18)))
    assert coarse.shape == (1, NUM_POSITIONS, 4, 6)
    # the middle cell of three lies where the coarse cell does
    torch.testing.assert_close(fine[:, :, 1::3, 1::3], coarse)
    cells = fine[0].flatten(1).T
    assert torch.cdist(cells, cells).add(torch.eye(len(cells))).min() > 1e-2


def test_patches_put_every_cell_back_where_it_was(draw):
    branch, noise = UNetBranch(4, [8], patch_size=2), draw(1, 4, 6, 7)
    torch.nn.init.normal_(branch.exit.weight)
    moved = noise.clone()
    moved[:, :, 2, 3] += 1
    branch.entry.weight.data[:, :, 0] = branch.entry.weight.data[:, :, 2] = 0
    with torch.no_grad():
        assert branch(noise).shape == noise.shape
        seen = F.pixel_shuffle(F.pixel_unshuffle(F.pad(noise, (0, 1)), 2), 2)[:, :, :6, :7]
    assert torch.equal(seen, noise)


def test_eight_pairs_are_learned_where_noise_and_prompt_decide_together(small, draw):
    network = small(**UNET).train()
    noise = draw(4, 4, 16, 16).repeat_interleave(2, 0)
    embeds = draw(2, 7, 12).repeat(4, 1, 1)
    # what is added changes its sign with the prompt: no sum of a term of the noise and one of the prompt does that
    sign = torch.tensor([1.0, -1.0]).repeat(4)[:, None, None, None]
    target = noise + sign * F.avg_pool2d(noise, 5, 1, 2)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(150):
        loss = (network(noise, embeds) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2 * (target - noise).square().mean()


def test_what_is_saved_is_loaded_and_the_text_can_be_switched_off(unet, draw, tmp_path):
    network, noise, embeds = unet(), draw(2, 4, 16, 16), draw(2, 7, 12)
    network.save_pretrained(tmp_path)
    again, without = NPNet.from_pretrained(tmp_path), NPNet.from_pretrained(tmp_path, text_term="off")
    with torch.no_grad():
        assert torch.equal(again(noise, embeds), network(noise, embeds))
        assert torch.equal(without(noise), noise + network.beta * network.residual(noise))


def test_a_unet_is_carried_over_to_a_backbone_with_other_embeddings(unet, small, tmp_path):
    trained = unet()
    trained.save_pretrained(tmp_path)
    network = small(**UNET, prompt_embed_dim=20)
    fresh = initialise_from(network, tmp_path)
    assert fresh and all(name.startswith(("text.", "alpha")) for name in fresh)
    for name, tensor in trained.residual.state_dict().items():
        assert torch.equal(network.residual.state_dict()[name], tensor)


def test_weights_in_half_precision_stay_close(unet, draw):
    network, noise, embeds = unet(), draw(2, 4, 16, 16), draw(2, 7, 12)
    with torch.no_grad():
        full = network(noise, embeds)
        half = network.bfloat16()(noise, embeds)
    assert half.dtype == torch.float32 and (half - full).abs().max() < 0.05


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        ({"widths": [8, 12]}, r"trunk.widths\[1\]=12: .* a multiple of 8"),
        ({"widths": 8}, "trunk.widths=8: a list of whole numbers .* a multiple of 8"),
        ({"widths": []}, r"trunk.widths=\[\]: a list .* that is not empty and has at most 16 levels"),
        ({"widths": [8], "patch_size": 0}, "trunk.patch_size=0: a whole number of at least 1"),
        ({"widths": [8], "depths": [2]}, r"trunk.depths=\[2\]: no such key; .*allowed: widths, patch_size"),
    ],
)
def test_a_unet_that_cannot_be_built_is_refused_in_one_line(trunk, message, small):
    with pytest.raises(ValueError, match=message):
        small(trunk=trunk)

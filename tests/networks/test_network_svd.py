import pytest
import torch

from npnet.networks import decompose
from npnet.networks.svd import SingularValueBranch, canonical_signs, tile, tiling, untile


def flipped(parts, seed=0):
    """Flip a random half of the pairs of singular vectors."""
    sign = torch.randint(0, 2, parts.S.shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    return parts._replace(U=parts.U * sign[:, None], Vh=parts.Vh * sign[:, :, None])


@pytest.mark.parametrize(("channels", "rows"), [(1, 1), (3, 1), (4, 2), (16, 4), (8, 2), (12, 3)])
def test_tiles_are_as_square_as_the_channels_allow_and_untile_undoes_tile(channels, rows, draw):
    assert tiling(channels) == (rows, channels // rows)
    noise = draw(2, channels, 3, 5)
    assert tile(noise).shape == (2, 3 * rows, 5 * channels // rows)
    assert torch.equal(untile(tile(noise), channels), noise)


def test_four_channels_lie_in_reading_order(draw):
    noise = draw(1, 4, 3, 5)
    top, bottom = torch.cat([noise[:, 0], noise[:, 1]], 2), torch.cat([noise[:, 2], noise[:, 3]], 2)
    assert torch.equal(tile(noise), torch.cat([top, bottom], 1))


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 6, 10), (16, 8, 6), (3, 5, 4)])
def test_factors_are_orthonormal_and_multiply_to_the_noise(shape, draw):
    noise = draw(2, *shape)
    U, S, Vh = decompose(noise)
    identity = torch.eye(S.shape[1]).expand(2, -1, -1)
    torch.testing.assert_close(untile(U * S[:, None] @ Vh, shape[0]), noise, atol=2e-5, rtol=0)
    torch.testing.assert_close(U.mT @ U, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(Vh @ Vh.mT, identity, atol=1e-5, rtol=0)


def test_one_sample_decomposes_as_in_a_batch(draw):
    noise = draw(3, 4, 16, 16)
    batch = decompose(noise)
    for row in range(3):
        single = decompose(noise[row])
        assert all(torch.equal(one, many[row]) for one, many in zip(single, batch, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_canonical_signs_do_not_depend_on_those_that_came_in(seed, draw):
    parts = decompose(draw(2, 4, 32, 32), signs="lapack")
    assert all(map(torch.equal, canonical_signs(flipped(parts, seed)), canonical_signs(parts)))


def disturbed(parts, draw):
    """Move every entry of U by rounding, a relative 1e-5."""
    return parts._replace(U=parts.U * (1 + 1e-5 * draw(*parts.U.shape, seed=1)))


def test_canonical_signs_survive_rounding_of_another_library(draw):
    parts = decompose(draw(64, 4, 16, 16))
    assert ((canonical_signs(disturbed(parts, draw)).U * parts.U).sum(1) > 0).all()


def test_canonical_signs_survive_rounding_on_noise_whose_mean_was_removed(draw):
    # every left singular vector then sums to 0, so the sign of the plain sum would be rounding
    noise = draw(4, 1, 32, 32)
    parts = decompose(noise - noise.mean(2, keepdim=True), signs="lapack")
    assert parts.U[..., :-1].sum(1).abs().max() < 1e-4
    same = (canonical_signs(disturbed(parts, draw)).U * canonical_signs(parts).U).sum(1) > 0
    assert same.all()


def test_nan_and_an_unknown_convention_are_refused(draw):
    with pytest.raises(ValueError, match="NaN or infinity"):
        decompose(torch.full((4, 8, 8), torch.nan))
    with pytest.raises(ValueError, match="singular_vector_signs=abs: allowed: canonical, lapack"):
        decompose(draw(4, 8, 8), signs="abs")


@pytest.mark.parametrize("with_attention", [True, False])
def test_the_branch_changes_singular_values_and_keeps_singular_vectors(with_attention, draw):
    torch.manual_seed(0)
    branch = SingularValueBranch(4, (16, 16), with_attention)
    noise = draw(2, 4, 16, 16)
    parts = decompose(noise)
    with torch.no_grad():
        branch.head[-1].bias.uniform_(-0.05, 0.05)
        change = branch.spectrum_change(parts)
        changed = tile(noise + branch(parts, 4))
    core = parts.U.mT @ changed @ parts.Vh.mT
    torch.testing.assert_close(core, torch.diag_embed(parts.S + change), atol=2e-5, rtol=0)
    assert change.abs().max() > 1e-2


def test_attention_is_the_mean_over_tokens_of_ordinary_multi_head_attention(draw):
    torch.manual_seed(0)
    ours = SingularValueBranch(4, (16, 16)).attention
    theirs = torch.nn.MultiheadAttention(32, 8, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": torch.zeros(96),
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    tokens = draw(2, 32, 32)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0].mean(1), atol=1e-5, rtol=1e-5)

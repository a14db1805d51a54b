import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from npnet.info.facts import facts
from npnet.networks import NPNet

OFFICIAL = Path(__file__).parent.parent / "fixtures" / "official_npnet"

TOLERANCE = {
    "sdxl.out": 2e-4,
    "svd.out.s4": 2e-4,
    "sdxl.ada_linear": 1e-4,
    "sdxl.text_emb.s4": 1e-4,
    "sdxl.residual.s4": 1e-4,
    "sdxl.swin_in.s8": 1e-4,
    "sdxl.swin_norm.s16": 1e-4,
    "svd.s": 1e-4,
    "svd.attn_mean": 1e-4,
    "svd.mlp4": 1e-4,
    "svd.mlp3": 1e-5,
    "svd.mlp1.s8": 1e-2,
    "svd.mlp2.s8": 1e-2,
}


@pytest.fixture(scope="module")
def expected():
    return load_file(OFFICIAL / "expected.safetensors")


def aligned(decomposition, expected):
    """Flip pairs of singular vectors to the signs under which the fixture was made."""
    U, S, Vh = decomposition
    index, sign = expected["svd.u_sign_index"].long(), expected["svd.u_sign"]
    flip = U.gather(1, index[:, None]).squeeze(1).sign() * sign
    return U * flip[:, None], S, Vh * flip[:, :, None]


@pytest.fixture(scope="module")
def taps(official_network, expected):
    """Run the network on the fixture's inputs and record every intermediate value the fixture holds."""
    noise = torch.randn(2, 4, 128, 128, generator=torch.Generator().manual_seed(0))
    prompt_embeds = torch.randn(2, 77, 2048, generator=torch.Generator().manual_seed(1))
    network, seen = official_network, {}
    watched = {
        "ada_linear": network.text.norm.linear,
        "text_emb": network.text,
        "residual": network.residual,
        "swin_norm": network.residual.trunk.norm,
        "mlp1": network.singular_values.left,
        "mlp2": network.singular_values.right,
        "mlp3": network.singular_values.spectrum,
        "attn_mean": network.singular_values.attention,
        "mlp4": network.singular_values.head,
        "svd": network.singular_values,
    }
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, module in watched.items()
    ]
    hooks.append(network.residual.trunk.patch_embed.register_forward_pre_hook(lambda _, i: seen.update(swin_in=i[0])))
    parts = aligned(network.decompose(noise), expected)
    with torch.no_grad():
        out = network(noise, prompt_embeds, decomposition=parts)
    for hook in hooks:
        hook.remove()
    return {
        "sdxl.out": out,
        "sdxl.ada_linear": seen["ada_linear"],
        "sdxl.text_emb.s4": seen["text_emb"][..., ::4, ::4],
        "sdxl.residual.s4": seen["residual"][..., ::4, ::4],
        "sdxl.swin_in.s8": seen["swin_in"][..., ::8, ::8],
        "sdxl.swin_norm.s16": seen["swin_norm"][..., ::16],
        "svd.out.s4": (noise + seen["svd"])[..., ::4, ::4],
        "svd.s": parts[1],
        "svd.attn_mean": seen["attn_mean"],
        "svd.mlp4": seen["mlp4"],
        "svd.mlp3": seen["mlp3"],
        "svd.mlp1.s8": seen["mlp1"][:, ::8, ::8],
        "svd.mlp2.s8": seen["mlp2"][:, ::8, ::8],
    }


def test_the_fixture_has_no_tap_that_is_not_compared(expected):
    assert set(TOLERANCE) == set(expected) - {"svd.u_sign_index", "svd.u_sign"}


@pytest.mark.parametrize("tap", TOLERANCE)
def test_an_official_file_gives_the_official_networks_values(tap, taps, expected):
    torch.testing.assert_close(taps[tap], expected[tap], atol=TOLERANCE[tap], rtol=0)


def test_official_weights_are_the_recipes(official_weights, recipe):
    weights = official_weights()
    for group, entries in recipe["groups"].items():
        for entry in entries:
            tensor = weights[group][entry["key"]].double()
            assert abs(tensor.sum().item() - entry["sum64"]) <= 3e-6 * max(1, tensor.numel()), entry["key"]


def test_an_official_network_keeps_lapacks_signs_and_is_in_eval_mode(official_network):
    assert official_network.config["singular_vector_signs"] == "lapack"
    assert not official_network.training
    assert all(parameter.dtype == torch.float32 for parameter in official_network.parameters())


def test_an_official_network_saved_in_our_format_is_the_same_network(official_network, tmp_path):
    official_network.save_pretrained(tmp_path)
    again = NPNet.from_pretrained(tmp_path)
    assert again.config == official_network.config
    assert all(map(torch.equal, again.state_dict().values(), official_network.state_dict().values()))


def test_a_hunyuan_dit_file_is_told_by_its_text_width(official_weights, tmp_path):
    torch.save(official_weights(width=1024), tmp_path / "dit.pth")
    network = NPNet.from_pretrained(tmp_path / "dit.pth")
    assert network.config["prompt_embed_dim"] == 1024
    with torch.no_grad():
        assert network(torch.randn(1, 4, 128, 128), torch.randn(1, 77, 1024)).isfinite().all()


def test_the_seventeen_buffers_of_older_timm_are_accepted(official_weights, official_network, tmp_path):
    weights = official_weights()
    buffers = dict(official_network.residual.trunk.named_buffers())
    assert len(buffers) == 17
    weights["unet_embedding"] |= {f"swin.{name}": tensor for name, tensor in buffers.items()}
    torch.save(weights, tmp_path / "older.pth")
    network = NPNet.from_pretrained(tmp_path / "older.pth")
    assert all(map(torch.equal, network.state_dict().values(), official_network.state_dict().values()))


def drop_head(weights):
    del weights["unet_svd"]["mlp4.2.bias"]


def drop_group(weights):
    del weights["unet_embedding"]


def drop_unused(weights):
    del weights["unet_svd"]["bn.running_mean"]


def add_key(weights):
    weights["unet_svd"]["mlp5.0.weight"] = torch.zeros(3)


def add_group(weights):
    weights["optimizer"] = {"step": torch.zeros(1)}


def change_shape(weights):
    weights["unet_embedding"]["upconv.weight"] = torch.zeros(4, 768, 1, 1)


def change_text_width(weights):
    weights["embeeding"]["linear.weight"] = torch.zeros(8, 77 * 1024 + 1)


def change_buffer(weights):
    weights["unet_embedding"]["swin.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(2, 2)


def put_a_number(weights):
    weights["alpha"] = 0.01


def use_the_layout_of_timm_06(weights):
    swin = weights["unet_embedding"]
    for stage in (1, 2, 3):
        for key in [key for key in swin if key.startswith(f"swin.layers.{stage}.downsample.")]:
            swin[key.replace(f"layers.{stage}", f"layers.{stage - 1}")] = swin.pop(key)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (drop_head, "missing unet_svd/mlp4.2.bias"),
        (drop_group, "missing unet_embedding/"),
        (drop_unused, "missing unet_svd/bn.running_mean"),
        (add_key, "unknown unet_svd/mlp5.0.weight"),
        (add_group, "unknown optimizer/step"),
        (change_shape, r"unet_embedding/upconv.weight has shape \(4, 768, 1, 1\), expected \(4, 7, 1, 1\)"),
        (change_text_width, r"embeeding/linear.weight has shape \(8, 78849\)"),
        (change_buffer, "relative_position_index has shape"),
        (put_a_number, "alpha is a float"),
        (use_the_layout_of_timm_06, "swin.layers.0.downsample.* timm 0.6"),
    ],
)
def test_a_key_that_does_not_fit_is_named_in_one_line(damage, named, official_weights, tmp_path):
    weights = official_weights()
    damage(weights)
    torch.save(weights, tmp_path / "changed.pth")
    with pytest.raises(ValueError, match=named) as caught:
        NPNet.from_pretrained(tmp_path / "changed.pth")
    assert "\n" not in str(caught.value)


def test_half_a_file_is_one_clear_error(official_path, tmp_path):
    half = tmp_path / "half.pth"
    half.write_bytes(official_path.read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"half\.pth cannot be read") as caught:
        NPNet.from_pretrained(half)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "<!DOCTYPE html>"])
def test_a_text_in_place_of_a_checkpoint_is_called_that(text, tmp_path):
    (tmp_path / "sdxl.pth").write_text(text)
    with pytest.raises(ValueError, match=r"sdxl\.pth is a text, not weights: perhaps a git-LFS pointer"):
        NPNet.from_pretrained(tmp_path / "sdxl.pth")


class Payload:
    def __reduce__(self):
        return print, ("code was run",)


def test_a_file_that_holds_code_is_refused_and_the_code_does_not_run(tmp_path, capsys):
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Payload(), protocol=2))
    torch.save({"unet_svd": Payload()}, tmp_path / "code2.pth")
    for name in ("code.pth", "code2.pth"):
        with pytest.raises(ValueError, match="never executed"):
            NPNet.from_pretrained(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_the_released_text_term_can_be_switched_off_and_then_needs_no_embeddings(official_path, official_network, draw):
    network = NPNet.from_pretrained(official_path, text_term="off")
    noise = draw(1, 4, 128, 128)
    with torch.no_grad():
        official_network.alpha.data, alpha = torch.zeros(1), official_network.alpha.data
        golden = network(noise)
        with_text = official_network(noise, torch.zeros(1, 77, 2048))
        official_network.alpha.data = alpha
    assert network.text is None
    # with the gate at 0 the two differ only by what the Swin makes of the text term
    assert (golden - with_text).abs().max() < 0.05
    assert not torch.equal(golden, noise)


def test_the_released_weights_can_be_applied_without_attention(official_path, official_network, draw):
    network = NPNet.from_pretrained(official_path, singular_value_branch="no_attention", text_term="off")
    parts = network.decompose(draw(1, 4, 128, 128))
    with torch.no_grad():
        branch = official_network.singular_values
        tokens = branch.left(parts.U.transpose(1, 2)) + branch.right(parts.Vh) + branch.spectrum(parts.S)[:, None]
        change = network.singular_values.spectrum_change(parts)
    torch.testing.assert_close(change, branch.head(tokens).mean(1))
    assert (change - branch.spectrum_change(parts)).abs().max() > 0.05


def test_npnet_info_says_what_an_official_file_is(official_path, official_network):
    found = facts(official_path)
    assert (found["kind"], found["selected_by"]) == ("official network", ["hpsv2"])
    assert found["parameters"] == sum(parameter.numel() for parameter in official_network.parameters())
    assert found["bytes"] == official_path.stat().st_size

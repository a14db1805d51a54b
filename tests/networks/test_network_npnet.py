import copy
import dataclasses
import inspect
import typing

import pytest
import torch
from timm.models.swin_transformer import WindowAttention

from npnet.fields import field_types
from npnet.networks import NPNet, decompose
from npnet.networks.arguments import NPNetArguments

TEXT_TERMS = ["spatial", "ada_group_norm"]
BRANCHES = ["attention", "no_attention", "off", "left_out"]
WITHOUT = ("off", "left_out")


def silence(network):
    """Close both gates and zero what the singular-value branch adds."""
    with torch.no_grad():
        network.alpha.zero_()
        network.beta.zero_()
        network.singular_values.head[-1].weight.zero_()
        network.singular_values.head[-1].bias.zero_()


@pytest.mark.parametrize("text_term", TEXT_TERMS)
def test_closed_gates_and_no_change_of_the_spectrum_are_the_identity(text_term, small, draw):
    network, noise = small(text_term=text_term), draw(2, 4, 16, 16)
    silence(network)
    assert torch.equal(network(noise, draw(2, 7, 12)), noise)


def test_golden_noise_is_the_sum_of_equation_nine(small, draw):
    network, noise, embeds = small(), draw(2, 4, 16, 16), draw(2, 7, 12)
    seen = {}
    for name in ("text", "singular_values", "residual"):
        getattr(network, name).register_forward_hook(lambda _, i, o, name=name: seen.update({name: (i, o)}))
    golden = network(noise, embeds)
    text, change, residual = (seen[name][1] for name in ("text", "singular_values", "residual"))
    gate = 2 * torch.sigmoid(torch.tensor(2.0)) - 1
    torch.testing.assert_close(golden, gate * text + (noise + change) + network.beta * residual, atol=1e-6, rtol=0)
    assert torch.equal(seen["residual"][0][0], noise + text)


def test_eval_mode_is_deterministic_and_train_mode_is_not(small, draw):
    trunk = {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2]}
    network = small(trunk={**trunk, "window_size": 4, "drop_path_rate": 0.5})
    noise, embeds = draw(8, 4, 16, 16), draw(8, 7, 12)
    assert torch.equal(network(noise, embeds), network(noise, embeds))
    network.train()
    assert not torch.equal(network(noise, embeds), network(noise, embeds))


@pytest.mark.parametrize("text_term", TEXT_TERMS)
@pytest.mark.parametrize("layout", ["official", "spatial"])
def test_a_batch_of_two_is_two_batches_of_one(text_term, layout, small, draw):
    network = small(text_term=text_term, feature_layout=layout)
    noise, embeds = draw(2, 4, 16, 16), draw(2, 7, 12)
    together = network(noise, embeds)
    for row in range(2):
        alone = network(noise[[row]], embeds[[row]])
        torch.testing.assert_close(alone, together[[row]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_noise_dtype_comes_back_and_float32_is_used_inside(dtype, small, draw):
    network, noise, embeds = small(), draw(2, 4, 16, 16).to(dtype), draw(2, 7, 12).to(dtype)
    golden = network(noise, embeds)
    assert golden.dtype == dtype
    assert torch.equal(golden, network(noise.float(), embeds.float()).to(dtype))


def test_weights_in_half_precision_stay_close(small, draw):
    network, noise, embeds = small(), draw(2, 4, 16, 16), draw(2, 7, 12)
    full = network(noise, embeds)
    half = network.bfloat16()(noise, embeds)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.05


@pytest.mark.parametrize("signs", ["canonical", "lapack"])
@pytest.mark.parametrize("branch", ["attention", "no_attention"])
def test_a_decomposition_given_is_the_one_computed(signs, branch, small, draw):
    network = small(singular_vector_signs=signs, singular_value_branch=branch)
    noise, embeds = draw(2, 4, 16, 16), draw(2, 7, 12)
    given = network(noise, embeds, decomposition=tuple(decompose(noise, signs)))
    assert torch.equal(given, network(noise, embeds))


def test_the_canonical_network_gives_the_same_output_for_any_choice_of_signs(small, draw):
    noise, embeds = draw(2, 4, 16, 16), draw(2, 7, 12)
    U, S, Vh = decompose(noise, "lapack")
    sign = torch.randint(0, 2, S.shape, generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    flipped = (U * sign[:, None], S, Vh * sign[:, :, None])
    canonical, lapack = small(), small(singular_vector_signs="lapack")
    assert torch.equal(canonical(noise, embeds, decomposition=flipped), canonical(noise, embeds))
    assert not torch.equal(lapack(noise, embeds, decomposition=flipped), lapack(noise, embeds))


def test_a_decomposition_kept_in_half_precision_moves_the_output_little(small, draw):
    network, noise, embeds = small(), draw(2, 4, 16, 16), draw(2, 7, 12)
    half = [part.half() for part in network.decompose(noise)]
    assert (network(noise, embeds, decomposition=half) - network(noise, embeds)).abs().max() < 1e-3


@pytest.mark.parametrize("text_term", [*TEXT_TERMS, "off"])
@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("residual", [True, False])
def test_every_combination_of_parts_runs_and_trains_all_its_weights(text_term, branch, residual, small, draw):
    if branch in WITHOUT and (text_term, residual) == ("off", False):
        with pytest.raises(ValueError, match="so nothing is left to learn"):
            small(text_term=text_term, singular_value_branch=branch, residual_branch=residual)
        return
    network = small(text_term=text_term, singular_value_branch=branch, residual_branch=residual).train()
    embeds = None if text_term == "off" else draw(2, 7, 12)
    network(draw(2, 4, 16, 16), embeds).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert ("text" in names, "singular_values" in names, "residual" in names) == (
        text_term != "off",
        branch not in WITHOUT,
        residual,
    )


def test_the_two_forms_without_singular_values_differ_by_the_noise(small, draw):
    noise, embeds = draw(2, 4, 16, 16), draw(2, 7, 12)
    kept, to_the_letter = small(singular_value_branch="off"), small(singular_value_branch="left_out")
    to_the_letter.load_state_dict(kept.state_dict())
    torch.testing.assert_close(kept(noise, embeds) - to_the_letter(noise, embeds), noise, atol=1e-6, rtol=0)


def test_yaml_reads_a_bare_off_as_false_and_it_means_off(small):
    assert small(text_term=False).config["text_term"] == "off"
    assert small(singular_value_branch=False).config["singular_value_branch"] == "off"


def test_the_position_map_starts_at_nothing_and_breaks_the_shift_symmetry_once_learned(small, draw):
    noise, embeds = draw(1, 4, 16, 16), draw(1, 7, 12)
    plain, placed = small(), small(position_map=True)
    placed.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain(noise, embeds), placed(noise, embeds))
    placed.residual.position.data.normal_()
    assert not torch.equal(plain(noise, embeds), placed(noise, embeds))


def test_eight_pairs_are_learned(small, draw):
    network = small().train()
    source, embeds = draw(8, 4, 16, 16), draw(8, 7, 12)
    target = source + 0.5 * torch.nn.functional.avg_pool2d(draw(8, 4, 16, 16, seed=1), 5, 1, 2)
    parts = network.decompose(source)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = (network(source, embeds, decomposition=parts) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * (source - target).square().mean()


def test_closed_gates_still_learn(small, draw):
    network = small(alpha_init=0.0, beta_init=0.0).train()
    (network(draw(2, 4, 16, 16), draw(2, 7, 12)) - draw(2, 4, 16, 16, seed=1)).square().mean().backward()
    assert network.alpha.grad.abs() > 0 and network.beta.grad.abs() > 0


def test_no_gradient_reaches_the_decomposition(small, draw):
    network, noise = small(text_term="off", residual_branch=False), draw(1, 4, 16, 16).requires_grad_()
    network(noise).sum().backward()
    assert torch.equal(noise.grad, torch.ones_like(noise))


def test_a_network_can_be_copied_and_a_pretrained_trunk_is_not_forgotten_in_silence(small, draw, monkeypatch):
    downloads = []
    monkeypatch.setattr("npnet.networks.residual.load_pretrained", lambda trunk, name: downloads.append(name))
    network = NPNet(text_term="off", singular_value_branch="off", pretrained_trunk=True)
    assert downloads == []
    with pytest.raises(RuntimeError, match=r"call load\(\)"):
        network(draw(1, 4, 128, 128))
    copied = copy.deepcopy(network)
    assert network.load() is network and network.load() is network
    assert downloads == ["swin_tiny_patch4_window7_224"]
    copied.load_state_dict(network.state_dict())
    copied.load()
    assert downloads == ["swin_tiny_patch4_window7_224"]
    with pytest.raises(ValueError, match="pretrained_trunk=true: a trunk given by its timm name is needed"):
        small(pretrained_trunk=True)


SWIN = {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
NOISE, EMBEDS = torch.zeros(2, 4, 16, 16), torch.zeros(2, 7, 12)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, (NOISE[:, :3], EMBEDS), r"\(B, 4, h, w\) .* got \(2, 3, 16, 16\)"),
        ({}, (NOISE[0], EMBEDS), r"got \(4, 16, 16\)"),
        ({}, (NOISE[:0], EMBEDS[:0]), r"noise is empty, got \(0, 4, 16, 16\)"),
        ({}, (NOISE[..., :0], EMBEDS), r"noise is empty, got \(2, 4, 16, 0\)"),
        ({}, (NOISE.long(), EMBEDS), "must be a floating .*int64"),
        ({}, (NOISE, EMBEDS.long()), "prompt_embeds must be floating, got torch.int64"),
        ({"singular_value_branch": "off"}, (NOISE + torch.nan, EMBEDS), "noise holds NaN"),
        ({}, (NOISE / 0, EMBEDS), "noise holds NaN or infinity"),
        ({}, (NOISE,), r"prompt_embeds \(2, L, 12\) .* are needed; only a network with text_term=off"),
        ({}, (NOISE, EMBEDS[..., :5]), r"must be \(2, L, 12\) .* got \(2, 7, 5\)"),
        ({}, (NOISE, EMBEDS[:1]), r"must be \(2, L, 12\) .* got \(1, 7, 12\)"),
        ({}, (NOISE, EMBEDS, None, EMBEDS[:, :3, 0]), r"prompt_mask must be \(2, 7\) .* got \(2, 3\)"),
        ({"text_term": "ada_group_norm"}, (NOISE, EMBEDS[:, :5]), r"must be \(2, 7, 12\) .* got \(2, 5, 12\)"),
        ({"pooled_embed_dim": 3}, (NOISE, EMBEDS), r"pooled_prompt_embeds must be \(2, 3\) .* got None"),
        ({}, (NOISE, EMBEDS, None, None, [NOISE, NOISE, NOISE]), r"U, S, Vh of shapes \[\(2, 32, 32\), \(2, 32\)"),
        ({}, (torch.zeros(2, 4, 20, 16), EMBEDS, None, None, [NOISE]), r"trained size \(16, 16\), got \(20, 16\)"),
    ],
)
def test_bad_input_gets_one_line_that_says_what_was_got_and_what_is_expected(changes, arguments, message, small):
    with pytest.raises(ValueError, match=message) as caught:
        small(**changes)(*arguments)
    assert "\n" not in str(caught.value)


def test_the_arguments_that_are_checked_without_torch_are_those_of_the_constructor():
    stated = inspect.signature(NPNet).parameters
    hints = typing.get_type_hints(NPNet.__init__, include_extras=True)
    fields = dataclasses.fields(NPNetArguments)
    assert {f.name: f.default for f in fields} == {name: p.default for name, p in stated.items()}
    kinds = {name: kind for name, kind in field_types(NPNetArguments).items() if name != "trunk"}
    assert kinds == {name: hints[name] for name in kinds}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_term": "cross"}, "text_term=cross: .*allowed: spatial, ada_group_norm, off"),
        (
            {"singular_value_branch": "on"},
            "singular_value_branch=on: .*attention, no_attention, off, left_out",
        ),
        ({"feature_layout": "nchw"}, "feature_layout=nchw: .*allowed: official, spatial"),
        ({"singular_vector_signs": "abs"}, "singular_vector_signs=abs: .*allowed: canonical, lapack"),
        ({"latent_size": [16]}, r"latent_size=\[16\]: .* a list of whole numbers"),
        ({"latent_size": 16.5}, "latent_size=16.5: .* a list of whole numbers"),
        ({"latent_size": None}, "latent_size=null: .* a list of whole numbers"),
        ({"alpha_init": None}, "alpha_init=null: a number is needed"),
        ({"beta_init": "wide"}, "beta_init=wide: a number is needed"),
        ({"trunk": None}, "trunk=null: unet, or a text .* or a group of keys is needed"),
        ({"trunk": [16, 8]}, r"trunk=\[16,8\]: unet, or a text .* or a group of keys is needed"),
        ({"latent_channels": 0}, "latent_channels=0: a whole number of at least 1 and of at most 8192 is needed"),
        ({"trunk": "swim_tiny"}, "trunk=swim_tiny: unet, or a text that names a Swin transformer of timm"),
        ({"trunk": "swin_tinny"}, "'swin_tinny' is not a model of timm"),
        ({"trunk": "resnet18"}, "trunk=resnet18: unet, or a text that names a Swin transformer of timm"),
        ({"trunk": {"img_size": 16, "width": 3}}, "trunk.width=3: no such key; .*allowed: img_size, embed_dim, depths"),
        ({"trunk": {"img_size": 16}}, "trunk.embed_dim=null: this key is missing"),
        ({"trunk": {**SWIN, "img_size": 0}}, "trunk.img_size=0: a whole number of at least 1"),
        ({"trunk": {**SWIN, "depths": [1] * 17}}, "trunk.depths=.* at most 16 levels"),
        (
            {"trunk": {"img_size": 16, "embed_dim": 8, "depths": [1, 1], "num_heads": [2]}},
            "num_heads=.* each of the 2",
        ),
        ({"trunk": {**SWIN, "num_heads": [2, 2, 2]}}, "num_heads=.* each of the 2"),
        ({"residual_branch": "x"}, "residual_branch=x: true or false is needed"),
        ({"position_map": "x"}, "position_map=x: true or false is needed"),
    ],
)
def test_a_bad_setting_is_refused_when_the_network_is_built(changes, message, small):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_attention_is_fused_without_gradients_alone(small, draw):
    network = small()
    for training in (True, False, True):
        network.train(training)
        network(draw(1, 4, 16, 16), draw(1, 7, 12))
        windows = [m.fused_attn for m in network.modules() if isinstance(m, WindowAttention)]
        assert windows and set(windows) == {not training}

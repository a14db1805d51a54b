"""A network fits the backbone it is used on, or is refused before anything is computed."""

import pytest
import torch

from npnet.errors import UserError
from npnet.networks import NoiseNetwork, NPNet
from npnet.noise import Network
from npnet.noise.runtime.npnet import LoadedNetwork
from tests import fakes
from tests.noise import linear
from tests.voxels import Voxels

DIMS = fakes.LinearBackbone().embed_dims()
FITS = {
    "latent_channels": fakes.SHAPE[0],
    "latent_size": fakes.SHAPE[1:],
    "text_term": "spatial",
    "prompt_embed_dim": DIMS["prompt_embed_dim"],
    "pooled_embed_dim": DIMS["pooled_embed_dim"],
    "residual_branch": False,
}
PAPERS = {"text_term": "ada_group_norm", "pooled_embed_dim": 0, "prompt_length": DIMS["prompt_length"]}


def load(folder, backbone=None, applied=None, **changes):
    NPNet(**{**FITS, **changes}).save_pretrained(folder)
    return Network(str(folder), applied).load(backbone or fakes.linear())


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({}, None),
        ({"pooled_embed_dim": 0}, None),
        ({"latent_size": (4, 4)}, None),  # other sizes are served by windows
        (PAPERS, None),
        ({"prompt_embed_dim": 5}, "off"),
    ],
)
def test_a_network_that_fits_is_loaded(tmp_path, changes, applied):
    assert load(tmp_path, applied=applied, **changes).network is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_channels": 16}, r"was trained for latents \(16, h, w\), LinearBackbone's are \(4, 8, 8\)"),
        ({"prompt_embed_dim": 5}, r"was trained for prompt_embed_dim 5, LinearBackbone has prompt_embed_dim 64; .*off"),
        ({"pooled_embed_dim": 7}, "was trained for pooled_embed_dim 7, LinearBackbone has pooled_embed_dim 6"),
        ({**PAPERS, "prompt_length": 77}, "was trained for prompt_length 77, LinearBackbone has prompt_length 4"),
    ],
)
def test_a_network_for_another_backbone_is_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, **changes)
    assert str(caught.value).startswith(f"network_path={tmp_path}: ")
    assert "\n" not in str(caught.value)


def test_a_network_is_for_pictures_and_not_for_volumes(tmp_path):
    with pytest.raises(UserError, match=r"latents \(4, h, w\), Voxels's are"):
        load(tmp_path, Voxels().load(), text_term="off")


class Waves(NoiseNetwork):
    """Adds one slow and one fast wave along the rows, each of one frequency."""

    def __init__(self) -> None:
        super().__init__({})

    @staticmethod
    def wave(size, cycles):
        return torch.cos(2 * torch.pi * cycles * torch.arange(size) / size).expand(size, size)

    def forward(self, noise, prompt_embeds=None, pooled_prompt_embeds=None, prompt_mask=None):
        size = noise.shape[-1]
        return noise + self.wave(size, 1) + self.wave(size, 3)


@pytest.mark.parametrize(
    ("max_frequency", "cycles"), [(0.1, []), (0.125, [1]), (0.3, [1]), (0.375, [1, 3]), (0.5, [1, 3])]
)
def test_frequencies_of_the_change_above_the_highest_one_are_left_out(max_frequency, cycles):
    backbone = fakes.linear()
    noise = linear.noise_of(backbone, (1, 2))
    method = LoadedNetwork(Network(max_frequency=max_frequency), backbone, network=Waves())
    golden = method(noise, backbone.encode(linear.PROMPTS), backbone, []).noise
    change = sum((Waves.wave(noise.shape[-1], number) for number in cycles), torch.zeros(()))
    torch.testing.assert_close(golden, noise + change)


class Shift(NoiseNetwork):
    """Scales the noise and moves it by what the prompt says: its mean shift is known."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__({"scale": scale})
        self.forwards = 0

    def forward(self, noise, prompt_embeds=None, pooled_prompt_embeds=None, prompt_mask=None):
        self.forwards += 1
        return self.config["scale"] * noise + prompt_embeds.mean((1, 2))[:, None, None, None]


def shifted(mean_shift, scale=1.0, prompts=linear.PROMPTS, rows=slice(None)):
    backbone = fakes.linear()
    noise = linear.noise_of(backbone, (1, 2))[rows]
    conditioning = backbone.encode(prompts)[rows]
    network = Shift(scale)
    method = LoadedNetwork(Network(mean_shift=mean_shift), backbone, network=network)
    return noise, conditioning, method(noise, conditioning, backbone, []).noise, network


def test_all_of_the_mean_shift_is_the_network_as_it_is():
    noise, conditioning, golden, network = shifted(1.0)
    assert network.forwards == 1
    assert torch.equal(golden, network(noise, conditioning.prompt_embeds))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_of_a_shift_that_the_prompt_alone_decides_the_share_stays(share):
    noise, conditioning, golden, _ = shifted(share)
    shift = conditioning.prompt_embeds.mean((1, 2))[:, None, None, None]
    assert shift.abs().min() > 0
    torch.testing.assert_close(golden, noise + share * shift.expand_as(noise))


def test_what_is_linear_in_the_noise_is_no_part_of_the_mean_shift():
    noise, _, golden, _ = shifted(0.0, scale=1.5)
    torch.testing.assert_close(golden, 1.5 * noise)


def test_the_mean_shift_is_asked_once_for_a_prompt_and_does_not_depend_on_the_batch():
    *_, golden, network = shifted(0.5, prompts=(linear.PROMPTS[0],) * 2)
    assert network.forwards == 2
    *_, alone, _ = shifted(0.5, prompts=(linear.PROMPTS[0],) * 2, rows=slice(1, 2))
    torch.testing.assert_close(golden[1:], alone)

"""A network fits the backbone it is used on, or is refused before anything is computed."""

import pytest

from npnet.errors import UserError
from npnet.networks import NPNet
from npnet.noise import Network
from tests import fakes
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

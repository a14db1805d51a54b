"""Whether a network fits is answered from its ``config.json``, before anything is loaded."""

import json
import logging

import pytest

from npnet.backbones import Shapes, StableDiffusionXL
from npnet.compatibility import check_parts
from npnet.errors import FieldError
from npnet.fit import PURPOSE
from npnet.noise import BestOfN, Network
from npnet.paths import shapes_weights
from tests.noise.scorers import Ramp

CONFIG = json.loads((shapes_weights() / "network" / "config.json").read_text())
SDXL = {"_target_": "npnet.backbones.StableDiffusionXL", "path": "owner/model"}


@pytest.fixture
def folder(tmp_path):
    def write(**changed):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changed}))
        (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        return str(tmp_path)

    return write


def sdxl():
    return StableDiffusionXL("owner/model", device="cpu")


def test_other_embeddings_are_refused_without_the_weights(folder):
    with pytest.raises(FieldError, match=r"was trained for prompt_embed_dim 96.*has prompt_embed_dim 2048"):
        Network(folder()).check_fit(sdxl())


def test_other_latents_are_refused_without_the_weights(folder):
    with pytest.raises(FieldError, match=r"was trained for latents \(16, h, w\)"):
        Network(folder(latent_channels=16, text_term="off")).check_fit(sdxl())


def test_a_network_without_its_text_is_never_applied_to_another_model_in_silence(folder, caplog):
    with caplog.at_level(logging.WARNING):
        Network(folder(**{PURPOSE: None}), text_term="off").check_fit(sdxl())
    assert "was trained for latents of 16 x 16 and is applied to 128 x 128" in caplog.text
    caplog.clear()
    trained = {PURPOSE: {"backbone": {"_target_": "npnet.backbones.Shapes"}}}
    with caplog.at_level(logging.WARNING):
        Network(folder(**trained), text_term="off").check_fit(sdxl())
    assert "was trained for Shapes and is used with StableDiffusionXL" in caplog.text


def test_a_network_of_another_variant_of_the_built_in_model_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        Network(str(shapes_weights("b") / "network"), text_term="off").check_fit(Shapes(device="cpu", settings={}))
    assert "was trained for Shapes (b) and is used with Shapes" in caplog.text


@pytest.mark.parametrize(
    "trained", [{}, {PURPOSE: {"backbone": {"_target_": "npnet.backbones.Shapes"}}}, {PURPOSE: 3}, {PURPOSE: {}}]
)
def test_on_its_own_model_nothing_is_said(folder, caplog, trained):
    with caplog.at_level(logging.WARNING):
        Network(folder(**trained)).check_fit(Shapes(device="cpu", settings={}))
    assert not caplog.text


def test_the_network_of_a_searchs_proposals_is_asked_too(folder):
    search = BestOfN(scorer="hpsv2", num_inference_steps=2, guidance_scale=1.0, proposal="npnet", network_path=folder())
    with pytest.raises(FieldError, match=r"noise.search.network_path=.*was trained for prompt_embed_dim 96"):
        check_parts(sdxl(), {"search": search}, {"hpsv2": Ramp()})

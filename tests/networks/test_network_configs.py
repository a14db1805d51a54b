import pytest
import torch
from hydra import compose, initialize_config_dir

from npnet.instantiate import build
from npnet.paths import config_dir

PARAMETERS = {
    "npnet": 29_700_915,
    "npnet_spatial": 29_600_000,
    "npnet_no_svd": 28_780_979,
    "npnet_left_out": 28_780_979,
    "npnet_no_residual": 2_181_513,
    "npnet_no_text": 28_439_339,
    "npnet_svd_no_attention": 29_440_000,
    "shapes": 950_000,
    "shapes_no_svd": 950_000,
    "shapes_left_out": 950_000,
    "shapes_no_residual": 650_000,
    "shapes_no_text": 350_000,
    "shapes_svd_no_attention": 950_000,
    "shapes_ada_group_norm": 350_000,
    "npnet_unet": 29_547_839,  # npnet_spatial's, and in fact much less
    "shapes_unet": 903_239,  # that of shapes: the comparison of docs/network_study.md is at equal size
}
"""Most parameters of each network."""

NAMES = sorted(path.stem for path in (config_dir() / "network").glob("*.yaml"))


def built(name):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return build(compose(overrides=[f"+network={name}"]).network, "network").eval()


@pytest.mark.parametrize("name", NAMES)
def test_every_network_builds_within_its_bound_of_parameters(name):
    count = sum(parameter.numel() for parameter in built(name).parameters())
    assert count <= PARAMETERS[name]


def test_the_papers_network_has_the_published_number_of_parameters():
    network = built("npnet")
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    # less what the published classes hold and never call: a batch norm of 256 channels, a classifier of 1000 classes
    assert counts == {"text": 1_261_576, "singular_values": 920_448 - 512, "residual": 28_288_401 - 769_000}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("shapes")])
def test_every_small_network_maps_noise_of_the_shapes_model(name, draw, tmp_path):
    network = built(name)
    golden = network(draw(2, 4, 16, 16), draw(2, 16, 96), draw(2, 48), torch.ones(2, 16))
    assert golden.shape == (2, 4, 16, 16) and golden.isfinite().all()
    network.save_pretrained(tmp_path, dtype=torch.float16)
    assert (tmp_path / "model.safetensors").stat().st_size <= 3_000_000


def test_the_network_to_train_at_sdxls_size_uses_pooled_embeddings_and_a_mask(draw):
    network = built("npnet_spatial")
    with torch.no_grad():
        golden = network(draw(1, 4, 128, 128), draw(1, 80, 2048), draw(1, 1280), torch.ones(1, 80))
    assert golden.isfinite().all()

"""What a GPU would refuse or wait for, shown on a fake one: no device is mixed, and the host reads no number."""

import pytest
import torch

from benchmarks.counts import described
from npnet.costs.runtime.counter import CUDA, empty, fused_attention, move
from npnet.costs.runtime.models import conditioning, on_gpu
from npnet.networks import NPNet
from tests.backbones.members import YAMLS
from tests.gpu.fake import DTYPES, FAMILIES, backbone_on_gpu, noise_on_gpu

STEPS, GUIDANCE = 2, 2.0
BACKBONES = [name for name in YAMLS if not name.startswith("shapes")]
CASES = [(name, dtype) for name in BACKBONES for dtype in DTYPES]


@pytest.fixture
def counted(monkeypatch):
    """The one read: Z-Image's network wants lists of the prompts' own rows; their number is 7 here."""
    read = []
    monkeypatch.setattr("npnet.backbones.runtime.z_image.lengths", lambda mask: read.append(mask) or [7] * len(mask))
    return read


@pytest.mark.parametrize(
    ("name", "dtype"),
    [case if case[0] in FAMILIES else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
    ids=str,
)
@torch.no_grad()
def test_sampling_and_decoding_stay_on_the_gpu_and_the_host_reads_nothing(name, dtype, counted):
    mode, backbone, conditioning = backbone_on_gpu(name, dtype)
    noise = noise_on_gpu(mode, backbone)
    with mode:
        steps = len(backbone.schedule().fixed_levels() or range(STEPS))
        latents = backbone.sample(noise, conditioning, steps, GUIDANCE)
        images = backbone.decode(latents)
    assert (latents.device, latents.dtype, latents.shape) == (CUDA, torch.float32, noise.shape)
    assert (images.device, images.dtype, len(images)) == (CUDA, torch.float32, 2)
    assert len(counted) == (backbone.name == "ZImage")  # once for a batch, not at each of its steps


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_so_it_is_at_the_published_size(name, counted):
    mode, backbone = on_gpu(described("backbone", name))
    with fused_attention(), mode:
        steps = len(backbone.schedule().fixed_levels() or range(2))
        latents = backbone.sample(noise_of(backbone), conditioning(backbone, 1), steps, GUIDANCE)
        images = backbone.decode(latents)
    assert {latents.device, images.device} == {CUDA}
    assert len(counted) == (backbone.name == "ZImage")


def noise_of(backbone):
    return torch.empty(1, *backbone.latent_shape(), device=CUDA)


TRUNK = {"img_size": 32, "patch_size": 2, "embed_dim": 12, "depths": [2, 2], "num_heads": [3, 6], "window_size": 4}
FORMS = {
    "the paper's": {"trunk": TRUNK, "feature_layout": "official"},
    "spatial text": {"trunk": TRUNK, "feature_layout": "spatial", "text_term": "spatial"},
    "no singular values": {"trunk": TRUNK, "feature_layout": "spatial", "singular_value_branch": "off"},
    "U-Net": {"trunk": {"widths": [8, 16]}, "singular_value_branch": "off", "text_term": "spatial"},
}


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_network_stays_on_the_gpu_and_the_host_reads_only_whether_the_noise_is_finite(form, monkeypatch):
    checked = []
    monkeypatch.setattr("npnet.networks.npnet.check_noise", lambda *given: checked.append(given))  # the one read
    mode, backbone, conditioning = backbone_on_gpu("sdxl", torch.float16)
    network = NPNet(latent_size=[32, 48], **backbone.embed_dims(), **FORMS[form])
    shape = (2, 4, 32, 48)
    given = {}
    if network.singular_values is not None:  # decomposed on the CPU, ahead of the network or once a batch
        parts = network.decomposer()(torch.randn(shape))
        given = {"decomposition": [empty(mode, part) for part in parts]}
    move(mode, network)
    with mode:
        noise = torch.empty(shape, device=CUDA)
        better = network(noise, conditioning.prompt_embeds, conditioning.pooled_prompt_embeds, **given)
    assert (better.device, better.shape) == (CUDA, noise.shape)
    assert len(checked) == 1

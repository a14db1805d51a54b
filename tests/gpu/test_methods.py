"""Every noise method on a fake GPU: no device is mixed, and the host reads no number but those that are named here."""

import pytest
import torch

from npnet import noise as methods
from npnet import seeding
from npnet.errors import UserError
from npnet.metrics.base import Metric
from npnet.metrics.runtime.base import Scorer
from npnet.noise import (
    BestOfN,
    DivIn,
    ErasureInjection,
    InitNO,
    Inversion,
    NoiseDiffusion,
    ReNO,
    Repaint,
    SemanticErasure,
    Standard,
    ZeroOrderSearch,
)
from npnet.noise.base import NoiseMethod
from tests.backbones.members import described_by
from tests.gpu.fake import DTYPES, FAMILIES, GRADIENTS, OF_THE_FAMILY, Reads, backbone_on_gpu, noise_on_gpu

ONE = {"num_inference_steps": 1, "guidance_scale": 2.0}
SEARCH = {**ONE, "scorer": "mean"}
METHODS = {
    "standard": Standard(),
    "inversion": Inversion(**ONE, inversion_guidance_scale=1.0),
    "repaint": Repaint(**ONE),
    "semantic_erasure": SemanticErasure(),
    "erasure_injection": ErasureInjection(**ONE),
    "divin": DivIn(num_inference_steps=1),
    "best_of_n": BestOfN(**SEARCH, num_candidates=2),
    "zero_order_search": ZeroOrderSearch(**SEARCH, num_rounds=1, num_candidates=1),
    "noise_diffusion": NoiseDiffusion(**SEARCH, num_rounds=1, num_candidates=2),
    "reno": ReNO(**SEARCH, num_iterations=2),
    "initno": InitNO(num_inference_steps=1, num_rounds=1, round_steps=2, final_steps=0),
}
FORMS = {
    "best_of_n, threshold": BestOfN(**SEARCH, num_candidates=2, threshold=2.0),
    "random_sampling": NoiseDiffusion(**SEARCH, num_rounds=1, variant="random_sampling"),
    "pgd": NoiseDiffusion(**SEARCH, num_rounds=1, variant="pgd"),
    "mean_variance": NoiseDiffusion(**SEARCH, num_rounds=1, variant="mean_variance"),
    "reno, projection": ReNO(**SEARCH, num_iterations=2, projection="both"),
}
ALLOWED = {
    "Search.rows": "which samples are done, once a round, under a threshold",
    "Search.result": "whether every winner's sample is its own, once a batch",
    "LoadedNoiseDiffusion.__call__": "which samples are done, once a round",
    "_Run.optimise": "which samples succeeded, once a step of InitNO",
    "require_images": "whether pictures lie in [0, 1], once a call of a scorer",
}
READS = {
    "best_of_n": {"Search.result", "require_images"},
    "zero_order_search": {"Search.result", "require_images"},
    "noise_diffusion": {"Search.result", "LoadedNoiseDiffusion.__call__", "require_images"},
    "reno": {"Search.result", "require_images"},
    "initno": {"Search.result", "_Run.optimise"},
    "best_of_n, threshold": {"Search.result", "Search.rows", "require_images"},
    "reno, projection": {"Search.result", "require_images"},
}
READS |= dict.fromkeys(("random_sampling", "pgd", "mean_variance"), READS["noise_diffusion"])


class Mean(Scorer):
    """How bright pictures are."""

    def __init__(self):
        super().__init__(Metric())

    def _score(self, images, prompts):
        return images.flatten(1).mean(1)


def whole(token_map):
    """Take the place of ``object_mask``, which reads a map for scipy, once a token and step."""
    return torch.ones_like(token_map, dtype=torch.bool)


def check(method, described, family, dtype, monkeypatch):
    mode, backbone, conditioning = backbone_on_gpu(family, dtype, GRADIENTS)
    monkeypatch.setattr("npnet.noise.runtime.attention.object_mask", whole)
    monkeypatch.setattr("npnet.noise.runtime.search.LINE_SECONDS", float("inf"))  # a line reads the mean score
    loaded = described.load(backbone, {"mean": Mean()} if described.scorers else {})
    noise, reads = noise_on_gpu(mode, backbone), Reads()
    with mode, reads, torch.no_grad():
        better = loaded(noise, conditioning, backbone, seeding.streams([0, 1], "law")).noise
    assert (better.device, better.dtype, better.shape) == (GRADIENTS, noise.dtype, noise.shape)
    assert reads.found - OF_THE_FAMILY.get(family, set()) == READS.get(method, set())


def fits(described, family):
    backbone = DESCRIBED[family]
    try:
        backbone.require(described.needs, "the law")
        described.check_backbone(backbone)
    except UserError:
        return False
    return True


DESCRIBED = {family: described_by(family) for family in FAMILIES}
FITTING = [(method, family) for family in FAMILIES for method in METHODS if fits(METHODS[method], family)]
CASES = [(method, family, dtype) for method, family in FITTING for dtype in DTYPES]
PAPERS = ("sd15", "sdxl", "hunyuan_dit", "sd3", "flux", "wan")
SLOW = {("wan", "noise_diffusion"), ("wan", "zero_order_search"), ("wan", "reno")}


def by_turns(case):
    """Every method on the families of the papers in one format, and on SDXL in half precision; the rest is slow."""
    method, family, dtype = case
    turn = DTYPES[(list(METHODS).index(method) + list(FAMILIES).index(family)) % len(DTYPES)]
    usual = turn is dtype and family in PAPERS and (family, method) not in SLOW
    is_fast = usual or (family, dtype) == ("sdxl", torch.float16)
    return case if is_fast else pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(("method", "family", "dtype"), [by_turns(case) for case in CASES], ids=str)
def test_a_method_stays_on_the_gpu_and_the_host_reads_what_is_named(method, family, dtype, monkeypatch):
    check(method, METHODS[method], family, dtype, monkeypatch)


@pytest.mark.parametrize("form", FORMS)
def test_so_do_its_other_forms(form, monkeypatch):
    check(form, FORMS[form], "sdxl", torch.float16, monkeypatch)


def test_every_method_and_every_read_is_named():
    exported = {value for value in vars(methods).values() if isinstance(value, type) and issubclass(value, NoiseMethod)}
    exported = {kind for kind in exported if hasattr(kind, "runtime")}
    assert exported == {type(method) for method in METHODS.values()} | {methods.Network}  # a network: test_gpu
    assert set().union(*READS.values()) == set(ALLOWED)


@pytest.mark.parametrize("inside", [True, False])
def test_a_read_is_found_and_told_apart_by_where_it_is(inside):
    mode, backbone, conditioning = backbone_on_gpu("sdxl", torch.float16, GRADIENTS)
    noise, reads = noise_on_gpu(mode, backbone), Reads()
    denoise = backbone.denoiser.denoise
    if inside:
        backbone.denoiser.denoise = lambda latents, *given: denoise(latents * latents.sum().item(), *given)
    try:
        with mode, reads, torch.no_grad():
            latents = backbone.sample(noise, conditioning, 1, 2.0)
            assert reads.found == ({"inside Denoiser.model_output"} if inside else set())
            if not inside:
                Mean().score(backbone.decode(latents), ["a", "b"])
                assert reads.found == {"require_images"}
    finally:
        backbone.denoiser.denoise = denoise

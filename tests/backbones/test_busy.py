"""What a GPU would wait for: copies and constants in the sampling loop, and what cannot be compiled."""

from contextlib import contextmanager

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.overrides import TorchFunctionMode

from tests import tiny
from tests.families import PROMPTS, built, noise_for, sampled

MAKERS = {torch.tensor, torch.as_tensor, torch.full, torch.zeros, torch.ones, torch.arange, torch.linspace}
MAKERS |= {torch.Tensor.new_tensor, torch.Tensor.new_full, torch.Tensor.new_zeros}
READS = {torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__bool__, torch.Tensor.__float__, torch.Tensor.__int__}
FAMILIES = (
    "sd",
    "sdxl",
    "hunyuan_dit",
    "sd3",
    "flux",
    "flux_true_cfg",
    "flux2_klein_base",
    "z_image_base",
    "qwen_image",
    "sana_sprint",
    "wan",
)


class Watch(TorchFunctionMode):
    """Notes which tensors are made from numbers, and which are read as numbers, outside the network itself."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if not self.inside and function in MAKERS | READS:
            self.found.append(function.__name__)
        return function(*args, **kwargs or {})


@contextmanager
def watched(module):
    """What our own code does around the calls of ``module``, and the tensors that each call is given."""
    watch, calls = Watch(), []

    def enter(_, args, kwargs):
        watch.inside = True
        added = kwargs.pop("added_cond_kwargs", {})
        given = {**kwargs, **added}
        calls.append({name: value for name, value in given.items() if name not in ("hidden_states", "timestep")})
        if added:
            kwargs["added_cond_kwargs"] = added
        return args, kwargs

    def leave(*_):
        watch.inside = False

    hooks = [module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave)]
    try:
        with watch:
            yield watch.found, calls
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_makes_no_constant_and_reads_no_number(name):
    backbone = built(name)
    noise, conditioning = noise_for(backbone), backbone.encode(PROMPTS)
    with torch.no_grad():
        first = backbone.sample(noise, conditioning, 3, 3.0)
        with watched(backbone.denoiser.module) as (found, calls):
            again = backbone.sample(noise, conditioning, 3, 3.0)
    assert found == []
    assert len(calls) == 3
    assert all(calls[step][key] is value for step in (1, 2) for key, value in calls[0].items())
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_decoding_makes_no_constant_and_reads_no_number(name, monkeypatch):
    backbone, latents = built(name), noise_for(built(name))
    watch, decode = Watch(), backbone.pipeline.vae.decode

    def inside(*args, **kwargs):
        watch.inside = True
        try:
            return decode(*args, **kwargs)
        finally:
            watch.inside = False

    with torch.inference_mode():
        first = backbone.decode(latents)
    monkeypatch.setattr(backbone.pipeline.vae, "decode", inside)
    with watch:
        again = backbone.decode(latents)
    assert watch.found == []
    assert torch.equal(first, again)


def test_other_prompts_are_not_given_what_was_made_for_the_first_ones():
    backbone, noise = built("sdxl"), noise_for(built("sdxl"))
    with torch.no_grad():
        for prompts in (PROMPTS, PROMPTS[::-1], PROMPTS):
            together = backbone.predict(noise, 500.0, backbone.encode(prompts), 3.0)
            for row, prompt in enumerate(prompts):
                alone = backbone.predict(noise[row : row + 1], 500.0, backbone.encode([prompt]), 3.0)
                assert torch.allclose(together[row : row + 1], alone, atol=1e-5)


def test_what_was_made_in_inference_mode_serves_gradients_later():
    backbone, noise = tiny.family("sdxl"), noise_for(built("sdxl"))
    with torch.inference_mode():
        conditioning = backbone.encode(PROMPTS)
        backbone.predict(noise, 500.0, conditioning, 3.0)
    given = conditioning.map(torch.clone)
    with torch.inference_mode():
        backbone.predict(noise, 500.0, given, 3.0)
    with torch.enable_grad():
        wanted = noise.clone().requires_grad_()
        backbone.predict(wanted, 500.0, given, 3.0).sum().backward()
    assert wanted.grad.abs().sum() > 0


def test_gradients_reach_embeddings_at_every_call():
    backbone, noise = built("sdxl"), noise_for(built("sdxl"))
    with torch.enable_grad():
        given = backbone.encode(PROMPTS).map(lambda tensor: tensor.clone().requires_grad_())
        for _ in range(2):
            given.prompt_embeds.grad = None
            backbone.predict(noise, 500.0, given, 3.0).sum().backward()
            assert given.prompt_embeds.grad.abs().sum() > 0


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver_multistep", "euler_ancestral", "heun", "lcm"])
def test_a_named_sampler_keeps_its_levels_where_they_are_read(sampler):
    seen = []
    backbone = built("sdxl")
    hook = backbone.denoiser.module.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    try:
        generators = [torch.Generator().manual_seed(i) for i in range(2)]
        with torch.no_grad():
            for _ in range(2):
                sampled(backbone, sampler=sampler, generators=generators)
    finally:
        hook.remove()
    half = len(seen) // 2
    assert all(one is other for one, other in zip(seen[:half], seen[half:], strict=True))


@pytest.mark.parametrize("name", ["sdxl", *(pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES if n != "sdxl")])
def test_a_compiled_denoiser_is_one_graph_for_all_steps(name):
    torch._dynamo.reset()
    backbone, counter = tiny.family(name), CompileCounter()
    with torch.no_grad():
        plain = sampled(backbone)
        backbone.denoiser.module.compile(backend=counter)
        assert torch.allclose(sampled(backbone), plain, atol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()

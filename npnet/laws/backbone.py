"""The laws of backbones; see ``npnet.backbones.runtime`` for the words.

Each law takes a loaded model with two of its prompts, under ``no_grad``, and raises ``AssertionError``, with the
reason, where it is broken.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from npnet.backbones.samplers import check_sampler
from npnet.backbones.schedules import END
from npnet.errors import UserError
from npnet.laws.backbone_case import SCALE, Case, case_of
from npnet.laws.require import require, require_refusal
from npnet.records import Branches

__all__ = ["LAWS", "Case", "Law", "case_of"]

Law = Callable[[Case], None]


def the_description_says_the_same_as_the_model(case: Case) -> None:
    """The description knows the model's kind, capabilities and levels, and survives pickling."""
    backbone, description = case.backbone, case.backbone.description
    require(description.schedule().kind == backbone.kind, "the description's schedule is of another kind")
    require(description.capabilities == backbone.capabilities, "the description has other capabilities")
    travelled = pickle.loads(pickle.dumps(description))
    require(travelled == description, "a pickled description comes back as another")
    require(len(travelled.latent_shape()) == case.noise.ndim - 1, "the description's latents have another grid")


def levels_fall_to_a_clean_end(case: Case) -> None:
    """Each noise level, and its sigma, lies below the one before."""
    levels = [*case.timesteps(), END]
    sigmas = [case.backbone.coefficients(level).sigma for level in levels]
    for name, falling in (("level", levels), ("sigma", sigmas)):
        require(falling == sorted(falling, reverse=True), f"the {name}s do not fall: {falling}")
    clean, noisy = sigmas[-1], sigmas[0]
    require(clean < 0.05 and noisy > 0.9, f"sigma goes from {noisy:.3g} to {clean:.3g}, not from 1 to 0")


def moving_there_and_back_is_the_identity(case: Case) -> None:
    """A step there and back with one prediction changes nothing, at 4 and at 10 steps in double precision."""
    backbone, noise = case.backbone, case.noise.double()
    for steps in {case.steps(4), case.steps(10)}:
        level = backbone.timesteps(steps)[0]
        prediction = backbone.predict(case.noise, level, case.conditioning, SCALE).double()
        for here, there in backbone.steps(steps):
            lower = backbone.move(noise, prediction, here, there)
            error = float((backbone.move(lower, prediction, there, here) - noise).abs().max())
            require(error < 1e-12, f"from {here} to {there} and back: off by {error:.2g}")


def x0_epsilon_and_velocity_agree(case: Case) -> None:
    """The latents are alpha x_0 + sigma epsilon, and the velocity is epsilon - x_0."""
    backbone, noise = case.backbone, case.noise
    level = case.timesteps()[1]
    prediction = backbone.predict(noise, level, case.conditioning, 1.0)
    alpha, sigma = backbone.coefficients(level)
    x0, epsilon = backbone.to_x0(prediction, noise, level), backbone.to_epsilon(prediction, noise, level)
    _close(alpha * x0 + sigma * epsilon, noise, "alpha x_0 + sigma epsilon", 1e-4)
    _close(backbone.to_velocity(prediction, noise, level), epsilon - x0, "the velocity", 1e-4)


def predictions_are_float32(case: Case) -> None:
    """Predictions are float32 whatever the network computes in, for both branches where there are two."""
    branches = case.backbone.predict_branches(case.noise, case.timesteps()[0], case.conditioning)
    found = branches.conditional
    alike = found.dtype == torch.float32 and found.shape == case.noise.shape
    require(alike, f"predicts {tuple(found.shape)} {found.dtype} for noise {tuple(case.noise.shape)}")
    require((branches.unconditional is not None) == case.guided, "the branches are not those of its capabilities")
    if branches.unconditional is not None:
        differs = float((branches.conditional - branches.unconditional).abs().max())
        require(differs > 1e-4, "the prompt changes nothing")


def forwards_are_counted(case: Case) -> None:
    """A sample costs one forward, or two with guidance; at guidance 1 the unconditional branch does not run."""
    for scale, each in ((1.0, 1), (SCALE, 2 if case.guided else 1)):
        before = case.backbone.cost
        case.sample(scale)
        found = (case.backbone.cost - before).forwards
        require(
            found == 2 * case.steps() * each,
            f"two samples of {case.steps()} steps at guidance {scale:g} count {found} forwards",
        )


def backwards_are_counted(case: Case) -> None:
    """A gradient through the network reaches the latents, and is counted."""
    backbone, before = case.backbone, case.backbone.cost
    with torch.enable_grad():
        latents = case.noise.clone().requires_grad_()
        backbone.predict(latents, case.timesteps()[0], case.conditioning, 1.0).sum().backward()
    found = (backbone.cost - before).backwards
    require(found == 2, f"two samples count {found} backwards")
    require(latents.grad is not None and float(latents.grad.abs().sum()) > 0, "no gradient reaches the latents")


def guidance_is_affine_in_its_scale(case: Case) -> None:
    """Guidance is affine in its scale, unless the description says that the mixture is changed further."""
    if not case.guided or not case.backbone.description.affine_guidance:
        return
    backbone, level = case.backbone, case.timesteps()[1]
    at = {scale: backbone.predict(case.noise, level, case.conditioning, scale) for scale in (1.0, 2.0, 4.0)}
    _close(at[4.0] - at[1.0], 3 * (at[2.0] - at[1.0]), "what guidance adds", 1e-4)


def branches_computed_before_change_nothing_but_the_cost(case: Case) -> None:
    """A given first evaluation, of some or all samples, changes only the cost; one of another level is not used."""
    if not case.guided:
        return
    backbone, plain = case.backbone, case.sample()
    first, wrong = (backbone.predict_branches(case.noise, t, case.conditioning) for t in case.timesteps(3)[:2])
    before = backbone.cost
    shared = case.sample(first_branches=first)
    found = (backbone.cost - before).forwards
    rest = case.steps() - 1
    require(
        found == 2 * 2 * rest,
        f"with the first evaluation given, {rest} more steps of two samples count {found} forwards",
    )
    require(torch.equal(plain, shared), "a given first evaluation changes the latents")
    assert first.unconditional is not None
    leading = Branches(first.timestep, first.conditional[:1], first.unconditional[:1])
    _close(case.sample(first_branches=leading), plain, "sampling with the first sample's evaluation given", 1e-4)
    require(torch.equal(case.sample(first_branches=wrong), plain), "an evaluation of another level is used")


def a_batch_is_its_singles(case: Case) -> None:
    """A sample gives the same result alone and beside another."""
    whole = case.sample()
    require(whole.shape == case.noise.shape and whole.dtype == torch.float32, f"samples {whole.dtype}")
    for index in range(2):
        part = slice(index, index + 1)
        single = case.backbone.sample(case.noise[part], case.conditioning[part], case.steps(), SCALE)
        _close(single, whole[part], f"sample {index} alone", 1e-4)


def a_prompt_is_encoded_alike_alone_and_in_a_batch(case: Case) -> None:
    """A prompt gets the same embeddings alone and in a batch, and they have the stated sizes."""
    backbone, (first, second) = case.backbone, case.prompts
    both, alone = backbone.encode([first, second, first]), backbone.encode([first])
    require(both.prompts == (first, second, first), f"returns the prompts {both.prompts}")
    for key, tensor in both.tensors().items():
        require(torch.equal(tensor[0], tensor[2]), f"{key}: one prompt twice gives two values")
        _close(tensor[:1].float(), alone.tensors()[key].float(), f"{key} of a prompt alone", 1e-5)
    pooled = both.pooled_prompt_embeds
    found = {
        "prompt_embed_dim": both.prompt_embeds.shape[2],
        "prompt_length": both.prompt_embeds.shape[1],
        "pooled_embed_dim": 0 if pooled is None else pooled.shape[1],
    }
    require(backbone.embed_dims() == found, f"embed_dims says {backbone.embed_dims()}, encoding gives {found}")
    require((both.negative_prompt_embeds is not None) == case.guided, "the unconditional embeddings are missing")


def pictures_lie_in_the_unit_range(case: Case) -> None:
    """Pictures lie in [0, 1] and carry gradients; a family without ``decode`` says so."""
    backbone, able = case.backbone, "decode" in case.backbone.capabilities
    if not able:
        decode = partial(backbone.decode, case.noise)
        require_refusal(UserError, decode, "decodes, though its capabilities leave it out")
        return
    differentiable = "differentiable_decode" in backbone.capabilities
    with torch.set_grad_enabled(differentiable):
        latents = case.noise[:1].clone().requires_grad_(differentiable)
        images = backbone.decode(latents)
        if differentiable:
            images.sum().backward()
    require(images.dtype == torch.float32 and images.shape[-3] == 3, f"pictures are {tuple(images.shape)}")
    low, high = float(images.min()), float(images.max())
    require(low >= 0 and high <= 1, f"pictures lie in [{low:.3g}, {high:.3g}]")
    if differentiable:
        require(latents.grad is not None and bool(latents.grad.any()), "no gradient reaches the latents")


def given_levels_equal_to_the_spacing_change_nothing(case: Case) -> None:
    """Sampling with the usual levels as ``timesteps=`` gives the usual result."""
    found = case.sample(timesteps=case.timesteps(3))
    require(torch.equal(found, case.sample()), "the same levels give other latents")


def impossible_steps_are_refused(case: Case) -> None:
    """An impossible number of steps is refused in one line that names ``num_inference_steps``."""
    for model in (case.backbone, case.backbone.description):
        for count in (0, -1, True, 2.5, "4"):
            take = partial(check_sampler, "default", model, count)  # type: ignore[arg-type]
            said = require_refusal(UserError, take, f"{count!r} steps are not refused")
            require(said.startswith("num_inference_steps="), f"{count!r} steps are refused with: {said}")


LAWS: dict[str, Law] = {
    law.__name__.replace("_", " "): law
    for law in (
        the_description_says_the_same_as_the_model,
        levels_fall_to_a_clean_end,
        moving_there_and_back_is_the_identity,
        x0_epsilon_and_velocity_agree,
        predictions_are_float32,
        forwards_are_counted,
        backwards_are_counted,
        guidance_is_affine_in_its_scale,
        branches_computed_before_change_nothing_but_the_cost,
        a_batch_is_its_singles,
        a_prompt_is_encoded_alike_alone_and_in_a_batch,
        pictures_lie_in_the_unit_range,
        given_levels_equal_to_the_spacing_change_nothing,
        impossible_steps_are_refused,
    )
}
"""Every law by its name in words; its docstring's first line says what holds, and ``npnet check`` shows it."""


def _close(found: Tensor, expected: Tensor, what: str, tolerance: float) -> None:
    error = float((found - expected).abs().max())
    require(torch.allclose(found, expected, atol=tolerance, rtol=tolerance), f"{what} is off by {error:.2g}")

"""A diffusion model, reduced to the operations that noise methods need.

Vocabulary: ``noise`` is x_T ~ N(0, I) before any scheduler scaling; ``latents`` is the state x_t at a ``timestep``,
``(B, C, *grid)``; ``noise_pred`` is epsilon for variance-preserving families whatever the checkpoint predicts, and
velocity for flow matching, always float32 and after guidance. x_t = alpha_t x_0 + sigma_t epsilon; flow matching has
alpha_t = 1 - t, sigma_t = t and velocity = epsilon - x_0.

Guidance scales are in the diffusers convention, ``uncond + guidance_scale * (cond - uncond)``: 1 is the conditional
prediction alone. The paper's equation 3 writes (w + 1) cond - w uncond, so its w is ``guidance_scale`` - 1, while its
published settings (5.5, 3.5, 5.0, inversion 1.0) are the values passed to diffusers.

Nothing here enters ``no_grad`` by itself; callers do.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from npnet.backbones import samplers
from npnet.backbones.devices import resolve_device, resolve_dtype
from npnet.errors import UserError
from npnet.records import Branches, Conditioning, Cost


class Coefficients(NamedTuple):
    """x_t = alpha x_0 + sigma epsilon, as Python floats (double precision)."""

    alpha: float
    sigma: float


class Step(NamedTuple):
    """One sampler step; levels are scheduler timesteps, -1 is the end of sampling."""

    from_timestep: float
    to_timestep: float


CAPABILITIES = ("unconditional_branch", "cross_attention_maps", "decode", "differentiable_decode")
"""``cross_attention_maps``: a U-Net whose attention processors (``attn1``, ``attn2``) can be replaced."""
END = -1.0
"""The level after the last step."""


class Backbone(ABC):
    """The contract of every model family; see the module's docstring for the words.

    Args:
        settings: the published values of this model, for the commands' defaults: ``guidance_scale``,
            ``inversion_guidance_scale``, ``num_inference_steps`` (``collect`` and ``evaluate``).
        device: ``auto`` (a GPU when there is one), or a torch device.
        dtype: of the network; the step arithmetic is always float32.
    """

    kind: Literal["variance_preserving", "flow"] = "variance_preserving"
    domain: str = "any"
    """``shapes`` for the built-in model, whose metrics judge nothing else."""
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    lacking: Mapping[str, str] = {}
    """For a capability that is not there: what a person can do about it."""

    def __init__(self, settings: Mapping[str, Any] | None = None, device: str = "auto", dtype: str = "float32") -> None:
        self.settings = dict(settings or {})
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.cost = Cost()

    # --- what a family states ------------------------------------------------------------------------------------

    @abstractmethod
    def check(self) -> None:
        """Refuse, in one line and before anything is loaded, paths and settings that cannot work.

        Raises:
            UserError: a missing model directory, an impossible size, ...
        """

    @abstractmethod
    def load(self) -> Self:
        """Load the weights; called once, after every node of the configuration was built and checked."""

    @abstractmethod
    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """Return ``(C, *grid)`` of one sample; the default size is the configured one."""

    @abstractmethod
    def embed_dims(self) -> dict[str, int]:
        """Return ``prompt_embed_dim`` (D), ``prompt_length`` (L) and ``pooled_embed_dim`` (P, 0 when there is none)."""

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode each distinct prompt once; the embeddings are on the backbone's device."""

    @abstractmethod
    def steps(self, num_inference_steps: int) -> list[Step]:
        """Return the sampler's steps, from noise to the end; consecutive except where the family's spacing is not."""

    @abstractmethod
    def coefficients(self, timestep: float) -> Coefficients:
        """Return alpha and sigma at a level; ``END`` is the end of sampling."""

    @abstractmethod
    def to_noise_pred(self, model_output: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """Convert the network's output to ``noise_pred``; linear in ``model_output``."""

    @abstractmethod
    def model_output(self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool) -> Tensor:
        """Run the denoiser in its own dtype and return float32.

        Args:
            latents: ``(B, C, *grid)``.
            label: the timestep the network is told.
            conditioning: B prompts.
            unconditional: run both halves; the output is then ``(2B, C, *grid)``, unconditional half first.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Decode to pictures ``(B, 3, H, W)`` (video: ``(B, F, 3, H, W)``), float32 in [0, 1]; differentiable."""

    def scheduler_config(self) -> dict[str, Any]:
        """Return the published scheduler configuration from which other samplers are made."""
        raise UserError(f"{type(self).__name__} samples with its own rule only; use sampler=default")

    def with_guidance(self, conditioning: Conditioning, guidance_scale: float) -> Conditioning:
        """Return what the denoiser is given at ``guidance_scale``; families with embedded guidance put it in here."""
        return conditioning

    # --- what follows from it ------------------------------------------------------------------------------------

    def knows_schedule(self) -> bool:
        """Say whether ``scheduler_config`` can be asked: after ``load``, and before it where the family can tell."""
        return False

    def check_steps(self, num_inference_steps: int) -> None:
        """Refuse a number of steps, as far as it can be judged: ``steps`` judges the rest once the weights are there.

        Raises:
            UserError: says what was got and what is allowed.
        """
        whole = isinstance(num_inference_steps, int) and not isinstance(num_inference_steps, bool)
        if not whole or num_inference_steps < 1:
            raise UserError(f"num_inference_steps={num_inference_steps}: a whole number of at least 1 is needed")

    def timesteps(self, num_inference_steps: int) -> list[float]:
        """Return the levels at which the denoiser is evaluated, first to last."""
        return [step.from_timestep for step in self.steps(num_inference_steps)]

    def predict_branches(
        self,
        latents: Tensor,
        timestep: float,
        conditioning: Conditioning,
        label: float | None = None,
        unconditional: bool = True,
    ) -> Branches:
        """Evaluate the denoiser once and return its branches unmixed, so one evaluation serves any guidance scale.

        Args:
            latents: ``(B, C, *grid)`` at level ``timestep``.
            timestep: the level of ``latents``.
            conditioning: B prompts.
            label: what the network is told; the default is ``timestep``.
            unconditional: evaluate the unconditional half too; ignored where the family has none.
        """
        conditional, rest = self.evaluate(latents, timestep if label is None else label, conditioning, unconditional)
        return Branches(
            timestep,
            self.to_noise_pred(conditional, latents, timestep),
            None if rest is None else self.to_noise_pred(rest, latents, timestep),
        )

    def evaluate(
        self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Run the denoiser and count it: the network's own (conditional, unconditional) output, unconverted."""
        both = unconditional and "unconditional_branch" in self.capabilities
        output = self.model_output(latents, label, conditioning, both)
        forwards = len(output)
        self.cost += Cost(forwards=forwards)
        if output.requires_grad:
            output.register_hook(lambda grad: setattr(self, "cost", self.cost + Cost(backwards=forwards)))
        if not both:
            return output, None
        unconditional_output, conditional_output = output.chunk(2)
        return conditional_output, unconditional_output

    def guide(self, branches: Branches, guidance_scale: float) -> Tensor:
        """Mix the branches by ``guidance_scale`` (diffusers convention).

        Raises:
            ValueError: guidance other than 1 is asked of branches that hold the conditional half alone.
        """
        if guidance_scale == 1 or "unconditional_branch" not in self.capabilities:
            return branches.conditional
        if branches.unconditional is None:
            raise ValueError(f"guidance_scale={guidance_scale} needs the unconditional branch, which was not evaluated")
        return branches.unconditional + guidance_scale * (branches.conditional - branches.unconditional)

    def predict(
        self,
        latents: Tensor,
        timestep: float,
        conditioning: Conditioning,
        guidance_scale: float,
        label: float | None = None,
    ) -> Tensor:
        """Return the guided ``noise_pred``; at ``guidance_scale`` 1 only the conditional branch runs."""
        conditioning = self.with_guidance(conditioning, guidance_scale)
        branches = self.predict_branches(latents, timestep, conditioning, label, unconditional=guidance_scale != 1)
        return self.guide(branches, guidance_scale)

    def to_x0(self, noise_pred: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """Return the clean latents that ``noise_pred`` implies."""
        alpha, sigma = self.coefficients(timestep)
        if self.kind == "flow":
            return latents - sigma * noise_pred
        return (latents - sigma * noise_pred) / alpha

    def to_epsilon(self, noise_pred: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """Return epsilon; for flow matching x_t + (1 - t) velocity."""
        if self.kind == "flow":
            return latents + self.coefficients(timestep).alpha * noise_pred
        return noise_pred

    def to_velocity(self, noise_pred: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """Return the velocity epsilon - x_0 of flow matching."""
        if self.kind == "flow":
            return noise_pred
        return noise_pred - self.to_x0(noise_pred, latents, timestep)

    def step_coefficients(self, from_timestep: float, to_timestep: float) -> tuple[float, float]:
        """Return (A, B) of the deterministic step ``A latents + B noise_pred``: DDIM, or Euler for flow matching."""
        start, end = self.coefficients(from_timestep), self.coefficients(to_timestep)
        if self.kind == "flow":
            return 1.0, end.sigma - start.sigma
        ratio = end.alpha / start.alpha
        return ratio, end.sigma - ratio * start.sigma

    def move(self, latents: Tensor, noise_pred: Tensor, from_timestep: float, to_timestep: float) -> Tensor:
        """Take the deterministic step in either direction; there and back with one ``noise_pred`` is the identity."""
        scale, shift = self.step_coefficients(from_timestep, to_timestep)
        return scale * latents + shift * noise_pred

    def sample(
        self,
        noise: Tensor,
        conditioning: Conditioning,
        num_inference_steps: int,
        guidance_scale: float,
        sampler: str = "default",
        timesteps: Sequence[float] | None = None,
        generators: Sequence[torch.Generator] | None = None,
        first_branches: Branches | None = None,
    ) -> Tensor:
        """Denoise ``noise`` to clean latents ``(B, C, *grid)`` float32.

        Args:
            noise: N(0, I), ``(B, C, *grid)``; scaled by a sampler's ``init_noise_sigma`` here and nowhere else.
            conditioning: B prompts.
            num_inference_steps: denoiser evaluations of the default sampler.
            guidance_scale: diffusers convention.
            sampler: ``default`` is the family's deterministic step, ``move``; other names: ``samplers.SAMPLERS``.
            timesteps: the levels to visit instead of the family's spacing (default sampler only).
            generators: one for each sample, for the stochastic samplers.
            first_branches: the first evaluation of the leading samples of the batch, where it was made already.
        """
        latents = noise.to(self.device, torch.float32)
        conditioning = self.with_guidance(conditioning, guidance_scale)
        if sampler != "default":
            return samplers.sample(
                self, latents, conditioning, num_inference_steps, guidance_scale, sampler, generators
            )
        if timesteps is None:
            steps = self.steps(num_inference_steps)
        else:
            steps = [Step(*pair) for pair in itertools.pairwise([*timesteps, END])]
        for index, (here, there) in enumerate(steps):
            if index == 0 and first_branches is not None and first_branches.timestep == here:
                branches = self._complete(first_branches, latents, here, conditioning, guidance_scale)
            else:
                branches = self.predict_branches(latents, here, conditioning, unconditional=guidance_scale != 1)
            latents = self.move(latents, self.guide(branches, guidance_scale), here, there)
        return latents

    def _complete(
        self, known: Branches, latents: Tensor, timestep: float, conditioning: Conditioning, guidance_scale: float
    ) -> Branches:
        """Evaluate the samples that ``known`` does not cover."""
        count = len(known.conditional)
        if count == len(latents):
            return known
        rest = self.predict_branches(
            latents[count:], timestep, conditioning[count:], unconditional=known.unconditional is not None
        )
        return known.cat(rest)

    def require(self, needed: Sequence[str], who: str) -> None:
        """Refuse ``who`` (a method's label) where this family lacks a capability it needs.

        Raises:
            UserError: names the method, the backbone and what is missing.
        """
        missing = [name for name in needed if name not in self.capabilities]
        if missing:
            hints = "; ".join(self.lacking[name] for name in missing if name in self.lacking)
            raise UserError(
                f"noise.{who} needs {', '.join(missing)}, which {type(self).__name__} does not have"
                + (f" ({hints})" if hints else "")
            )

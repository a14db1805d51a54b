"""A diffusion model, reduced to the operations that noise methods need. One class serves all families.

``npnet.backbones.runtime`` explains the terms. Nothing here enters ``no_grad`` by itself; callers do.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from npnet.backbones.runtime import samplers
from npnet.backbones.runtime.parts import Decoder, Denoiser, Meter, Sizes, TextEncoder
from npnet.backbones.runtime.scheduled import Scheduled
from npnet.backbones.samplers import check_sampler
from npnet.backbones.schedules import END, Schedule, Step
from npnet.backbones.traits import BackboneTraits, num_branches
from npnet.errors import UserError
from npnet.records import Branches, Conditioning, Cost


class LoadedBackbone(Scheduled):
    """A model with its weights, composed of a schedule, a text encoder, a denoiser and a decoder.

    Args:
        description: of the loaded model.
        text_encoder: prompts to tensors.
        denoiser: the network.
        decoder: None where the family has no pictures.
        device: of the latents.
        dtype: of the network; the step arithmetic is always float32.
        schedule: by default that of the description, as for ``sizes``.
        sizes: the object that knows the shapes.
        pipeline: the diffusers pipeline that the parts come from, or None.
    """

    def __init__(
        self,
        description: BackboneTraits,
        text_encoder: TextEncoder,
        denoiser: Denoiser,
        decoder: Decoder | None = None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        schedule: Schedule | None = None,
        sizes: Sizes | None = None,
        pipeline: Any = None,
    ) -> None:
        super().__init__(description.schedule() if schedule is None else schedule)
        self.description = description
        self.text_encoder, self.denoiser, self.decoder = text_encoder, denoiser, decoder
        self.device, self.dtype, self.pipeline = device, dtype, pipeline
        self.meter = Meter()
        self._sizes: Any = description if sizes is None else sizes

    @property
    def name(self) -> str:
        """The family's name, for messages."""
        return self.description.name

    @property
    def domain(self) -> str:
        """See ``Backbone.domain``."""
        return self.description.domain

    @property
    def capabilities(self) -> frozenset[str]:
        """See ``Backbone.capabilities``."""
        return self.description.capabilities

    @property
    def settings(self) -> Mapping[str, Any]:
        """See ``Backbone``."""
        return self.description.settings

    def require(self, needed: Sequence[str], who: str) -> None:
        """See ``Backbone.require``."""
        self.description.require(needed, who)

    def latent_shape(self, *size: int | None, **sides: int | None) -> tuple[int, ...]:
        """Return ``(C, *grid)`` of one sample at a height and width (and frames), by default the configured."""
        return self._sizes.latent_shape(*size, **sides)

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``."""
        return self._sizes.embed_dims()

    @property
    def cost(self) -> Cost:
        """The forwards and backwards that were spent so far."""
        return self.meter.cost

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode each distinct prompt once; longer prompts are cut at the tokenizer's length, as diffusers does.

        Raises:
            UserError: see ``Backbone.check_prompts``.
        """
        self.description.check_prompts(prompts)
        return self.text_encoder.encode(prompts)

    def with_guidance(self, conditioning: Conditioning, guidance_scale: float) -> Conditioning:
        """Return the denoiser's input at ``guidance_scale``; families with embedded guidance add it here."""
        return self.denoiser.with_guidance(conditioning, guidance_scale)

    def evaluate(
        self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Run and count the denoiser; return the network's own (conditional, unconditional) output, unconverted."""
        both = unconditional and "unconditional_branch" in self.capabilities
        output = self.denoiser.model_output(latents, label, conditioning, both)
        forwards = len(output)
        self.meter.add(Cost(forwards=forwards))
        if output.requires_grad:
            output.register_hook(lambda grad: self.meter.add(Cost(backwards=forwards)))
        if not both:
            return output, None
        unconditional_output, conditional_output = output.chunk(2)
        return conditional_output, unconditional_output

    def predict_branches(
        self,
        latents: Tensor,
        timestep: float,
        conditioning: Conditioning,
        label: float | None = None,
        unconditional: bool = True,
    ) -> Branches:
        """Evaluate the denoiser once and return both branches, which can be mixed with any guidance scale.

        Args:
            latents: ``(B, C, *grid)`` at level ``timestep``.
            timestep: the level of ``latents``.
            conditioning: B prompts.
            label: the timestep that the network gets; the default is ``timestep``.
            unconditional: evaluate the unconditional half too; ignored where the family has none.
        """
        conditional, rest = self.evaluate(latents, timestep if label is None else label, conditioning, unconditional)
        return Branches(
            timestep,
            self.to_noise_pred(conditional, latents, timestep),
            None if rest is None else self.to_noise_pred(rest, latents, timestep),
        )

    def guide(self, branches: Branches, guidance_scale: float) -> Tensor:
        """Mix the branches by ``guidance_scale`` (diffusers convention).

        Raises:
            ValueError: ``guidance_scale`` is not 1, but the branches hold only the conditional half.
        """
        if num_branches(self, guidance_scale) == 1:
            return branches.conditional
        if branches.unconditional is None:
            raise ValueError(f"guidance_scale={guidance_scale} needs the unconditional branch, which was not evaluated")
        return self.denoiser.mix(branches.conditional, branches.unconditional, guidance_scale)

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
            sampler: ``default`` is the family's deterministic step, ``move``; see ``backbones.samplers``.
            timesteps: the levels to visit instead of the family's spacing (default sampler only).
            generators: one for each sample, for the stochastic samplers.
            first_branches: the first evaluation of the first samples of the batch, if it was computed before.

        Raises:
            UserError: the sampler is unknown, or does not support this family or this number of steps.
        """
        latents, conditioning = noise.to(self.device, torch.float32), self.with_guidance(conditioning, guidance_scale)
        if sampler != "default":
            return self._sample_by_name(sampler, latents, conditioning, num_inference_steps, guidance_scale, generators)
        if timesteps is None:
            steps = self.steps(num_inference_steps)
        else:
            steps = [Step(*pair) for pair in itertools.pairwise([*timesteps, END])]
        for index, (here, there) in enumerate(steps):
            if index == 0 and first_branches is not None and first_branches.timestep == here:
                branches = self._complete(first_branches, latents, here, conditioning)
            else:
                branches = self.predict_branches(latents, here, conditioning, unconditional=guidance_scale != 1)
            latents = self.move(latents, self.guide(branches, guidance_scale), here, there)
        return latents

    def _sample_by_name(
        self,
        sampler: str,
        latents: Tensor,
        conditioning: Conditioning,
        num_inference_steps: int,
        guidance_scale: float,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        check_sampler(sampler, self)

        def guided(scaled: Tensor, timestep: float) -> Tensor:
            conditional, rest = self.evaluate(scaled, timestep, conditioning, guidance_scale != 1)
            return self.guide(Branches(timestep, conditional, rest), guidance_scale)

        return samplers.sample(sampler, self, latents, guided, num_inference_steps, generators)

    def _complete(self, known: Branches, latents: Tensor, timestep: float, conditioning: Conditioning) -> Branches:
        """Evaluate the samples that ``known`` does not cover."""
        if (count := len(known.conditional)) == len(latents):
            return known
        rest = self.predict_branches(
            latents[count:], timestep, conditioning[count:], unconditional=known.unconditional is not None
        )
        return known.cat(rest)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode to pictures ``(B, 3, H, W)`` (video: ``(B, F, 3, H, W)``), float32 in [0, 1]; differentiable.

        Raises:
            UserError: the family makes no pictures.
        """
        if self.decoder is None:
            raise UserError(f"{self.name} has no pictures: give a renderer")
        return self.decoder.decode(latents)

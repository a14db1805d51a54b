"""Training without guidance; see ``npnet.training.guidance_free``. Experimental."""

from __future__ import annotations

import torch
from torch import Tensor

from npnet.noise.runtime.gradient import gradient_at
from npnet.records import Conditioning
from npnet.training.drawn_module import Aim, DrawnModule, style_and_diversity
from npnet.training.guidance_free import GuidanceFree
from npnet.training.penalties import squared_error

UNGUIDED = 1.0


class GuidanceFreeModule(DrawnModule[GuidanceFree]):
    """Lowers the distance to the clean latents of guided sampling."""

    def aim(self, golden: Tensor, noise: Tensor, conditioning: Conditioning) -> Aim:
        """See ``DrawnModule.aim``: minus the mean squared distance."""
        guided = self.sampled(noise, conditioning, self.described.guidance_scale)

        def aim(leaf: Tensor) -> tuple[Tensor, Tensor]:
            error = squared_error(self.in_graph(leaf, conditioning, UNGUIDED), guided)
            return error, -error

        errors, gradient = gradient_at(golden, aim)
        return Aim(-errors.mean(), gradient, {"x0_error": errors.mean()})

    def measures(self, golden: Tensor, noise: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        """See ``DrawnModule.measures``: the distance, that of the noise itself, and what the unguided pictures are."""
        guided = self.sampled(noise, conditioning, self.described.guidance_scale)
        found, before = (self.sampled(start, conditioning, UNGUIDED) for start in (golden, noise))
        images, prompts = self.pictures(found), list(conditioning.prompts)
        scores = {label: scorer.score(images, prompts) for label, scorer in self.models.scorers.items()}
        errors = {"x0_error": squared_error(found, guided), "standard_x0_error": squared_error(before, guided)}
        return {**errors, **scores, **style_and_diversity(images, prompts)}

    def sampled(self, noise: Tensor, conditioning: Conditioning, guidance_scale: float) -> Tensor:
        """Sample without a graph."""
        with torch.no_grad():
            return self.models.backbone.sample(noise, conditioning, self.described.num_inference_steps, guidance_scale)

    def on_validation_epoch_end(self) -> None:
        """Log the means, and the error as a share of standard noise's: 1 for a network that returns its input."""
        if self._count:
            self._sums["relative_x0_error"] = self._sums["x0_error"] / self._sums.pop("standard_x0_error") * self._count
        super().on_validation_epoch_end()

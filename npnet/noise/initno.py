"""InitNO (CVPR 2024, arXiv 2404.04650): noise whose attention maps show every subject, each in its own place.

A shift and a stretch of the noise, z = z_0 exp(log_variance / 2) + mean, are moved by Adam against a loss on the
conditional branch's attention at the first timestep, L = L_cross + L_self + L_clean (see ``attention``), and are held
within a divergence of 1e-3 from N(0, I). A noise with L_cross < 0.2 and L_self < 0.3 is a success. Up to 5 rounds of 10
steps start from fresh noise each; where none succeeds, 50 more steps start from the noise that had come closest.

This is the noise optimisation alone. The authors' script also guides the sampling by the same losses
(``run_sd=False``), so their "InitNO" is more than a better noise; here the sampling is left as it is.

Departures, all repairs of the published code: the divergence is brought below its limit by a capped loop (theirs can
run for ever, their issue 2); the noise returned is the one whose loss was measured, not the step after it; the first
success ends the search; fresh noise comes from the sample's generator; batched over prompts. L_self, which counts as 0
in the loss while L_cross > 0.5, counts as 1 when noises are ranked, as theirs does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.noise import attention
from npnet.noise.base import NoiseMethod
from npnet.noise.reparametrise import pull_back, reparametrise
from npnet.noise.search import Budget, Search, at_least, rows_of
from npnet.noise.tokens import TokenIndices, token_places
from npnet.records import Conditioning, Cost, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone

ADAM_EPS = 1e-3
CROSS_GATE = 0.5
"""L_self counts in the loss only where L_cross is at most this."""


class InitNO(NoiseMethod):
    """Initial noise optimisation by attention maps, for UNets of diffusers.

    Args:
        num_inference_steps: sets the first timestep; the default is the sampling's.
        token_indices: places of the subjects among the prompt's tokens, the start token being 0: a list for every
            prompt, ``{prompt: list}``, or None: found from the prompt, see ``tokens``.
        num_rounds: fresh starts (published: 5).
        round_steps: steps of each (published: 10).
        final_steps: steps from the best start where no round succeeded (published: 50).
        learning_rate: of Adam (published: 1e-2, eps 1e-3).
        cross_target: L_cross of a success (published: 0.2).
        self_target: L_self of a success (published: 0.3).
        divergence_limit: published: 1e-3.
        divergence_steps: cap of the loop that keeps the limit, see ``reparametrise.pull_back`` (our choice: 20).
        budget: see ``search.Budget``.

    Cost: at most ``num_rounds`` x ``round_steps`` + ``final_steps`` conditional forwards (100), and as many backwards
    less one for each start; fewer where a round succeeds. No scorer.
    """

    needs = ("cross_attention_maps",)

    def __init__(
        self,
        num_inference_steps: int,
        token_indices: TokenIndices = None,
        num_rounds: int = 5,
        round_steps: int = 10,
        final_steps: int = 50,
        learning_rate: float = 1e-2,
        cross_target: float = 0.2,
        self_target: float = 0.3,
        divergence_limit: float = 1e-3,
        divergence_steps: int = 20,
        budget: Mapping[str, float | None] | None = None,
    ) -> None:
        self.num_inference_steps = at_least("num_inference_steps", num_inference_steps, 1)
        self.token_indices = token_indices
        self.num_rounds = at_least("num_rounds", num_rounds, 1)
        self.round_steps = at_least("round_steps", round_steps, 1)
        self.final_steps = at_least("final_steps", final_steps, 0)
        self.learning_rate = at_least("learning_rate", learning_rate, 0, whole=False)
        self.cross_target = at_least("cross_target", cross_target, 0, whole=False)
        self.self_target = at_least("self_target", self_target, 0, whole=False)
        self.divergence_limit = at_least("divergence_limit", divergence_limit, 0, whole=False)
        self.divergence_steps = at_least("divergence_steps", divergence_steps, 0)
        self.budget = Budget.of(budget)

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``; the trace is minus (L_cross + L_self)."""
        unet, tokenizer = backbone.pipeline.unet, backbone.pipeline.tokenizer
        run = _Run(self, noise.to(backbone.device, torch.float32), conditioning, backbone)
        run.tokens = token_places(conditioning.prompts, self.token_indices, tokenizer)
        with attention.AttentionMaps(unet, attention.choose_grid(unet, tuple(noise.shape[-2:]))) as maps:
            for index in range(self.num_rounds):
                if index > 0 and len(run.rows):
                    run.start[run.rows] = seeding.randn_like(run.start[run.rows], rows_of(generators, run.rows))
                run.optimise(self.round_steps, maps)
            run.start = run.best_start.clone()
            run.optimise(self.final_steps, maps)
        return run.search.result(noise)

    def forwards(self, backbone: Backbone) -> None:
        """See ``NoiseMethod.forwards``: depends on when a round succeeds."""
        return None

    def losses(self, maps: attention.AttentionMaps, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return (L_cross, L_self, L_clean) of each sample of the last forward, each ``(b,)``."""
        rows = []
        for cross, self_attention, own in zip(maps.cross(), maps.self_attention(), tokens, strict=True):
            shown = attention.token_maps(cross, own)
            conflict = attention.conflict_loss(attention.peak_self_maps(self_attention, shown))
            rows.append(torch.stack([attention.response_loss(shown), conflict, attention.clean_loss(shown)]))
        return torch.stack(rows).unbind(1)


class _Run:
    """One batch's optimisation; ``rows`` are the samples that have not succeeded yet."""

    def __init__(self, method: InitNO, noise: Tensor, conditioning: Conditioning, backbone: Backbone) -> None:
        self.method, self.conditioning, self.backbone = method, conditioning, backbone
        self.tokens: list[list[int]] = []
        self.level = backbone.timesteps(method.num_inference_steps)[0]
        most = method.num_rounds * method.round_steps + method.final_steps
        self.search = Search(noise, method.budget, "initno", most)
        self.start, self.best_start = noise.clone(), noise.clone()
        self.rows = torch.arange(len(noise), device=noise.device)

    def optimise(self, num_steps: int, maps: attention.AttentionMaps) -> None:
        """Take up to ``num_steps`` from ``start``; samples that succeed leave with the noise that did."""
        mean, log_variance = torch.zeros_like(self.start), torch.zeros_like(self.start)
        adam = torch.optim.Adam([mean, log_variance], lr=self.method.learning_rate, eps=ADAM_EPS)
        for index in range(num_steps):
            if not len(self.rows) or not self.search.affords(1):
                return
            with torch.enable_grad():
                leaves = [parameter[self.rows].requires_grad_() for parameter in (mean, log_variance)]
                noise = reparametrise(self.start[self.rows], *leaves)
                loss, score, success = self._measure(noise, maps)
                gradients = None
                if index < num_steps - 1 and not success.all():
                    gradients = torch.autograd.grad(torch.where(success, 0.0, loss).sum(), leaves)
                    self.backbone.meter.add(Cost(backwards=len(loss)))  # the graph does not end in the output
            maps.clear()
            self._keep(noise.detach(), score, success)
            if gradients is not None:
                self._step(adam, mean, log_variance, gradients)
            self.rows = self.rows[~success]

    def _measure(self, noise: Tensor, maps: attention.AttentionMaps) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the score (higher is better) and whether each noise is a success, each ``(b,)``."""
        conditioning = self.conditioning[self.rows.tolist()]
        self.backbone.evaluate(noise, self.level, conditioning, unconditional=False)
        cross, conflict, clean = self.method.losses(maps, rows_of(self.tokens, self.rows))
        gated = cross.detach() > CROSS_GATE
        loss = cross + torch.where(gated, 0.0, conflict) + clean
        score = -(cross + torch.where(gated, 1.0, conflict)).detach()
        success = (cross < self.method.cross_target) & (conflict < self.method.self_target)
        return loss, score, success

    def _keep(self, noise: Tensor, score: Tensor, success: Tensor) -> None:
        """Record the measured noises; a success outranks every loss."""
        before = self.search.score.clone()
        self.search.record(noise, score, 1, self.rows)
        improved = (self.search.score > before)[self.rows]
        self.best_start[self.rows[improved]] = self.start[self.rows[improved]]
        self.search.best[self.rows[success]] = noise[success]

    def _step(self, adam: Any, mean: Tensor, log_variance: Tensor, gradients: Sequence[Tensor]) -> None:
        """Take Adam's step and bring the divergence below its limit."""
        for parameter, gradient in zip((mean, log_variance), gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter)
            parameter.grad[self.rows] = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
        with torch.no_grad():
            adam.step()
            kept = pull_back(mean, log_variance, self.method.divergence_limit, self.method.divergence_steps)
            for parameter, value in zip((mean, log_variance), kept, strict=True):
                parameter.copy_(value)

"""InitNO; see ``npnet.noise.initno``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.initno import InitNO
from npnet.noise.runtime import attention
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.runtime.reparametrise import pull_back, reparametrise
from npnet.noise.runtime.search import Search, chosen, replace_where, rows_of
from npnet.noise.runtime.tokens import token_places
from npnet.records import Conditioning, Cost, NoiseResult

ADAM_EPS = 1e-3
CROSS_GATE = 0.5
"""L_self counts in the loss only where L_cross is at most this."""


class LoadedInitNO(LoadedMethod[InitNO]):
    """Moves a shift and a stretch of the noise against the attention's loss."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``; the score of the trace is -(L_cross + L_self)."""
        unet, tokenizer = backbone.pipeline.unet, backbone.pipeline.tokenizer
        tokens = token_places(conditioning.prompts, self.method.token_indices, tokenizer)
        run = _Run(self, noise.to(backbone.device, torch.float32), conditioning, backbone, tokens)
        with attention.AttentionMaps(unet, attention.choose_grid(unet, (noise.shape[-2], noise.shape[-1]))) as maps:
            for index in range(self.method.num_rounds):
                if index > 0 and run.rows:
                    run.start[run.rows] = seeding.randn_like(run.start[run.rows], rows_of(generators, run.rows))
                run.optimise(self.method.round_steps, maps)
            run.start = run.best_start.clone()
            run.optimise(self.method.final_steps, maps)
        return run.search.result(noise)

    def losses(self, maps: attention.AttentionMaps, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return (L_cross, L_self, L_clean) of each sample of the last forward, each ``(b,)``."""
        rows = []
        for cross, self_attention, own in zip(maps.cross(), maps.self_attention(), tokens, strict=True):
            shown = attention.token_maps(cross, own)
            conflict = attention.conflict_loss(attention.peak_self_maps(self_attention, shown))
            rows.append(torch.stack([attention.response_loss(shown), conflict, attention.clean_loss(shown)]))
        cross, conflict, clean = torch.stack(rows).unbind(1)
        return cross, conflict, clean


class _Run:
    """One batch's optimisation; ``rows`` are the samples that have not succeeded yet."""

    def __init__(
        self,
        loaded: LoadedInitNO,
        noise: Tensor,
        conditioning: Conditioning,
        backbone: LoadedBackbone,
        tokens: Sequence[Sequence[int]],
    ) -> None:
        self.losses, self.method = loaded.losses, loaded.method
        self.conditioning, self.backbone, self.tokens = conditioning, backbone, tokens
        method = self.method
        self.level = backbone.timesteps(method.num_inference_steps)[0]
        most = method.num_rounds * method.round_steps + method.final_steps
        self.search = Search(noise, method.budget, "initno", most)
        self.start, self.best_start = noise.clone(), noise.clone()
        self.rows = list(range(len(noise)))

    def optimise(self, num_steps: int, maps: attention.AttentionMaps) -> None:
        """Take up to ``num_steps`` from ``start``; samples that succeed leave with the noise that did."""
        mean, log_variance = torch.zeros_like(self.start), torch.zeros_like(self.start)
        adam = torch.optim.Adam([mean, log_variance], lr=self.method.learning_rate, eps=ADAM_EPS)
        for index in range(num_steps):
            if not self.rows or not self.search.affords(1):
                return
            with torch.enable_grad():
                leaves = [parameter[self.rows].requires_grad_() for parameter in (mean, log_variance)]
                noise = reparametrise(self.start[self.rows], *leaves)
                loss, score, success = self._measure(noise, maps)
                left = chosen(self.rows, ~success)
                gradients = None
                if index < num_steps - 1 and left:
                    gradients = torch.autograd.grad(torch.where(success, 0.0, loss).sum(), leaves)
                    self.backbone.meter.add(Cost(backwards=len(loss)))  # the graph does not end in the output
            maps.clear()
            self._keep(noise.detach(), score, success)
            if gradients is not None:
                self._step(adam, mean, log_variance, gradients)
            self.rows = left

    def _measure(self, noise: Tensor, maps: attention.AttentionMaps) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the score (higher is better) and whether each noise is a success, each ``(b,)``."""
        conditioning = self.conditioning[self.rows]
        self.backbone.evaluate(noise, self.level, conditioning, unconditional=False)
        cross, conflict, clean = self.losses(maps, rows_of(self.tokens, self.rows))
        gated = cross.detach() > CROSS_GATE
        loss = cross + torch.where(gated, 0.0, conflict) + clean
        score = -(cross + torch.where(gated, 1.0, conflict)).detach()
        success = (cross < self.method.cross_target) & (conflict < self.method.self_target)
        return loss, score, success

    def _keep(self, noise: Tensor, score: Tensor, success: Tensor) -> None:
        """Record the measured noises; a success outranks every loss."""
        before = self.search.score.clone()
        self.search.record(noise, score, 1, self.rows)
        places = torch.tensor(self.rows, device=noise.device)
        improved = (self.search.score > before)[places]
        replace_where(improved, self.best_start, places, self.start[places])
        replace_where(success, self.search.best, places, noise)

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

"""Training on a reward; see ``npnet.training.reward``. Experimental."""

from __future__ import annotations

import torch
from torch import Tensor

from npnet.errors import FieldError
from npnet.metrics.runtime.space import LoadedSpace
from npnet.noise.runtime.gradient import gradient_at
from npnet.noise.search import weights_of
from npnet.records import Conditioning
from npnet.training import penalties
from npnet.training.drawn_module import Aim, DrawnModule, stills, style_and_diversity
from npnet.training.reward import Reward


class RewardModule(DrawnModule[Reward]):
    """Raises the score of the pictures of the network's noise."""

    _space: LoadedSpace | None = None

    @property
    def space(self) -> LoadedSpace:
        """The space in which similarity is measured, loaded at its first use."""
        if self._space is None:
            with torch.random.fork_rng():
                self._space = self.objective.diversity_space.load(self.models.backbone.device)
        return self._space

    def aim(self, golden: Tensor, noise: Tensor, conditioning: Conditioning) -> Aim:
        """See ``DrawnModule.aim``: the mean reward, less the weighted similarity of pictures of one prompt."""
        with torch.enable_grad():
            leaf = golden.requires_grad_()
            latents = self.in_graph(leaf, conditioning, self.described.guidance_scale)
        prompts, asked = list(conditioning.prompts), self.objective
        alike, pull = self._alikeness(latents.detach(), prompts) if asked.diversity else (None, None)
        rewards, slopes = [], []
        for rows in torch.arange(len(latents)).split(asked.decode_batch_size):
            reward, slope = self._reward_at(
                latents[rows], [prompts[row] for row in rows], None if pull is None else pull[rows]
            )
            rewards.append(reward)
            slopes.append(slope)
        (gradient,) = torch.autograd.grad(latents, leaf, torch.cat(slopes))
        value = torch.cat(rewards).mean()
        told = {"reward": value}
        if alike is not None:
            told["alikeness"] = alike
            value = value - asked.diversity * alike
        return Aim(value, gradient, told)

    def _reward_at(self, latents: Tensor, prompts: list[str], pull: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the rewards of a few pictures, and the gradient of the latents, with that of the similarity."""

        def aim(leaf: Tensor) -> tuple[Tensor, Tensor]:
            images = self.models.backbone.decode(leaf)
            reward = self.reward(images, prompts)
            if pull is None:
                return reward, reward
            features = self.space.features(stills(images), prompts)
            if not features.requires_grad:
                name = type(self.objective.diversity_space).__name__
                raise FieldError("objective.diversity_space", name, "its features have no gradients")
            return reward, reward + (features * pull).sum(1)

        return gradient_at(latents, aim)

    def _alikeness(self, latents: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Return the mean similarity of pictures of one prompt, and its gradient in their features, ``(B, d)``."""
        with torch.no_grad():
            rows = [
                self.space.features(stills(self.pictures(row)), [prompts[i]]) for i, row in enumerate(latents.split(1))
            ]

        def aim(features: Tensor) -> tuple[Tensor, Tensor]:
            alike = penalties.alikeness(features, prompts, self.objective.diversity_space.kernel_width)
            return alike, -self.objective.diversity * len(features) * alike

        return gradient_at(torch.cat(rows), aim)

    def reward(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Return the weighted sum of the scores, ``(B,)``."""
        weights = weights_of(self.objective.reward)
        scores = [weight * self.models.scorers[label].score(images, prompts) for label, weight in weights.items()]
        return torch.stack(scores).sum(0)

    def measures(self, golden: Tensor, noise: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        """See ``DrawnModule.measures``: the reward, every metric of the run, style and diversity of the pictures."""
        prompts, asked = list(conditioning.prompts), self.described
        latents = self.models.backbone.sample(golden, conditioning, asked.num_inference_steps, asked.guidance_scale)
        images = self.pictures(latents)
        scores = {label: scorer.score(images, prompts) for label, scorer in self.models.scorers.items()}
        reward = torch.stack([w * scores[label] for label, w in weights_of(self.objective.reward).items()]).sum(0)
        return {"reward": reward, **scores, **style_and_diversity(images, prompts)}

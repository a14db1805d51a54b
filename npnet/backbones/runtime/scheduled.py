"""The arithmetic of a schedule: steps, moves, and the x_0, epsilon and velocity that a prediction implies."""

from __future__ import annotations

from torch import Tensor

from npnet.backbones.schedules import Coefficients, Schedule, Step
from npnet.backbones.spacing import Kind


class Scheduled:
    """The arithmetic of a model on its schedule; ``npnet.backbones.runtime`` explains the terms.

    Args:
        schedule: of the model.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    @property
    def kind(self) -> Kind:
        """``variance_preserving`` or ``flow``."""
        return self._schedule.kind

    def schedule(self) -> Schedule:
        """Return the schedule."""
        return self._schedule

    def steps(self, num_inference_steps: int) -> list[Step]:
        """See ``Schedule.steps``."""
        return self._schedule.steps(num_inference_steps)

    def timesteps(self, num_inference_steps: int) -> list[float]:
        """See ``Schedule.timesteps``."""
        return self._schedule.timesteps(num_inference_steps)

    def coefficients(self, timestep: float) -> Coefficients:
        """See ``Schedule.coefficients``."""
        return self._schedule.coefficients(timestep)

    def step_coefficients(self, from_timestep: float, to_timestep: float) -> tuple[float, float]:
        """See ``Schedule.step_coefficients``."""
        return self._schedule.step_coefficients(from_timestep, to_timestep)

    def to_noise_pred(self, model_output: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """Convert the network's output; linear in it. v = alpha epsilon - sigma x_0 is solved for epsilon."""
        if self._schedule.predicts != "v_prediction":
            return model_output
        alpha, sigma = self.coefficients(timestep)
        return alpha * model_output + sigma * latents

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

    def move(self, latents: Tensor, noise_pred: Tensor, from_timestep: float, to_timestep: float) -> Tensor:
        """Take the deterministic step in either direction. There and back with one ``noise_pred`` changes nothing."""
        scale, shift = self.step_coefficients(from_timestep, to_timestep)
        return scale * latents + shift * noise_pred

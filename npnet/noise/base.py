"""The contract of noise methods: initial noise in, better initial noise out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from npnet.errors import UserError
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones import Backbone


class NoiseMethod(ABC):
    """One way to better noise; a member is one file here and one YAML in ``conf/noise/``.

    A constructor stores and checks its values; ``load`` reads what the method needs from disk.
    """

    needs: tuple[str, ...] = ()
    """Capabilities of the backbone without which the method cannot run."""
    scorers: tuple[str, ...] = ()
    """Labels of the metrics the method optimises; the runner builds each once and passes it to ``load``."""
    is_null_control: bool = False
    """Whether the result is, in distribution, a fresh draw: what a comparison shows for it is its own noise."""
    variance_bound: tuple[float, float] = (0.9, 1.1)
    """Bounds on the per-sample variance of the returned noise, for N(0, I) given."""

    def check(self) -> None:
        """Refuse, in one line and before any model is loaded, paths and values that cannot work.

        Raises:
            UserError: says what was got and what is allowed.
        """

    def check_backbone(self, backbone: Backbone, label: str) -> None:
        """Refuse, before it is loaded, a backbone that lacks what the method needs; ``label`` names the method.

        Raises:
            UserError: says what is missing, or that the model's schedule has no such number of steps.
        """
        backbone.require(self.needs, f"noise.{label}")
        num_inference_steps = getattr(self, "num_inference_steps", None)
        if num_inference_steps is not None:
            try:
                backbone.schedule().steps(num_inference_steps)
            except UserError as error:
                raise UserError(f"noise.{label}.{error}") from error

    def load(self, backbone: Backbone, metrics: Mapping[str, Any] | None = None) -> Self:
        """Get ready for ``backbone``, which is loaded; ``metrics`` holds the loaded ``scorers`` by label."""
        return self

    @abstractmethod
    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """Return the better noise.

        Args:
            noise: ``(B, C, *grid)``, N(0, I).
            conditioning: the B prompts.
            backbone: the model the noise is for.
            generators: one for each sample; every random draw of the method comes from it, so that a sample's result
                does not depend on the rest of the batch (draws bit-equal, values to 1e-5 relative).

        Returns:
            Noise of the same shape and dtype; see ``NoiseResult``.
        """

    def forwards(self, backbone: Backbone) -> int | None:
        """Return the documented denoiser forwards for one sample, sampling excluded; None where it depends on data."""
        return None

    def shares_first_evaluation(self, num_inference_steps: int) -> bool:
        """Say whether the result carries the ``first_branches`` that sampling with so many steps starts from."""
        return False

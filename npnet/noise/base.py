"""The contract of noise methods: initial noise in, better initial noise out.

A ``NoiseMethod`` is what a YAML of ``conf/noise/`` builds: a frozen dataclass of its keys, which says what the method
needs and costs. It imports no torch. ``load`` returns the ``LoadedMethod`` (``npnet.noise.runtime``) that does the
work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from npnet.backbones.traits import num_branches
from npnet.description import Description
from npnet.errors import under

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone
    from npnet.backbones.traits import BackboneTraits
    from npnet.noise.network_source import NetworkSource
    from npnet.noise.runtime.base import LoadedMethod


@dataclass(frozen=True)
class NoiseMethod(Description):
    """The description of a noise method. A new method is a file here, one in ``runtime/``, and a YAML.

    The properties below may depend on the keys. Where one does not, a class attribute replaces it. The attribute must
    have no annotation, because an annotation would make it a key.
    """

    is_null_control: ClassVar[bool] = False
    """Whether the result is, in distribution, fresh random noise, so that its difference from standard is chance."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Capabilities of the backbone without which the method cannot run."""
        return ()

    @property
    def scorers(self) -> tuple[str, ...]:
        """Labels of the metrics that the method optimises; ``load`` is given their scorers."""
        return ()

    @property
    def needs_gradients(self) -> bool:
        """Whether the scorers must be differentiable."""
        return False

    @property
    def applied_network(self) -> NetworkSource | None:
        """The trained network that the method applies; None where it applies none."""
        return None

    @property
    def variance_bound(self) -> tuple[float, float]:
        """Lower and upper bound on the variance of each returned sample, for a given noise from N(0, I)."""
        return (0.9, 1.1)

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """Refuse a backbone that the method cannot run on, before it is loaded; ``needs`` is checked elsewhere.

        Raises:
            UserError: says what is missing, or that the model's schedule has no such number of steps.
        """
        num_inference_steps = getattr(self, "num_inference_steps", None)
        if num_inference_steps is not None:
            backbone.schedule().steps(num_inference_steps)

    def forwards(self, backbone: BackboneTraits) -> int | None:
        """Return the denoiser forwards for one sample, without the sampling; None where they depend on the data."""
        return None

    def shares_first_evaluation(self, num_inference_steps: int) -> bool:
        """Say whether the result has the ``first_branches`` that sampling with so many steps starts from."""
        return False

    def finishes(self, backbone: BackboneTraits, num_inference_steps: int, guidance_scale: float) -> bool:
        """Say whether the result also holds the finished sample, for these settings of the sampling."""
        return False

    def picture_forwards(self, backbone: BackboneTraits, num_inference_steps: int, guidance_scale: float) -> int | None:
        """Return the denoiser forwards of one picture, with the sampling; None as in ``forwards``."""
        own = self.forwards(backbone)
        if own is None or self.finishes(backbone, num_inference_steps, guidance_scale):
            return own
        return own + num_inference_steps * num_branches(backbone, guidance_scale)

    def load(self, backbone: LoadedBackbone, scorers: Mapping[str, Any] = MappingProxyType({})) -> LoadedMethod[Any]:
        """Return the method ready for ``backbone``.

        Args:
            backbone: loaded.
            scorers: loaded metrics by label, those of ``self.scorers`` among them.

        Raises:
            UserError: a scorer is missing, or a file that the method reads is damaged or does not fit.
        """
        return self.runtime_class()(self, backbone, scorers)


def load_methods(
    methods: Mapping[str, NoiseMethod], backbone: LoadedBackbone, scorers: Mapping[str, Any]
) -> dict[str, LoadedMethod[Any]]:
    """Load methods by label; an error names the method it is about.

    Args:
        methods: label -> description.
        backbone: loaded.
        scorers: loaded metrics by label.

    Raises:
        UserError: see ``NoiseMethod.load``.
    """
    loaded = {}
    for label, method in methods.items():
        with under(f"noise.{label}"):
            loaded[label] = method.load(backbone, scorers)
    return loaded

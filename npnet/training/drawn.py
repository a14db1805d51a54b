"""Objectives without pairs: noise is drawn for prompts, and the loss has a gradient through the sampler.

Experimental. The gradient with respect to the network's noise (detached) is computed through the evaluations of the
denoiser. It is clipped to a norm for each sample, and passed on to the network. So the two graphs are never in memory
at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from npnet.backbones import Backbone
from npnet.backbones.traits import num_branches
from npnet.bounds import Guidance
from npnet.compatibility import check_parts, part, read_prompts
from npnet.data.prompts import Prompts
from npnet.data.seeds import Seeds
from npnet.description import imported
from npnet.errors import FieldError, UserError, under
from npnet.fields import AtLeast, Count, NotNegative, Positive
from npnet.metrics.base import Metric
from npnet.noise.reno import check_few_steps
from npnet.training.objective import Objective

if TYPE_CHECKING:
    from npnet.networks import NoiseNetwork
    from npnet.training.run_settings import RunSettings


SHAPE_OF_NOISE = ("change", "variance", "neighbour_correlation", "low_frequency_share")
OF_PICTURES = ("diversity", "level", "contrast")
"""What a validation tells besides scores; see ``npnet.training.drawn_module``."""


@dataclass(frozen=True)
class DescribedModels:
    """The models of an objective without pairs, checked but not loaded, and how they are sampled.

    Attributes:
        backbone: the model.
        metrics: by label, in the order of the configuration.
        num_inference_steps: of the sampling through which the gradient goes.
        guidance_scale: of the same.
    """

    backbone: Backbone
    metrics: Mapping[str, Metric]
    num_inference_steps: int
    guidance_scale: float


@dataclass(frozen=True)
class DrawnObjective(Objective):
    """The base of objectives without pairs.

    Args:
        num_inference_steps: of the sampling; None uses the backbone's default for evaluation.
        guidance_scale: of the sampling; None uses the backbone's default.
        l2: weight of half the mean square of the change (HyperNoise).
        kl: weight of the divergence from N(0, I) divided by d, with trace and log-determinant; see
            ``npnet.training.penalties``.
        kl_powers: powers of the Jacobian in that estimate; each costs a backward pass through the network.
        norm: weight of ReNO's regulariser of the norm (its own scale; published there: 0.01).
        gradient_clip: norm to which a sample's gradient is clipped before it reaches the network; None does not clip.
        gradient_evaluations: number of the denoiser's evaluations, from the first on, through which the gradient goes;
            None means all.
        recompute: evaluate the denoiser again in the backward pass, instead of keeping its activations.
        decode_batch_size: pictures decoded at once.
        max_inference_steps: longer samplers are refused, as in ReNO.
        noises_per_prompt: of a batch.
        validation_prompts: number of held-out prompts that are used.
        validation_noises: noises of each of them, the same every time.
    """

    name: ClassVar[str]
    """Of its YAML, for messages."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Capabilities of the backbone."""

    num_inference_steps: Count | None = field(default=None, kw_only=True)
    guidance_scale: Guidance | None = field(default=None, kw_only=True)
    l2: NotNegative = field(default=0.0, kw_only=True)
    kl: NotNegative = field(default=0.0, kw_only=True)
    kl_powers: Annotated[int, AtLeast(2)] = field(default=4, kw_only=True)
    norm: NotNegative = field(default=0.0, kw_only=True)
    gradient_clip: Positive | None = field(default=0.1, kw_only=True)
    gradient_evaluations: Count | None = field(default=None, kw_only=True)
    recompute: bool = field(default=True, kw_only=True)
    decode_batch_size: Count = field(default=1, kw_only=True)
    max_inference_steps: Count = field(default=8, kw_only=True)
    noises_per_prompt: Count = field(default=1, kw_only=True)
    validation_prompts: Count = field(default=32, kw_only=True)
    validation_noises: Count = field(default=4, kw_only=True)

    def check_run(self, settings: RunSettings) -> None:
        """See ``Objective.check_run``."""
        super().check_run(settings)
        if settings.data.shards is not None:
            raise FieldError(
                "data.shards", settings.data.shards, f"objective={self.name} needs prompts=NAME instead of pairs"
            )
        if settings.data.batch_size % self.noises_per_prompt:
            needed = f"a multiple of objective.noises_per_prompt={self.noises_per_prompt} is needed"
            raise FieldError("batch_size", settings.data.batch_size, needed)
        for label, node in settings.callbacks_by_label():
            if str(node.keys["_target_"]).endswith("training.evaluation.Evaluation"):
                same = f"callbacks.{label} would draw the prompts that objective={self.name} trains on"
                raise UserError(f"{same}; leave it out: the values val/... are of held-out prompts")
        self.described(settings)

    def described(self, settings: RunSettings) -> DescribedModels:
        """Build the models of the objective; ``load_data`` reads the prompts.

        Raises:
            UserError: a part is missing, or they do not go together.
        """
        for name, given in (("backbone", settings.backbone), ("prompts", settings.prompts)):
            if given is None:
                raise UserError(f"objective={self.name} needs {name}=NAME")
        assert settings.backbone is not None
        backbone: Backbone = settings.backbone.build(Backbone)
        metrics: dict[str, Metric] = {label: node.build(Metric) for label, node in (settings.metric or {}).items()}
        published = backbone.settings
        steps = self.num_inference_steps or published.get("num_inference_steps", {}).get("evaluate")
        scale = self.guidance_scale if self.guidance_scale is not None else published.get("guidance_scale")
        if steps is None or scale is None:
            raise UserError("objective.num_inference_steps and objective.guidance_scale are needed for this backbone")
        with part("objective"):
            check_few_steps(steps, self.max_inference_steps)
        backbone.require(self.needs, f"objective={self.name}")
        check_parts(backbone, {}, metrics, steps)
        return DescribedModels(backbone, metrics, int(steps), float(scale))

    def cost(self, settings: RunSettings) -> str:
        """See ``Objective.cost``."""
        described = self.described(settings)
        forwards = settings.data.batch_size * described.num_inference_steps
        forwards *= num_branches(described.backbone, described.guidance_scale)
        again = ", and each forward is computed again in the backward pass" if self.recompute else ""
        return f"; a step costs {forwards} forwards and up to as many backwards of the denoiser{again} (experimental)"

    def embed_dims(self, settings: RunSettings) -> dict[str, int]:
        """See ``Objective.embed_dims``."""
        return self.described(settings).backbone.embed_dims()

    def load_data(self, settings: RunSettings) -> Any:
        """See ``Objective.load_data``."""
        described, data = self.described(settings), settings.data
        assert settings.prompts is not None and settings.backbone is not None
        found = read_prompts(described.backbone, settings.prompts.build(Prompts), Seeds())
        return imported("npnet.data.prompt_noise:PromptNoise")(
            found.prompts,
            described.backbone.latent_shape(),
            data.batch_size,
            self.noises_per_prompt,
            data.validation_share,
            self.validation_prompts,
            self.validation_noises,
            data.seed,
            {
                "backbone": dict(settings.backbone.keys),
                "objective": self.name,
                "num_inference_steps": described.num_inference_steps,
                "guidance_scale": described.guidance_scale,
                "selected_by": list(self.optimised()),
            },
        )

    def load_module(self, network: NoiseNetwork, settings: RunSettings, data: Any) -> Any:
        """See ``Objective.load_module``."""
        with under("objective"):
            return self.runtime_class()(network, settings.module, self, self.described(settings), data.seed)

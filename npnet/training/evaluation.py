"""A small evaluation every few epochs of training: does the network's noise give better pictures yet?

It compares the current network (with averaged weights, where an average is kept) with standard noise, on the same
prompts and seeds every time. It uses no random numbers of the training and restores every mode. So a run with it ends
with the same weights as one without it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from npnet.backbones import Backbone
from npnet.bounds import Guidance
from npnet.compatibility import check_parts, check_prompts
from npnet.data.prompts import Prompts, Sample
from npnet.data.seeds import Seeds, assign_seeds
from npnet.drawing.sheets import draw_side_by_side
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import MethodScores, evaluate_methods
from npnet.errors import UserError, under
from npnet.fields import Count, Seed, Whole, checked
from npnet.metrics import Metric, load_metrics, statistics
from npnet.noise import Network, Standard
from npnet.noise.runtime import LoadedMethod
from npnet.noise.runtime.npnet import LoadedNetwork

log = logging.getLogger(__name__)

FOLDER = "evaluation"
"""Of the pictures, under ``output_dir``."""


class Evaluation(Callback):
    """The winning rate of the network against standard noise, logged with its interval and count.

    Args:
        backbone: the model of the pairs.
        metrics: by label.
        prompts: not those of the training.
        output_dir: of the run.
        every_n_epochs: epochs between two evaluations; the last epoch also has one.
        seeds: as in evaluate.py: ``range`` with ``per_prompt``, or ``list``.
        num_inference_steps: the default is the backbone's for evaluation.
        guidance_scale: the default is the backbone's.
        sampler: see ``Backbone.sample``.
        batch_size: pictures made at once.
        num_pictures: prompts shown in the picture.
        seed: from which ``seeds`` are drawn.
    """

    def __init__(
        self,
        backbone: Backbone | None,
        metrics: Mapping[str, Metric] | None,
        prompts: Prompts | None,
        output_dir: str,
        every_n_epochs: int = 5,
        seeds: Mapping[str, Any] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str = "default",
        batch_size: int = 16,
        num_pictures: int = 8,
        seed: int = 0,
    ) -> None:
        needed = {"backbone=NAME": backbone, "metric=[NAME]": metrics, "prompts=NAME": prompts}
        for name, node in needed.items():
            if not node:
                raise UserError(f"the evaluation during training needs {name}")
        for kind, name, value in (
            (Count, "every_n_epochs", every_n_epochs),
            (Count, "batch_size", batch_size),
            (Whole, "num_pictures", num_pictures),
            (Seed, "seed", seed),
            (Count | None, "num_inference_steps", num_inference_steps),
            (Guidance | None, "guidance_scale", guidance_scale),
        ):
            checked(kind, value, name)
        assert backbone is not None and metrics is not None and prompts is not None
        self.backbone: Any = backbone  # loaded, once `setup` is called
        self.metrics, self.prompts = dict(metrics), prompts
        self.folder = Path(output_dir) / FOLDER
        self.every_n_epochs, self.batch_size, self.num_pictures = every_n_epochs, batch_size, num_pictures
        self.seeds = checked(Seeds, {"range": [0, 100], **(seeds or {})}, "seeds")
        published = backbone.settings
        steps = (
            num_inference_steps
            if num_inference_steps is not None
            else published.get("num_inference_steps", {}).get("evaluate")
        )
        scale = guidance_scale if guidance_scale is not None else published.get("guidance_scale")
        if steps is None or scale is None:
            raise UserError("the evaluation during training needs num_inference_steps and guidance_scale")
        self.sampling, self.seed = Sampling(int(steps), float(scale), sampler, seed), seed
        self.samples: list[Sample] = []
        self._scorers: Mapping[str, Any] = {}  # loaded with the backbone
        self._standard: MethodScores | None = None
        self._pictures: dict[str, list[Tensor]] = {"standard": [], "npnet": []}
        self._evaluated = -1

    def check(self) -> None:
        """Refuse parts that do not go together, before anything is loaded.

        Raises:
            UserError: names the part.
        """
        check_parts(self.backbone, {}, self.metrics, self.sampling.num_inference_steps, self.sampling.sampler)
        self.samples = assign_seeds(self.prompts.read(), self.seeds, self.seed)
        check_prompts(self.backbone, (sample.prompt for sample in self.samples))

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Load the models, on the first process.

        Raises:
            UserError: they cannot be loaded, or the pairs have another backbone.
        """
        if stage != "fit" or not trainer.is_global_zero:
            return
        if not self.samples:
            self.check()
        with torch.random.fork_rng():
            if isinstance(self.backbone, Backbone):
                with under("backbone"):
                    self.backbone = self.backbone.load()
            self._scorers = load_metrics(self.metrics, self.backbone.device)
        shape = trainer.datamodule.first().source_noise.shape
        expected = {"latent_shape": list(shape), **pl_module.network.sizes, "latent_channels": shape[0]}
        there = self.backbone.latent_shape()
        found = {"latent_shape": list(there), "latent_channels": there[0], **self.backbone.embed_dims()}
        for name, value in expected.items():
            if found[name] != value:
                other = f"the backbone's {name} is {found[name]}, that of the pairs {value}"
                raise UserError(f"callbacks.evaluation: {other}: it must be the backbone of the pairs")

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate at the end of a validation, where averaged weights replace the current ones."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._evaluate(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate if there is no validation."""
        self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: Any, pl_module: Any) -> None:
        epoch = trainer.current_epoch
        due = (epoch + 1) % self.every_n_epochs == 0 or epoch + 1 == trainer.max_epochs
        if not due or self._evaluated == epoch or not trainer.is_global_zero:
            return
        self._evaluated = epoch
        network = pl_module.network
        was_training = network.training
        network.eval()
        try:
            with torch.random.fork_rng():
                records = self._records(network)
        finally:
            network.train(was_training)
        path = self.folder / f"epoch-{epoch + 1:04d}.png"
        self._draw(path, records)
        values, said = self.compare(records, trainer.datamodule.request.get("selected_by", ()))
        pl_module.log_dict(values, rank_zero_only=True, batch_size=1)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("evaluation", [str(path)])
        log.info(f"evaluation after epoch {epoch + 1}: {said}; {path}")

    def _records(self, network: Any) -> dict[str, MethodScores]:
        """Score the network's pictures, and those of standard noise at the first time."""
        methods: dict[str, LoadedMethod[Any]] = {}
        if self._standard is None:
            methods["standard"] = Standard().load(self.backbone)
        methods["npnet"] = LoadedNetwork(Network(), self.backbone, network=network)
        for label in methods:
            self._pictures[label] = []
        records = evaluate_methods(
            self.backbone,
            methods,
            self._scorers,
            self.samples,
            self.sampling,
            self.batch_size,
            self._kept(),
            self._take,
        )
        if self._standard is not None:
            records.setdefault("standard", self._standard)
        self._standard = records["standard"]
        return records

    def _kept(self) -> Kept:
        chosen = {id(sample) for sample in self._shown()}
        return Kept(lambda sample: id(sample) in chosen)

    def _take(self, label: str, sample: Sample, picture: Tensor) -> None:
        self._pictures[label].append(picture)

    def _shown(self) -> list[Sample]:
        first: dict[str, Sample] = {}
        for sample in self.samples:
            first.setdefault(sample.prompt, sample)
        return list(first.values())[: self.num_pictures]

    def _draw(self, path: Path, records: Mapping[str, MethodScores]) -> None:
        shown = self._shown()
        places = [self.samples.index(sample) for sample in shown]
        notes = {
            label: [
                ", ".join(f"{m.display_scale * records[label].scores[n][i]:.3g}" for n, m in self.metrics.items())
                for i in places
            ]
            for label in self._pictures
        }
        captions = [f"{sample.prompt} ({sample.seed})" for sample in shown]
        draw_side_by_side(path, captions, self._pictures, notes, ", ".join(self.metrics))

    def compare(self, records: Mapping[str, MethodScores], selected_by: Sequence[str]) -> tuple[dict[str, float], str]:
        """Return the values to log and the text to print; metrics that selected the pairs are marked."""
        prompts = [sample.prompt for sample in self.samples]
        values: dict[str, float] = {}
        parts = []
        for name in self.metrics:
            ours, theirs = (records[label].scores[name] for label in ("npnet", "standard"))
            found = statistics.compare(ours, theirs, prompts)[0]
            low, high = found.interval
            prefix = f"{FOLDER}/{name}"
            values |= {
                f"{prefix}/winning_rate": found.winning_rate,
                f"{prefix}/winning_rate_low": low,
                f"{prefix}/winning_rate_high": high,
                f"{prefix}/ties": found.ties,
                f"{prefix}/mean_difference": found.mean_difference,
                f"{prefix}/count": float(found.count),
            }
            mark = " (which selected the pairs)" if name in selected_by else ""
            parts.append(
                f"{name}{mark} wins {100 * found.winning_rate:.0f} % [{100 * low:.0f}, {100 * high:.0f}], "
                f"ties {100 * found.ties:.0f} %, mean {self.metrics[name].display_scale * found.mean_difference:+.3g}"
            )
        return values, f"{'; '.join(parts)}; n = {len(prompts)}"

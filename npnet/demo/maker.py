"""Makes and scores pictures for the page, as ``npnet generate`` does; the models are loaded once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from npnet.bounds import MAX_SEED
from npnet.compatibility import read_prompts
from npnet.data.prompts import PromptList, Sample
from npnet.data.seeds import Seeds, assign_seeds
from npnet.demo.command import DemoPlan
from npnet.engine.methods import MethodScores
from npnet.errors import FieldError, UserError
from npnet.generation.making import encode_png, load_evaluator
from npnet.metrics.traits import notes

MOST_SEEDS = 16
"""At once: a row of the page, and what a person waits for."""
Advance = Callable[[int, int], None]
"""Called after each picture with how many are made, and of how many."""


@dataclass(frozen=True)
class Made:
    """Every method's pictures of one prompt.

    Attributes:
        samples: the prompt with each of its N seeds, in order.
        records: method label -> scores, cost, noise and features of the N pictures.
        files: method label -> N PNG files, those that ``npnet generate`` writes.
        notes: what a reader of the scores should know.
    """

    samples: list[Sample]
    records: dict[str, MethodScores]
    files: dict[str, list[bytes]]
    notes: list[str]


class Maker:
    """Holds the loaded models.

    Args:
        plan: of the page.

    Raises:
        UserError: a part cannot be loaded.
    """

    def __init__(self, plan: DemoPlan) -> None:
        self.plan = plan.generation
        self.evaluator = load_evaluator(self.plan, plan.settings.diversity)

    def make(self, prompt: str, seeds: str, labels: Sequence[str], advance: Advance = lambda done, of: None) -> Made:
        """Make and score the pictures of ``prompt``, one for each seed and method.

        Args:
            prompt: a text.
            seeds: whole numbers, separated by spaces or commas.
            labels: of the methods.
            advance: see ``Advance``.

        Raises:
            UserError: the prompt is empty or not the model's, the seeds are none, no method is chosen, or the pictures
                do not fit the device.
        """
        samples = self.asked(prompt, seeds)
        chosen = [label for label in self.evaluator.methods if label in labels]
        if not chosen:
            raise UserError(f"at least one method is needed: {', '.join(self.evaluator.methods)}")
        files: dict[str, dict[int, bytes]] = {label: {} for label in chosen}

        def take(label: str, sample: Sample, picture: Tensor) -> None:
            files[label][sample.seed] = encode_png(picture, self.plan.facts(label, sample))
            advance(sum(map(len, files.values())), len(samples) * len(chosen))

        records = self.evaluator.run(samples, take, labels=chosen)
        ordered = {label: [own[sample.seed] for sample in samples] for label, own in files.items()}
        return Made(samples, records, ordered, self._notes(prompt))

    def asked(self, prompt: str, seeds: str) -> list[Sample]:
        """Return the samples that a prompt and seeds, as a person types them, are; see ``make``."""
        if not prompt.strip():
            raise UserError("a prompt is needed")
        settings = self.plan.settings
        numbers = Seeds(list=_numbers(seeds))
        prompts = read_prompts(settings.backbone, PromptList((prompt.strip(),)), numbers)
        return assign_seeds(prompts, numbers, settings.seed)

    def _notes(self, prompt: str) -> list[str]:
        return [
            f"{name}: {note}"
            for name, scorer in self.evaluator.scorers.items()
            for note in notes(scorer.smoke, {prompt.strip()} & scorer.meter.truncated, scorer.text_length)
        ]


def _numbers(text: str) -> tuple[int, ...]:
    words = re.split(r"[\s,]+", text.strip(" ,\n"))
    numbers = tuple(dict.fromkeys(int(word) for word in words if re.fullmatch(r"[0-9]{1,19}", word)))
    if len(numbers) < len(words) or len(words) > MOST_SEEDS or max(numbers) > MAX_SEED:
        needed = f"1 to {MOST_SEEDS} different whole numbers >= 0 and < 2**63, separated by spaces, are needed"
        raise FieldError("seeds", text, needed)
    return numbers

"""A setting for tables, from a file in ``conf/setting/``: the model, its networks, prompts, metrics and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from npnet.bounds import Guidance
from npnet.data.seeds import Seeds
from npnet.description import Description
from npnet.fields import Count, Name
from npnet.papers.files import named, read_all
from npnet.paths import config_dir, options

SMOKE_PROMPTS = 4
"""Prompts of an evaluation at smoke size."""
SMOKE_PAIRS = 48
"""Pairs that are tried at smoke size, of a prompt each."""
Keys = Mapping[str, Any]
"""Overrides of a command: dotted key -> value."""


@dataclass(frozen=True)
class PromptChoice(Description):
    """A paper's prompt set on this setting.

    Attributes:
        use: an option of ``prompts=``.
        count: of its first prompts.
        file: name of the file in ``inputs=``, for ``use: file``.
    """

    use: Name
    count: Count
    file: Name | None = None


@dataclass(frozen=True)
class Pairs(Description):
    """The pairs that networks are trained on.

    Attributes:
        use: an option of ``prompts=``.
        prompts: number of distinct prompts.
        per_prompt: seeds of each prompt, enough to keep ``count`` pairs.
        count: of the kept pairs that are trained on, drawn at random; None takes all.
        kept: role -> share of the tried pairs that its selection keeps.
        keys: of ``npnet collect``.
    """

    use: Name
    prompts: Count
    per_prompt: Count
    count: Count | None = None
    kept: dict[str, float] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)


@dataclass(frozen=True)
class Transfer(Description):
    """The other setting whose network is applied here, in the tables that show that.

    Attributes:
        setting: its name.
        keys: of the evaluation: what makes the network fit.
    """

    setting: Name
    keys: Keys = field(default_factory=dict)


@dataclass(frozen=True)
class Setting(Description):
    """A setting for tables.

    Attributes:
        title: for the page.
        backbone: an option of ``backbone=``.
        published: the backbone whose published rows are shown beside ours.
        prompts: a paper's name of a prompt set -> what it is here.
        seeds: of the evaluation.
        num_inference_steps: of the evaluation.
        guidance_scale: of the evaluation.
        metrics: options of ``metric=``.
        reads: our metric -> the published one beside it; where they differ, only directions can be compared.
        methods: noise method -> its keys here; passed only where the method is compared.
        networks: form of the network -> keys of its training; none where no network of this model is trained. As
            ``init_from``, ``{setting: NAME}`` is the whole network of another setting.
        recipe: keys of every training.
        recipes: label of a network -> keys of its training that differ.
        training_seeds: of every network.
        pairs: None where no network of this model is trained.
        shipped: whether the network of the published form comes with the project.
        optimised: metrics that selected the training pairs of networks which do not say so, as released ones.
        transfer: None where no other setting's network is applied.
        keys: of every evaluation.
    """

    title: Name
    backbone: Name
    published: Name
    prompts: dict[str, PromptChoice]
    num_inference_steps: Count
    guidance_scale: Guidance
    metrics: tuple[Name, ...]
    reads: dict[str, str]
    seeds: Seeds = field(default_factory=lambda: Seeds((0, 100)))
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    recipe: Keys = field(default_factory=dict)
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    training_seeds: tuple[int, ...] = (0,)
    pairs: Pairs | None = None
    shipped: bool = False
    optimised: tuple[Name, ...] = ()
    transfer: Transfer | None = None
    keys: Keys = field(default_factory=dict)

    def small(self) -> Setting:
        """Return the setting at smoke size, which only shows that everything runs."""
        prompts = {
            name: replace(choice, count=min(choice.count, SMOKE_PROMPTS)) for name, choice in self.prompts.items()
        }
        pairs = self.pairs and replace(self.pairs, prompts=SMOKE_PAIRS, per_prompt=1, count=None)
        return replace(
            self,
            prompts=prompts,
            pairs=pairs,
            seeds=replace(self.seeds, per_prompt=1),
            recipe={**self.recipe, "trainer.max_epochs": 1} if self.recipe else {},
            training_seeds=self.training_seeds[:1],
        )


@cache
def settings() -> Mapping[str, Setting]:
    """Return every setting by its name.

    Raises:
        UserError: a file is not of this form; names it.
    """
    return read_all(Setting, options("setting", [config_dir()]).values())


def setting(name: str) -> Setting:
    """Return a setting.

    Raises:
        UserError: there is none of this name.
    """
    return named("setting", name, settings())

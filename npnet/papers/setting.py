"""A setting: where a table is made, a file of ``conf/setting/``. The model, its networks, prompts, metrics, recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from npnet.bounds import Guidance
from npnet.data.seeds import Seeds
from npnet.description import Description
from npnet.fields import Count, Name
from npnet.papers.files import named, read_all
from npnet.paths import config_dir, options

Keys = Mapping[str, Any]
"""Overrides of a command: dotted key -> value."""


@dataclass(frozen=True)
class PromptChoice(Description):
    """One of a paper's prompt sets, as this setting has it.

    Attributes:
        use: an option of ``prompts=``.
        count: of its first prompts.
        file: name of the file in ``prompts_folder=``, for ``use: file``.
    """

    use: Name
    count: Count
    file: Name | None = None


@dataclass(frozen=True)
class Pairs(Description):
    """The pairs that networks are trained on.

    Attributes:
        use: an option of ``prompts=``.
        prompts: how many distinct prompts there are, or are taken.
        per_prompt: seeds of each prompt, so many that ``count`` pairs are kept.
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
    """Where a table is made.

    Attributes:
        title: for the page.
        backbone: an option of ``backbone=``.
        published: the backbone whose published rows are set beside ours.
        prompts: a paper's name of a prompt set -> what it is here.
        seeds: of the evaluation.
        num_inference_steps: of the evaluation.
        guidance_scale: of the evaluation.
        metrics: options of ``metric=``.
        reads: our metric -> the published metric that it is set beside; only directions compare where they differ.
        methods: noise method -> its keys here; passed only where the method is compared.
        networks: form of the network -> keys of its training; none where no network of this model is trained.
        recipe: keys of every training.
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
    training_seeds: tuple[int, ...] = (0,)
    pairs: Pairs | None = None
    shipped: bool = False
    optimised: tuple[Name, ...] = ()
    transfer: Transfer | None = None
    keys: Keys = field(default_factory=dict)


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

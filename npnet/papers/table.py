"""A table, from a file in ``conf/table/``: what varies. A setting says on which model; paths follow from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from npnet.description import Description
from npnet.errors import FieldError
from npnet.fields import Name
from npnet.papers.files import named, read_all
from npnet.papers.setting import Keys, Setting
from npnet.paths import config_dir, options

Shows = Literal["evaluations", "gates", "singular_vectors", "fid", "controlled", "meanings", "toy"]
EVALUATED = ("evaluations", "meanings")
"""What is shown of evaluations."""
WHOLE = "npnet"
"""The role of the network that the tables are about: the published form, on the selected pairs, by the recipe."""


@dataclass(frozen=True)
class Role(Description):
    """A network of a table, described by its differences from the whole one.

    Attributes:
        form: of the network, a name of the setting's ``networks``.
        collect: keys of a collection of its own.
        filter: keys of a selection of its own.
        train: keys of its training.
        share: of the whole network's pairs that it is trained on.
        equal_steps: trained for as many steps as the whole network, instead of as many epochs.
        collection: of its pairs' folder, ``pairs_NAME``; None names the folder after the keys in ``collect``.
        experiment: of ``train.py``, instead of form, pairs and recipe.
        init_from: label of the network, of the same training seed, that its training starts from.
        network_of: label of the network that this row applies in another way; it trains none. Its own label continues
            the name of the noise method that applies the network, as ``best_of_n_unet``.
        applied: keys of that noise method.
    """

    form: Name = WHOLE
    collect: Keys = field(default_factory=dict)
    filter: Keys = field(default_factory=dict)
    train: Keys = field(default_factory=dict)
    share: float = 1.0
    equal_steps: bool = False
    collection: Name | None = None
    experiment: Name | None = None
    init_from: Name | None = None
    network_of: Name | None = None
    applied: Keys = field(default_factory=dict)


@dataclass(frozen=True)
class Table(Description):
    """What a table or figure varies.

    Attributes:
        title: for the list.
        settings: on which it can be made.
        published: name of the published table; None where the paper prints no figures.
        prompts: the paper's prompt sets; those that a setting has are used.
        methods: labels of ``noise=``; a label may continue the name of a method (``noise_diffusion_pgd``).
        methods_on: setting -> its methods instead.
        method_keys: label -> keys.
        networks: label -> network, beside the methods.
        networks_on: setting -> further ones there.
        published_on: setting -> the backbone whose published rows are set beside ours, instead of the setting's.
        reads_on: setting -> our metric -> the published one that it is set beside, instead of the setting's.
        published_as: label, or POINT/label, -> the label of the published row, where that differs.
        baseline: the method that gains are against.
        sweep: key of the evaluation -> its values.
        sweep_on: setting -> what is swept there instead.
        cases: name -> keys of the evaluation: what is swept that is more than one key.
        cases_on: setting -> case -> further keys of it there.
        metrics: options of ``metric=``, on real models; none takes the setting's.
        keys: of the evaluation.
        keys_on: setting -> further ones there.
        texts: prompts that are the table's own.
        claims: what the paper says in words, where it prints no figures.
        remark: what a reader of the page should know of the rows.
        shows: scores of evaluations, or what they say of a noise's own meaning (``meanings``); what is in the networks
            (``gates``) or the pairs (``singular_vectors``); pictures (``controlled``) and their ``fid``; or a ``toy``.
        transfer: whether the network is the one of the setting's ``transfer``.
        same_as: the table whose evaluations show this one too.
        not_possible: why, in words, where no command makes it; or setting -> why.
    """

    title: Name
    settings: tuple[Name, ...] = ()
    published: Name | None = None
    prompts: tuple[Name, ...] = ("pick_a_pic",)
    methods: tuple[Name, ...] = ("standard", "inversion", WHOLE)
    methods_on: dict[str, tuple[Name, ...]] = field(default_factory=dict)
    method_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, Role] = field(default_factory=dict)
    networks_on: dict[str, dict[str, Role]] = field(default_factory=dict)
    published_on: dict[str, str] = field(default_factory=dict)
    reads_on: dict[str, dict[str, str]] = field(default_factory=dict)
    published_as: dict[str, str] = field(default_factory=dict)
    baseline: Name = "standard"
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    sweep_on: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases_on: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    metrics: tuple[Name, ...] = ()
    keys: Keys = field(default_factory=dict)
    keys_on: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims: tuple[Name, ...] = ()
    remark: Name | None = None
    texts: tuple[Name, ...] = ()
    shows: Shows = "evaluations"
    transfer: bool = False
    same_as: Name | None = None
    not_possible: dict[str, str] | str = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if clash := sorted(set(self.keys) & set(self.sweep)):
            raise FieldError("keys", clash, "no key is both fixed and swept")

    def networks_of(self, name: str) -> dict[str, Role]:
        """Return the networks of the table on a setting."""
        return {**self.networks, **self.networks_on.get(name, {})}

    def published_backbone(self, name: str, setting: Setting) -> str:
        """Return the backbone whose published rows are set beside ours."""
        return self.published_on.get(name, setting.published)

    def why_not(self, name: str, setting: Setting) -> str | None:
        """Return why the table cannot be made on a setting; None where it can.

        Args:
            name: of the setting.
            setting: the setting.
        """
        if isinstance(self.not_possible, str):
            return self.not_possible
        if name in self.not_possible:
            return self.not_possible[name]
        if name not in self.settings:
            return "the paper has no such rows, and nothing here takes their place"
        if self.shows in EVALUATED and not set(self.prompts) & set(setting.prompts):
            return f"the setting has no prompts for {', '.join(self.prompts)}"
        missing = sorted({role.form for role in self.networks_of(name).values()} - set(setting.networks))
        if missing:
            return f"the setting trains no network of the form {', '.join(missing)}"
        return (
            "the setting names no other one whose network is applied"
            if self.transfer and not setting.transfer
            else None
        )


@cache
def tables() -> Mapping[str, Table]:
    """Return every table and figure by its name.

    Raises:
        UserError: a file is not of this form; names it.
    """
    return read_all(Table, options("table", [config_dir()]).values())


def table(name: str) -> Table:
    """Return a table or figure.

    Raises:
        UserError: there is none of this name.
    """
    return named("table", name, tables())


def shown_by(name: str) -> Table:
    """Return the table whose evaluations show a table or figure: itself, or the one it is the same as.

    Raises:
        UserError: see ``table``.
    """
    found = table(name)
    return tables()[found.same_as] if found.same_as else found

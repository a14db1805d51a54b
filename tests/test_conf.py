"""Every YAML composes, and its keys are parameters of what it builds."""

import inspect
import re
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from npnet.paths import config_dir

PRIMARIES = ("collect", "train", "evaluate", "filter")
GROUPS = {
    "collect": ("engine", "backbone", "noise", "metric", "prompts", "logger"),
    "train": ("network", "objective", "data", "trainer", "logger", "callbacks", "backbone", "metric", "prompts"),
    "evaluate": ("engine", "backbone", "noise", "metric", "diversity", "prompts"),
    "filter": ("metric",),
}
MULTIPLE = ("noise", "metric", "diversity", "logger", "callbacks")


def options(group):
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


@cache
def composed(primary, *overrides):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(primary, [*overrides])


def nodes(cfg, where=""):
    if isinstance(cfg, DictConfig):
        if "_target_" in cfg:
            yield where, cfg
        for key in cfg:
            yield from nodes(cfg._get_node(key), f"{where}.{key}" if where else str(key))


def keys_fit(cfg):
    for where, node in nodes(cfg):
        target = get_object(node._target_)
        parameters = inspect.signature(target).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        for key in node:
            if not str(key).startswith("_"):
                assert key in parameters, f"{where}.{key} is no parameter of {node._target_}"


CASES = [
    (primary, f"{group}=[{option}]" if group in MULTIPLE else f"{group}={option}")
    for primary in PRIMARIES
    for group in GROUPS[primary]
    for option in options(group)
]


@pytest.mark.parametrize(("primary", "override"), CASES)
def test_every_option_composes_and_its_keys_fit_its_target(primary, override):
    keys_fit(composed(primary, override))


@pytest.mark.parametrize("primary", PRIMARIES)
def test_every_primary_resolves(primary):
    cfg = composed(primary)
    keys_fit(cfg)
    assert OmegaConf.to_container(cfg, resolve=True)["output_dir"] == f"outputs/{primary}"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes_with_a_command(experiment):
    header = (config_dir() / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    commands = re.findall(r"^# python (?:-m collect\.)?(\w+)", "\n".join(header), flags=re.MULTILINE)
    assert commands, f"{experiment}.yaml does not say which command it is for: '# python COMMAND.py experiment=...'"
    for command in commands:
        plain, cfg = composed(command), composed(command, f"experiment={experiment}")
        keys_fit(cfg)
        assert set(cfg) <= {*plain, *GROUPS[command]}, f"{experiment} adds keys that {command} does not know"


@pytest.mark.parametrize("group", MULTIPLE)
def test_a_file_of_a_labelled_group_carries_its_own_label(group):
    for option in options(group):
        content = OmegaConf.load(config_dir() / group / f"{option}.yaml")
        assert len(content) == 1, f"{group}/{option}.yaml"
        if group in ("noise", "metric", "diversity"):
            assert list(content) == [option]


def test_groups_are_the_words_of_the_architecture():
    folders = {path.name for path in Path(config_dir()).iterdir() if path.is_dir()}
    assert folders == {
        "backbone",
        "noise",
        "metric",
        "diversity",
        "network",
        "objective",
        "prompts",
        "data",
        "trainer",
        "logger",
        "callbacks",
        "experiment",
        "run",
        "gpu",
        "engine",
        "table",
        "setting",
        "study",
    }


def test_the_inversion_follows_the_sampling_until_told_otherwise():
    cfg = composed("collect", "guidance_scale=7", "num_inference_steps=6")
    assert (cfg.noise.inversion.guidance_scale, cfg.noise.inversion.num_inference_steps) == (7, 6)
    cfg = composed("collect", "guidance_scale=7", "noise.inversion.guidance_scale=3")
    assert (cfg.guidance_scale, cfg.noise.inversion.guidance_scale) == (7, 3)


PREFERENCE = ["hpsv2", "pickscore", "aes", "imagereward", "clipscore", "mps"]


@pytest.mark.parametrize("backbone", options("backbone"))
def test_a_backbone_brings_the_metrics_and_prompts_of_its_domain(backbone):
    collect, evaluate = (composed(primary, f"backbone={backbone}") for primary in ("collect", "evaluate"))
    own = backbone in ("shapes", "shapes_b")
    assert list(collect.metric) == (["shapes_scorer"] if own else ["hpsv2"])
    assert list(evaluate.metric) == (["shapes_scorer", "shapes_judge"] if own else PREFERENCE)
    prompts = [
        OmegaConf.load(config_dir() / "prompts" / f"{name}.yaml")
        for name in (("shapes_train", "shapes_held_out") if own else ("pick_a_pic_train", "pick_a_pic"))
    ]
    assert [collect.prompts, evaluate.prompts] == prompts


@pytest.mark.parametrize(("primary", "backbone"), [("collect", "sdxl"), ("evaluate", "shapes")])
def test_metrics_and_prompts_on_the_command_line_win_over_those_of_the_backbone(primary, backbone):
    cfg = composed(primary, f"backbone={backbone}", "metric=[pickscore]", "prompts=list")
    assert list(cfg.metric) == ["pickscore"]
    assert cfg.prompts._target_.endswith("PromptList")


def described():
    """Every node of every file of a group whose target is a dataclass: (place, node, class)."""
    for group in ("noise", "metric", "prompts", "engine", "backbone"):
        for option in options(group):
            primary = "collect" if group == "engine" else "evaluate"
            override = f"{group}=[{option}]" if group in MULTIPLE else f"{group}={option}"
            cfg = composed(primary, override)
            for where, node in nodes(cfg[group]):
                if is_dataclass(target := get_object(node._target_)):
                    yield f"{group}={option} {where}", node, target


CHOSEN = {
    "settings": "a model's published settings are its own",
    "path": "a model's weights are its own",
    "variant": "a model's weights are its own",
    "dtype": "what a model is published in",
    "height": "a model's published size",
    "width": "a model's published size",
    "guidance_distilled": "what a model's weights were distilled from",
    "offload_text_encoders": "whether the text encoders fit beside the rest",
}
"""Keys in which the files of one class differ by design, as each file's name says."""


DESCRIBED = list(described())


@pytest.mark.parametrize(("where", "node", "target"), DESCRIBED, ids=lambda value: str(value)[:60])
def test_a_default_that_stands_in_a_file_and_in_its_class_is_one_value(where, node, target):
    same_class = [other for _, other, cls in DESCRIBED if cls is target]
    for field in fields(target):
        raw = node._get_node(field.name) if field.name in node else None
        if raw is None or field.name in CHOSEN or field.default is MISSING or raw._is_interpolation():
            continue
        if len({str(other.get(field.name)) for other in same_class}) > 1:
            continue  # several files of one class exist to choose differently
        value = OmegaConf.to_container(node[field.name]) if OmegaConf.is_config(node[field.name]) else node[field.name]
        default = asdict(field.default) if is_dataclass(field.default) else field.default
        assert plain(value) == plain(default), f"{where}: {field.name} is {value} in the file, {default} in the class"


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    return value

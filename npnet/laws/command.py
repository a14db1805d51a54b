"""``npnet check FAMILY=NAME``: Test a noise method, metric, backbone or network against the laws of its family.

Each law is printed with "holds" or "broken". The YAML file of your own member lies in a folder that --config-dir names.
A noise method is tested on the built-in model, or on backbone=NAME. Keys of the member are set as in the other commands
(noise.mine.strength=2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table
from rich.text import Text

from npnet.backbones import Backbone
from npnet.compatibility import check_parts, part, resolve
from npnet.composing import composition_error
from npnet.drawing.terminal import PlainConsole
from npnet.errors import FieldError, UserError, closest, one_line
from npnet.instantiate import build, build_all
from npnet.labels import with_new_labels
from npnet.laws import backbone as of_backbones
from npnet.laws import metric as of_metrics
from npnet.laws import network as of_networks
from npnet.laws import noise as of_noise
from npnet.metrics import Metric
from npnet.networks import NoiseNetwork
from npnet.noise import NoiseMethod
from npnet.option_files import check_own
from npnet.paths import config_dir, config_dirs, options
from npnet.settings import resolved

FAMILIES = ("noise", "metric", "backbone", "network")
USAGE = "npnet check noise=NAME | metric=NAME | backbone=NAME | network=NAME [--config-dir DIR] [KEY=VALUE ...]"
SEVERAL = ("noise", "metric")
"""Groups that are chosen as lists."""
Verdict = tuple[str, str | None]
"""A law's name, and why it is broken; None where it holds."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns 0 where every law holds, 1 where one is broken.

    Raises:
        UserError: no member is named, or it cannot be built or loaded.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{USAGE}\n\n{(__doc__ or '').split(':', 1)[1].strip()}")
        return 0
    family, name, config = _composed(arguments)
    laws, case = _LOADERS[family](config)
    verdicts = list(judged(laws, case))
    _print(f"{family}={name}", laws, verdicts)
    return 1 if any(reason for _, reason in verdicts) else 0


def judged(laws: dict[str, Callable[[Any], None]], case: Any) -> Iterable[Verdict]:
    """Ask each law about ``case``; whatever it raises is its reason."""
    for name, law in laws.items():
        try:
            law(case)
        except Exception as error:
            said = one_line(error) or type(error).__name__
            yield name, said if isinstance(error, AssertionError) else f"{type(error).__name__}: {said}"
        else:
            yield name, None


def _no_file(group: str, name: str, folders: Sequence[Path]) -> str:
    """Say why a family has no file of a name."""
    missing = [f"no such folder: {folder}" for folder in folders if not folder.is_dir()]
    several = ["one name is needed"] if "," in name else []
    return [*missing, *several, f"no such file; {closest(name, options(group, folders))}"][0]


def _composed(arguments: Sequence[str]) -> tuple[str, str, dict[str, Any]]:
    """Return the family and the name that were asked for, and the configuration they are built from."""
    folders = config_dirs(arguments)
    check_own(folders)
    typed = [a for a in arguments if "=" in a and not a.startswith("-")]
    group, _, name = typed[0].partition("=") if typed else ("", "", "")
    if group not in FAMILIES:
        raise UserError(f"{group or 'check'}: {closest(group, FAMILIES)} (usage: {USAGE})")
    name = name.strip("[]")
    if name not in options(group, folders):
        raise FieldError(group, name, _no_file(group, name, folders))
    typed[0] = f"{group}=[{name}]" if group in SEVERAL else f"{group}={name}"
    if folders[:-1]:
        typed.append(f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[:-1])}]")
    primary = "train" if group == "network" else "evaluate"
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose(primary, with_new_labels(typed, folders))
        if group == "network":  # the rest of train.yaml asks for shards
            return group, name, {"network": resolved(cfg.network)}
        return group, name, resolved(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(composition_error(primary, error, folders)) from error


def _noise(config: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    backbone: Backbone = build(config["backbone"], "backbone", Backbone)
    methods = build_all(config["noise"], "noise", NoiseMethod)
    metrics = build_all(config["metric"], "metric", Metric)
    methods = resolve(backbone, methods, metrics)
    check_parts(backbone, methods, metrics)
    ((label, method),) = methods.items()
    loaded = backbone.load()
    with part(f"noise.{label}"):
        scorers = {name: metrics[name].load(loaded.device) for name in method.scorers}
    prompts = of_backbones.case_of(loaded).prompts
    case = of_noise.Case(method, loaded, scorers, prompts, num_inference_steps=config["num_inference_steps"])
    return of_noise.LAWS, replace(case, seeds=case.seeds[: len(prompts)])


def _metric(config: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    ((label, metric),) = build_all(config["metric"], "metric", Metric).items()
    with part(f"metric.{label}"):
        metric.check()
        return of_metrics.LAWS, metric.load()


def _backbone(config: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    backbone: Backbone = build(config["backbone"], "backbone", Backbone)
    with part("backbone"):
        backbone.check()
        return of_backbones.LAWS, of_backbones.case_of(backbone.load())


def _network(config: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    return of_networks.LAWS, build(config["network"], "network", NoiseNetwork).eval()


_LOADERS = {"noise": _noise, "metric": _metric, "backbone": _backbone, "network": _network}


def sentence(law: Callable[[Any], None]) -> str:
    """Return what a law says, in the words of its docstring."""
    return (law.__doc__ or law.__name__).splitlines()[0].replace("``", "`")


def _print(title: str, laws: dict[str, Callable[[Any], None]], verdicts: Sequence[Verdict]) -> None:
    table = Table(title=title, box=None, pad_edge=False, title_justify="left", show_header=False)
    for name, reason in verdicts:
        verdict = Text("holds", "green") if reason is None else Text("broken", "bold red")
        said = sentence(laws[name])
        table.add_row(verdict, Text(said if reason is None else f"{said} Found: {reason}"))
    PlainConsole(soft_wrap=True).print(table)
    broken = sum(reason is not None for _, reason in verdicts)
    print(f"{len(verdicts)} laws, {broken} broken")

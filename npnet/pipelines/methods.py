"""Noise methods outside a command: by their names, as ``conf/noise/NAME.yaml`` writes them; and applied to noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.errors import UserError, closest, one_line
from npnet.fields import field_types
from npnet.instantiate import Node, build
from npnet.metrics import Metric
from npnet.noise import NoiseMethod
from npnet.noise.runtime.base import LoadedMethod
from npnet.option_files import member
from npnet.paths import config_dir, options
from npnet.records import Conditioning


def method_named(name: str, keys: Mapping[str, Any], call: Mapping[str, Any]) -> NoiseMethod:
    """Build the method of ``conf/noise/NAME.yaml``.

    Args:
        name: of the file.
        keys: of the method, instead of the file's.
        call: what the file takes from the sampling: ``guidance_scale``, ``num_inference_steps``; None is not known.

    Raises:
        UserError: there is no such method or key, a value is not allowed, or the file takes what is not known.
    """
    node = {**_node("noise", name), **keys}
    around = {
        **{key: value for key, value in call.items() if value is not None},
        "backbone": {"settings": {"inversion_guidance_scale": 1.0}},
        "network_path": None,
    }
    try:
        whole = OmegaConf.create({**around, "noise": {name: node}})
        plain = OmegaConf.to_container(whole.noise[name], resolve=True)
    except OmegaConfBaseException as error:
        missing = [key for key, value in call.items() if value is None and f"${{{key}}}" in map(str, node.values())]
        said = f"{missing[0]} is needed: give it here, or to GoldenNoise" if missing else one_line(error)
        raise UserError(f"noise.{name}: {said}") from error
    return build(plain, f"noise.{name}", NoiseMethod)


def check_keys(name: str, keys: Mapping[str, Any]) -> None:
    """Refuse a name that no file of ``conf/noise`` has, and keys that its method does not have or allow.

    What a file takes from the sampling is not known here, so the method is built later.

    Raises:
        UserError: names it, and says what is allowed.
    """
    Node(f"noise.{name}", keys).check(field_types(get_object(_node("noise", name)["_target_"])))


def metric_named(name: str) -> Metric:
    """Build the metric of ``conf/metric/NAME.yaml``.

    Raises:
        UserError: there is no such metric.
    """
    return build(_node("metric", name), f"metric.{name}", Metric)


def improve(
    method: LoadedMethod[Any],
    backbone: LoadedBackbone,
    noise: Tensor,
    conditioning: Conditioning,
    seeds: Sequence[int],
) -> Tensor:
    """Return better noise.

    Args:
        method: see ``GoldenNoise.load``.
        backbone: that it was loaded for.
        noise: ``(B, C, *grid)`` float32, N(0, I).
        conditioning: B prompts.
        seeds: one for each sample: of the random draws of a search.

    Raises:
        UserError: what the method needs is not there.
    """
    generators = [
        seeding.stream(seed, "noise method", 0, prompt)
        for seed, prompt in zip(seeds, conditioning.prompts, strict=True)
    ]
    return method(noise.to(backbone.device), conditioning, backbone, generators).noise


def _node(group: str, name: str) -> dict[str, Any]:
    files = options(group, [config_dir()])
    if name not in files:
        raise UserError(f"{group}={name}: {closest(name, files)}; one of your own is given as an object")
    return member(files[name])

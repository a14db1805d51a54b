"""The numbers of a noise schedule as diffusers computes them, float32 rounding included; no torch, no diffusers.

Every function here reads a published scheduler configuration of diffusers. A test compares each result with that of
diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npnet.errors import UserError, closest

Floats = NDArray[Any]
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
DDIM_SPACINGS = ("leading", "trailing", "linspace")
AYS = {
    "sd": (999, 850, 736, 645, 545, 455, 343, 233, 124, 24),
    "sdxl": (999, 845, 730, 587, 443, 310, 193, 116, 53, 13),
}
"""Align Your Steps (Sabour et al. 2024): 10 levels for each of the two families."""
UNUSUAL = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "use_lu_lambdas")
"""Spacings of flow schedules that no text-to-image checkpoint publishes, and that are not computed here."""


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return only what a scheduler configuration itself states.

    A scheduler of diffusers also holds the defaults of its class, and lists them. They are left out, because another
    class reads the same checkpoint with its own defaults.
    """
    defaults = config.get("_use_default_values") or ()
    kept = {key: value for key, value in config.items() if key not in defaults and not key.startswith("_")}
    return {**kept, "_class_name": config["_class_name"]} if "_class_name" in config else kept


def alphas_cumprod(config: Mapping[str, Any]) -> list[float]:
    """Return the table of a_t of a variance-preserving checkpoint, rounded to float32 as diffusers holds it.

    Raises:
        UserError: the checkpoint's ``beta_schedule`` is not one that is known here.
    """
    betas = _betas(config)
    if config.get("rescale_betas_zero_snr", False):
        betas = _without_signal_at_the_end(betas)
    return [float(a) for a in _cumprod(np.float32(1) - betas)]


def ddim_levels(config: Mapping[str, Any], num_inference_steps: int) -> list[int]:
    """Return the levels of ``DDIMScheduler``, from noise to data."""
    count = int(config.get("num_train_timesteps", 1000))
    spacing = config.get("timestep_spacing", "leading")
    if spacing == "linspace":
        levels: Floats = np.linspace(0, count - 1, num_inference_steps).round()[::-1]
    elif spacing == "leading":
        stride = count // num_inference_steps
        levels = (np.arange(num_inference_steps) * stride)[::-1] + int(config.get("steps_offset", 0))
    else:
        levels = np.round(np.arange(count, 0, -count / num_inference_steps)) - 1
    return [int(level) for level in levels]


def dpm_solver_levels(config: Mapping[str, Any], table: Sequence[float], num_inference_steps: int) -> list[int]:
    """Return the levels of ``DPMSolverMultistepScheduler``, from noise to data.

    Args:
        config: the published scheduler configuration.
        table: the result of ``alphas_cumprod`` for it.
        num_inference_steps: at least 1.
    """
    count = len(table)
    last = count - _clipped(table, float(config.get("lambda_min_clipped", -math.inf)))
    spacing = config.get("timestep_spacing", "linspace")
    if spacing == "linspace":
        levels: Floats = np.linspace(0, last - 1, num_inference_steps + 1).round()[::-1][:-1]
    elif spacing == "leading":
        stride = last // (num_inference_steps + 1)
        levels = (np.arange(num_inference_steps + 1) * stride)[::-1][:-1] + int(config.get("steps_offset", 0))
    else:
        levels = np.arange(last, 0, -count / num_inference_steps).round() - 1
    return [int(level) for level in levels]


def flow_sigmas(
    config: Mapping[str, Any],
    num_inference_steps: int,
    mu: float | None = None,
    given: Sequence[float] | None = None,
) -> list[float]:
    """Return sigma at each evaluation of a flow-matching checkpoint, from noise downwards, without the end.

    Args:
        config: of ``FlowMatchEulerDiscreteScheduler``, or of a multistep solver with ``use_flow_sigmas`` (Wan's).
        num_inference_steps: at least 1.
        mu: the shift by the picture's size, where the checkpoint asks for one (``use_dynamic_shifting``).
        given: the unshifted sigmas that the family's pipeline passes instead of the scheduler's own.

    Raises:
        UserError: the kind of the checkpoint's schedule is not supported.
    """
    for key in UNUSUAL:
        if config.get(key):
            raise UserError(f"a checkpoint whose schedule asks for {key} is not supported")
    if config.get("use_flow_sigmas", False):
        return _multistep_sigmas(config, num_inference_steps, mu)
    count = int(config.get("num_train_timesteps", 1000))
    shift, dynamic = float(config.get("shift", 1.0)), bool(config.get("use_dynamic_shifting", False))
    if given is None:
        ends = np.array([count, 1], dtype=np.float32) / np.float32(count)
        first, last = (float(end) for end in (ends if dynamic else _shifted(ends, shift)))
        sigmas = np.linspace(first * count, last * count, num_inference_steps) / count
    else:
        sigmas = np.array(given, dtype=np.float32)
    if dynamic:
        sigmas = _shifted_by_size(sigmas, mu or 0.0, config.get("time_shift_type", "exponential"))
    else:
        sigmas = _shifted(sigmas, shift)
    return [float(sigma) for sigma in _ending_at(sigmas, config.get("shift_terminal")).astype(np.float32)]


def _multistep_sigmas(config: Mapping[str, Any], num_inference_steps: int, mu: float | None) -> list[float]:
    count = int(config.get("num_train_timesteps", 1000))
    sigmas = np.linspace(1, 1 / count, num_inference_steps + 1)[:-1]
    if config.get("use_dynamic_shifting", False):
        sigmas = _shifted_by_size(sigmas, mu or 0.0, "exponential")
    else:
        sigmas = _shifted(sigmas, float(config.get("flow_shift", 1.0)))
    sigmas = _ending_at(sigmas, config.get("shift_terminal"))
    if abs(sigmas[0] - 1) < 1e-6:  # a second-order step takes the logarithm of 1 - sigma
        sigmas[0] -= 1e-6
    return [float(sigma) for sigma in sigmas.astype(np.float32)]


def _shifted(sigmas: Floats, shift: float) -> Floats:
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def _shifted_by_size(sigmas: Floats, mu: float, kind: str) -> Floats:
    factor = mu if kind == "linear" else math.exp(mu)
    return factor / (factor + (1 / sigmas - 1) ** 1.0)


def _ending_at(sigmas: Floats, terminal: float | None) -> Floats:
    if not terminal:
        return sigmas
    rest = 1 - sigmas
    if rest[-1] == 0:  # a single step, from pure noise
        return sigmas
    return 1 - rest / (rest[-1] / (1 - terminal))


def _betas(config: Mapping[str, Any]) -> Floats:
    count = int(config.get("num_train_timesteps", 1000))
    trained = config.get("trained_betas")
    if trained is not None:
        return np.array(trained, dtype=np.float32)
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if schedule == "linear":
        return _linspace(start, end, count)
    if schedule == "scaled_linear":
        return _linspace(start**0.5, end**0.5, count) ** 2
    if schedule == "squaredcos_cap_v2":
        bar = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
        return np.array([min(1 - bar[i + 1] / bar[i], 0.999) for i in range(count)], dtype=np.float32)
    raise UserError(f"beta_schedule={schedule!r}; {closest(schedule, BETA_SCHEDULES)}")


def _linspace(start: float, end: float, count: int) -> Floats:
    """Do as ``torch.linspace`` does in float32: from both ends, each product and sum rounded once."""
    first, last = np.float32(start), np.float32(end)
    if count == 1:
        return np.array([first], dtype=np.float32)
    step = np.float64(np.float32((last - first) / np.float32(count - 1)))
    index = np.arange(count)
    up, down = np.float64(first) + step * index, np.float64(last) - step * (count - 1 - index)
    return np.where(index < count // 2, up, down).astype(np.float32)


def _cumprod(alphas: Floats) -> Floats:
    """Do as ``torch.cumprod`` does in float32: the product is carried in double precision."""
    return np.cumprod(alphas.astype(np.float64)).astype(np.float32)


def _without_signal_at_the_end(betas: Floats) -> Floats:
    """Rescale betas to zero terminal SNR (Lin et al. 2023, algorithm 1)."""
    roots = np.sqrt(_cumprod(np.float32(1) - betas))
    first, last = roots[0], roots[-1]
    roots = (roots - last) * (first / (first - last))
    bar = roots**2
    return np.float32(1) - np.concatenate([bar[:1], bar[1:] / bar[:-1]])


def _clipped(table: Sequence[float], least: float) -> int:
    """Return how many of the noisiest levels have a log-SNR below ``least``."""
    if least == -math.inf:
        return 0
    bar = np.array(table, dtype=np.float32)
    with np.errstate(divide="ignore"):
        log_snr = np.log(np.sqrt(bar)) - np.log(np.sqrt(np.float32(1) - bar))
    return int(np.searchsorted(log_snr[::-1], least))

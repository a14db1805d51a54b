"""The commands that Hydra configures: compose, check, call the function; see ``ending`` for how they end."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from npnet.composing import check_flags, composition_error, help_text, wrong_group
from npnet.description import imported
from npnet.ending import find_own_packages, refuse
from npnet.experiments import check_experiment
from npnet.labels import with_new_labels, with_open_keys, without_tuned
from npnet.option_files import check_own
from npnet.paths import config_dir, config_dirs, refuse_address

PLACES = ("hydra.run.dir", "hydra.sweep.dir")
"""Keys of Hydra's own that name a folder to write to."""


def run_command(
    name: str,
    function: Callable[[DictConfig], None],
    summary: str = "",
    translate: str | None = None,
    started: Sequence[str] | None = None,
) -> None:
    """Compose ``conf/NAME.yaml`` with the command line's overrides and call ``function`` with it; ``end`` calls this.

    Args:
        name: of the primary configuration: collect, train, evaluate or filter.
        function: the command; with ``--multirun`` it is called once for each job.
        summary: what it does, in a line, for ``--help``.
        translate: see ``npnet.cli.Command``.
        started: see ``npnet.cli.run``.
    """
    started = started or sys.argv[:1]
    if translate is not None:
        sys.argv[1:] = imported(translate)(sys.argv[1:])
    # Hydra then raises instead of printing its own text and leaving with code 1
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # hide the hub's retries, not its errors
    find_own_packages()
    folders = config_dirs(sys.argv[1:])
    args = check_flags(sys.argv[1:])
    # Hydra's parser refuses keys on both sides of a flag
    sys.argv[1:] = [word for word in sys.argv[1:] if word not in args.overrides] + args.overrides
    for override in args.overrides:
        key, _, place = override.partition("=")
        if key in PLACES:
            refuse_address(place.strip("'\""), key)
    check_own(folders)
    check_experiment(name, args.overrides, folders)
    sys.argv[1:] = without_tuned(with_new_labels(sys.argv[1:], folders), folders)
    if name == "train":
        sys.argv[1:] = with_open_keys(sys.argv[1:])
    task = hydra.main(config_path=str(config_dir()), config_name=name, version_base="1.3")(_as_job(function, started))
    stderr = sys.stderr
    sys.stderr = _WithoutHydraHeadline(stderr)  # type: ignore[assignment]
    try:
        if args.help:
            print(help_text(name, summary, folders, args.overrides))
        else:
            task()
    except (HydraException, OmegaConfBaseException) as error:
        refuse(composition_error(name, error, folders), stderr)
    except ValueError as error:
        if not str(error).startswith("Config group override"):  # noise=null, and Hydra's own words for it
            raise
        refuse(wrong_group(sys.argv[1:], error, folders), stderr)
    finally:
        sys.stderr = stderr


def _as_job(function: Callable[[DictConfig], None], started: Sequence[str]) -> Callable[[DictConfig], None]:
    """Keep Hydra's headline off standard error also where a launcher runs ``function`` in another process.

    While it runs, ``sys.argv`` is what was typed: Lightning starts its other processes with it.
    """
    typed = [*started, *sys.argv[1:]]

    @functools.wraps(function)
    def job(cfg: DictConfig) -> None:
        if not isinstance(sys.stderr, _WithoutHydraHeadline):
            sys.stderr = _WithoutHydraHeadline(sys.stderr)  # type: ignore[assignment]
        sys.argv = typed
        function(cfg)

    return job


class _WithoutHydraHeadline:
    """Standard error without the line that Hydra writes before it raises a job's exception."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text.startswith("Error executing job with overrides:"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

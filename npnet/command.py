"""The wrapper of every command: Hydra around it, a user's mistake as one line, exit codes.

Exit code 0 on success; 2 with one line ``error: ...`` on standard error for a user's mistake, Hydra's composition
errors and a wrong flag included; 130 when stopped by Ctrl-C; 141 when the reader of our output has gone; anything else
is a bug, with its traceback and code 1.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from npnet.errors import UserError, one_line, unknown
from npnet.labels import with_new_labels
from npnet.paths import config_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

INTERRUPTED = 130
READER_GONE = 141


def run_command(name: str, function: Callable[[DictConfig], None]) -> None:
    """Compose ``conf/NAME.yaml`` with the command line's overrides and call ``function`` with it; may exit.

    Args:
        name: of the primary configuration: collect, train or evaluate.
        function: the command; with ``--multirun`` it is called once for each job.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # Hydra then raises instead of printing its own text and leaving with code 1
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the hub's retries are not for standard error; its errors are
    sys.argv[1:] = with_new_labels(sys.argv[1:], config_dir())
    task = hydra.main(config_path=str(config_dir()), config_name=name, version_base="1.3")(_as_job(function))
    stderr = sys.stderr
    sys.stderr = _WithoutHydraHeadline(stderr)
    try:
        _check_flags()
        task()
        sys.stdout.flush()
    except UserError as error:
        _refuse(one_line(error), stderr)
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(composition_error(name, error), stderr)
    except ValueError as error:
        if not str(error).startswith("Config group override"):  # noise=null, and Hydra's own words for it
            raise
        _refuse(_wrong_group(sys.argv[1:], error), stderr)
    except KeyboardInterrupt:
        print("stopped: run the same command to resume", file=stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has gone (`... | head`); the interpreter would complain once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
    finally:
        sys.stderr = stderr


def _as_job(function: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Keep Hydra's headline off standard error also where a launcher runs ``function`` in another process."""

    @functools.wraps(function)
    def job(cfg: DictConfig) -> None:
        if not isinstance(sys.stderr, _WithoutHydraHeadline):
            sys.stderr = _WithoutHydraHeadline(sys.stderr)
        function(cfg)

    return job


def composition_error(name: str, error: BaseException) -> str:
    """Fold a configuration error of Hydra or OmegaConf into one line that says what was got and what is there."""
    text = str(error)
    if match := re.match(r"Could not override '([^']*)'", text):
        return _unknown_key(name, match[1], error)
    if match := re.search(r"Could not (?:load|find) '([^']*)/([^'/]*)'", text):
        options = sorted(path.stem for path in (config_dir() / match[1]).glob("*.yaml"))
        return str(unknown(match[1], match[2], options))
    text = re.split(r"\n\s*(?:Config search path|Set hydra\.searchpath|See https?:|full_key:|object_type=)", text)[0]
    override = getattr(error, "override", None)
    if override is not None and str(override) not in text:
        text = f"{override}: cannot be read as KEY=VALUE: {text}"
    cause = error.__cause__
    if cause is not None and str(cause) and str(cause).split("\n")[0] not in text:
        text += ": " + str(cause).split("\n")[0]
    return one_line(text)


def _unknown_key(name: str, key: str, error: BaseException) -> str:
    """Say which key was probably meant."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        keys = _keys(compose(name))
    if key in keys:
        return f"the key {key!r} cannot have this value: {one_line(str(error.__cause__).split(chr(10))[0])}"
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"the key {key!r} is not known{hint}; --cfg job shows all keys"


def _wrong_group(arguments: Sequence[str], error: ValueError) -> str:
    """Say which group was given something else than a name of one of its files."""
    for argument in arguments:
        group, _, value = argument.lstrip("+").partition("=")
        options = sorted(path.stem for path in (config_dir() / group).glob("*.yaml")) if group.isidentifier() else []
        names = value.strip("[]")
        if options and names and not set(names.split(",")) & set(options):
            return f"{argument}: a name is needed, or a list of names; allowed: {', '.join(options)}"
    return one_line(error)


def _keys(node: Any, where: str = "") -> list[str]:
    from omegaconf import DictConfig

    keys = []
    for key in node:
        path = f"{where}{key}"
        child = node._get_node(key)
        keys += [path, *(_keys(child, f"{path}.") if isinstance(child, DictConfig) and not child._is_none() else [])]
    return keys


def _check_flags() -> None:
    """Refuse an unknown flag in one line; Hydra's parser prints its usage and leaves by itself."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (keys are written KEY=VALUE; --help shows them)")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args()
    modes = [args.run, args.multirun, args.cfg, args.info, args.shell_completion]
    if sum(bool(mode) for mode in modes) > 1 or (args.resolve and not args.cfg):
        refuse("flags that do not go together (--run, --multirun, --cfg, --info; --resolve goes with --cfg)")


def _refuse(message: str, stderr: Any) -> NoReturn:
    print(f"error: {message}", file=stderr)
    sys.exit(2)


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

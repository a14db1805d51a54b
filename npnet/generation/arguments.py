"""``npnet generate PROMPT ... --key VALUE ...``: options as Hydra's overrides; ``key=value`` passes as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from npnet.arguments import quoted
from npnet.errors import UserError

HYDRA = ("config-dir", "config-name", "config-path", "cfg", "info", "package")
"""Options of Hydra that take a value."""
PLAIN = ("help", "multirun", "resolve", "hydra-help", "version")
NAMES = {"network": "network_path", "out": "output_dir", "seed": "seeds.list", "steps": "num_inference_steps"}
"""Short names of keys."""
TEXTS = ("negative_prompt",)
"""Keys whose value is a text of any characters."""
LISTS = {"noise": r"\S+", "compare": r"\S+", "metric": r"\S+", "seeds.list": r"\d+"}
"""Keys that take several values, and what each looks like; any other takes one."""
OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w./@-]*(=|$)")


def translated(arguments: Sequence[str]) -> list[str]:
    """Return the command line in the form of the other commands.

    Args:
        arguments: prompts, ``--key VALUE ...`` and ``key=value``, in any order.

    Raises:
        UserError: an option has no value.
    """
    prompts: list[str] = []
    found: list[str] = []
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, sign, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            (found if _is_other(word) else prompts).append(word)
        elif name in PLAIN or (name in HYDRA and sign):
            found.append(word)
        elif name in HYDRA:
            found += [word, *rest[:1]]
            del rest[:1]
        else:
            key = NAMES.get(name, name.replace("-", "_"))
            values = [value] if sign else [word for word in rest[:1] if not word.startswith("--")]
            del rest[: 0 if sign else len(values)]
            while rest and not sign and key in LISTS and re.fullmatch(LISTS[key], rest[0]) and not _is_other(rest[0]):
                values.append(rest.pop(0))
            if not values:
                raise UserError(f"--{name}: a value is needed, --{name} VALUE")
            options.setdefault(key, []).extend(values)
    compared = options.pop("compare", [])
    if compared:
        options["noise"] = list(dict.fromkeys([*compared, *options.get("noise", ["npnet"])]))
    if prompts:
        found.append(f"prompts.list=[{','.join(map(quoted, prompts))}]")
    for key, values in options.items():
        value = quoted(values[-1]) if key in TEXTS else values[-1]
        found.append(f"{key}=[{','.join(values)}]" if key in LISTS else f"{key}={value}")
    return found


def _is_other(word: str) -> bool:
    """Say whether a word is an option or an override, and so no value."""
    return word.startswith("-") or (OVERRIDE.match(word) is not None and "=" in word)

"""``npnet COMMAND``: the table of all commands, with a one-line summary and the function that each calls."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from npnet.description import imported
from npnet.ending import end, find_own_packages
from npnet.errors import UserError, closest


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: what is typed after ``npnet``.
        summary: what it does, in a line.
        place: of its function, ``"module:function"``, imported when it is called. A command with a configuration takes
            the composed one, any other the list of its arguments.
        has_configuration: whether ``conf/NAME.yaml`` configures it.
        translate: the place of a function that turns what is typed into Hydra's overrides, where they are not the same.
    """

    name: str
    summary: str
    place: str
    has_configuration: bool = False
    translate: str | None = None


COMMANDS = {
    command.name: command
    for command in (
        Command("collect", "Collect noise pairs into shards.", "collect.cli:collect", True),
        Command("train", "Train a network on collected pairs.", "npnet.training.command:train", True),
        Command(
            "evaluate",
            "Compare noise methods on the same prompts and the same noise.",
            "npnet.report.command:evaluate",
            True,
        ),
        Command(
            "generate",
            'Make pictures: npnet generate "a red fox" --seed 0 1 --compare standard --out DIR.',
            "npnet.generation.command:generate",
            True,
            "npnet.generation.arguments:translated",
        ),
        Command("demo", "Show noise methods side by side on a page in the browser.", "npnet.demo.command:demo", True),
        Command(
            "filter",
            "Select pairs of a finished collection again, by their scores.",
            "collect.filter:filter_pairs",
            True,
        ),
        Command("status", "Show the progress of a collection.", "collect.status:main"),
        Command("convert", "Turn pairs in the published layout into shards.", "collect.convert:main"),
        Command(
            "compare",
            "Compare the methods of several evaluations on their common samples.",
            "npnet.report.compare:main",
        ),
        Command("sweep", "Show a sweep's finished evaluations as one table.", "npnet.report.sweep:main"),
        Command(
            "info",
            "Describe a network, shards, an evaluation, a picture or this installation.",
            "npnet.info.command:main",
        ),
        Command("plan", "Estimate what fits on a GPU, and how long it takes.", "npnet.costs.command:plan", True),
        Command("paper", "Make a table or figure of the papers, or list them.", "npnet.papers.command:main"),
        Command("study", "Make a study of quality, diversity and cost on Shapes.", "npnet.papers.study_command:main"),
        Command(
            "check", "Test a noise method, metric, backbone or network, such as your own.", "npnet.laws.command:main"
        ),
        Command("fid", "Compute the FID of two folders of pictures.", "npnet.metrics.fid:main"),
        Command(
            "geneval",
            "Summarise the results of GenEval's detector, or run a detector here.",
            "npnet.metrics.geneval:main",
        ),
        Command(
            "geneval2",
            "Score pictures by GenEval 2's questions (needs your own copy of its list).",
            "npnet.metrics.geneval2:main",
        ),
        Command("convert-mps", "Convert the published MPS file to safetensors.", "npnet.metrics.convert_mps:main"),
        Command("build-shapes", "Make the built-in model's weights from their seed.", "npnet.build_shapes:main"),
    )
}


def usage() -> str:
    """Return the table of the commands."""
    lines = [f"  {command.name:<13} {command.summary}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "npnet COMMAND [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "npnet COMMAND --help lists the keys and choices of a command.",
        ]
    )


def run(name: str, started: Sequence[str] | None = None) -> None:
    """Run a command on the arguments of this process, and leave it.

    Args:
        name: of the command.
        started: what is typed before its arguments, in ``sys.argv``; None for a script that is the command.
    """
    command = COMMANDS[name]
    end(lambda: _run(command, started))


def _run(command: Command, started: Sequence[str] | None) -> int | None:
    if command.has_configuration:
        run_command = imported("npnet.command:run_command")
        # the command itself is imported once its configuration is composed
        run_command(command.name, lambda cfg: imported(command.place)(cfg), command.summary, command.translate, started)
        return None
    find_own_packages()
    return imported(command.place)(sys.argv[1:])


def main() -> None:
    """Run ``npnet COMMAND ...``."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help", "help"):
        end(lambda: print(usage()))
    elif name in COMMANDS:
        started = sys.argv[:2]
        sys.argv = [f"npnet {name}", *sys.argv[2:]]
        run(name, started)
    else:
        end(lambda: _unknown(name))


def collect() -> None:
    """Run ``npnet-collect``."""
    run("collect")


def train() -> None:
    """Run ``npnet-train`` and ``train.py``."""
    run("train")


def evaluate() -> None:
    """Run ``npnet-evaluate`` and ``evaluate.py``."""
    run("evaluate")


def _unknown(name: str) -> None:
    raise UserError(f"unknown command {name!r}; {closest(name, COMMANDS)}")

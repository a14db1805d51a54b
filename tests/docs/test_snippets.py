"""Every command of the README and of the documentation is one that runs: its keys, choices and values are read.

Nothing is loaded: a command is composed and its settings are read, as its own first stage does. Other files' tests run
the snippets in Python.
"""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from collect.settings import CollectSettings, FilterSettings
from npnet.cli import COMMANDS
from npnet.evaluation.settings import EvaluateSettings
from npnet.evaluation.training_seeds import expand
from npnet.generation.arguments import translated
from npnet.generation.settings import GenerateSettings
from npnet.labels import with_new_labels
from npnet.papers.command import main as paper
from npnet.paths import config_dir, config_dirs
from npnet.settings import read, resolved
from npnet.training.settings import TrainSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "comfyui" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = {
    "collect": CollectSettings,
    "filter": FilterSettings,
    "evaluate": EvaluateSettings,
    "train": TrainSettings,
    "generate": GenerateSettings,
    "demo": GenerateSettings,
}
FOREIGN = ("cd", "export", "hf", "ln", "pip", "ray", "source", "#SBATCH")
"""Programs that are not ours."""
OWN = ("blend", "my_net")
"""Members that a reader writes; the page on extending is run by its own test."""
LOOPS = {"part": "epochs", "s": "0", "SLURM_ARRAY_TASK_ID": "0", "JOB_COMPLETION_INDEX": "0"}
WITHOUT_PAIRS = ("objective=reward", "objective=guidance_free", "experiment=reward", "experiment=guidance_free")
ELSEWHERE = re.compile(r"backbone=(?!shapes)\w+|--backbone (?!shapes)\w+|setting=(?!shapes)\w+")
"""A command for a model whose weights do not ship."""
MARK = re.compile(r"\bGPU|--gpus|/gpu:")


def blocks(page):
    """The shell blocks of a page, each with its whole section."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if match[1] in ("", "bash"):
            before, after = text[: match.start()].rsplit("\n## ", 1)[-1], text[match.end() :].split("\n## ", 1)[0]
            yield before + after, match[2]


def commands(block):
    """The commands of a block, one a line, without comments and loops."""
    for line in re.sub(r"\\\n\s*", " ", block).splitlines():
        line = re.sub(r"(^|\s)#\s.*$", "", re.sub(r"^\s*for .*?; do|; done\s*$|^\s*done\s*$", "", line)).strip()
        for name, value in LOOPS.items():
            line = re.sub(rf"\$\{{{name}\}}|\${name}\b", value, line)
        if line and not line.startswith("#!"):
            yield line


CASES = [
    pytest.param(line, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, line in enumerate(line for _, block in blocks(page) for line in commands(block))
]


def test_no_command_has_a_bracket_that_a_shell_reads_as_a_pattern():
    lines = [case.values[0] for case in CASES]
    found = [line for line in lines if "[" in re.sub(r"""'[^']*'|"[^"]*"|\[\[? .*? \]\]?""", "", line)]
    assert not found, "zsh refuses them: put quotes around the word"


def composed(name, words):
    """Compose a command's configuration as the command does; of a sweep, its first job."""
    sweeps = bool({"-m", "--multirun"} & set(words))
    parser, overrides = OverridesParser.create(), []
    for word in with_new_labels([word for word in words if not word.startswith("-")], config_dirs()):
        if word.startswith(("hydra.", "hydra/", "+hydra.")):
            continue  # of a launcher
        override = parser.parse_override(word)
        if sweeps and override.is_sweep_override():
            word = f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        if word.startswith("init_from=outputs/"):  # a command before it makes that network
            word = "init_from=npnet/shapes/weights/a/network"
        overrides.append(word)
    without_pairs = any(word.startswith(WITHOUT_PAIRS) for word in words)
    if name == "train" and not without_pairs:
        overrides.append("data.shards=https://HOST/pairs")  # a folder would have to be there
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return resolved(compose(name, [*overrides, "output_dir=out"]))  # that of a sweep knows its job's number


def check(name, words):
    if any(member in word for member in OWN for word in words):
        return
    config = composed(name, translated(words) if name == "generate" else words)
    if name == "evaluate":
        config["noise"], _ = expand(config["noise"])
    if name in SETTINGS:
        read(SETTINGS[name], config)


@pytest.mark.parametrize("line", CASES)
def test_a_command_of_the_documentation_is_read(line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "npnet").symlink_to(ROOT / "npnet")  # paths of what ships
    program, *words = shlex.split(line)
    while "=" in program and words:  # a variable of the environment
        program, *words = words
    if program in ("torchrun", "srun"):
        words = [word for word in words if not word.startswith(("--nproc", "--cpus-per-task"))]
        program, words = "python", words[words[0] == "python" :]
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "python":
        script, *words = words
        assert (ROOT / script).is_file(), f"{script} is not there"
        if Path(script).stem in SETTINGS:
            check(Path(script).stem, words)
    elif program == "npnet":
        name, *words = words
        assert name in COMMANDS, f"npnet {name} is no command"
        if name == "paper":
            paper([word for word in words if "network_path" not in word] + ["dry_run=true"] * (words != ["list"]))
        elif COMMANDS[name].has_configuration:
            check(name, words)
    else:
        assert program in FOREIGN, f"{program}: a program that is neither ours nor known"
    capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_command_for_a_model_that_does_not_ship_says_what_it_needs(page):
    for section, block in blocks(page):  # the section holds what stands around the block
        if ELSEWHERE.search(block):
            assert MARK.search(section + block), f"{page.name}: does not say that this needs a GPU:\n{block}"

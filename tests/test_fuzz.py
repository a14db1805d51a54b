"""At least 1,000 bad or odd configurations: each is accepted for a stated reason, or refused in one line at once."""

import random
import re
import subprocess
import sys
import time

import pytest

from tests import misconfigured
from tests.collected import ROOT, collect_small
from tests.misconfigured import Mistake, mistakes, tried
from tests.pairs import write_folder

SEED, SECONDS = 14, 20.0
TRIED = {"collect": 350, "evaluate": 350, "train": 350, "filter": 150, "generate": 100, "demo": 100, "plan": 100}
"""How many mistakes of each command."""
TRAIN = ["network=npnet", "callbacks=[best,latest,early_stopping,ema]"]

REASONS = {
    "a default of the code stands in": lambda m: m.kind == "deleted",
    "a group that is merged into what stands there": lambda m: m.override.endswith("={}"),
    "a key that may be null": lambda m: m.kind == "null",
    "a number without a bound of this kind": lambda m: (
        m.kind in ("negative", "zero", "fraction") and number(m.override) is not None
    ),
    "a whole number of 32 bits, or a name of digits": lambda m: (
        m.kind == "huge" and (number(m.override) == 4294967296 or m.key == "task_name")
    ),
    "a switch, or an option that a network has": lambda m: m.kind == "boolean",
    "a text that may be any": lambda m: (
        m.kind in ("text", "empty", "control")
        and re.search(
            r"task_name|\.csv\.|embeddings_cache|decompositions_cache|devices|backbone\.path|noise\.npnet\.network\b",
            m.key,
        )
    ),
    "notes of a model that no command reads": lambda m: m.key.startswith("backbone.settings"),
    "a range of seeds": lambda m: m.override == "seeds.range=[1,2]",
    "sizes that follow the pairs": lambda m: m.override == "network.latent_size=[1,2]",
    "weights that a plan does not read": lambda m: m.command == "plan" and m.key.endswith(".path"),
    "seeds as a list": lambda m: m.override in ("seeds.list=[1,2]", "optimised=[]", "metric=[]", "seeds.list=[]"),
}
"""Why an odd configuration may be accepted."""

REFUSED = {
    "collect": [
        "backbone.device=nosuch",
        "backbone.path=3",
        "backbone._target_=builtins.dict",
        "seed=4294967296",
        "seed=-1",
        "seed=0.5",
        "network_path=/nosuch",
        "backbone.settings.num_inference_steps.collect=0",
        "noise.inversion.cycles=0",
        "noise.inversion.inversion_guidance_scale=1e300",
        "margin=-1e300",
        "noise.inversion.cycles=99999999999999999999999",
        "noise=[reno] noise.reno.learning_rate=0",
        "noise=[repaint] metric=[nosuch]",
        "noise=[initno] noise.initno.token_indices=[]",
        "~engine",
        "~backbone",
        "~noise.inversion",
        "output_dir=s3://bucket/x",
        "prompts.split='a\\0b'",
        "noise=[standard]",
        "output_dir=memory://",
    ],
    "evaluate": [
        "optimised=3",
        "network_path=/nosuch",
        "noise=[standard] network_path=/nosuch",
        "noise.npnet.network='3'",
        "num_resamples=0",
        "num_resamples=1",
        "guidance_scale=1e300",
        "workers=4294967296",
        "sampler=nosuch",
        "keep_images=some",
        "~engine",
    ],
    "train": [
        "module.warmup_steps=-1",
        "module.weight_decay=-1",
        "module=null",
        "network.residual_branch=x",
        "network.position_map=x",
        "network.text_term=''",
        "callbacks.latest.every_n_train_steps=0",
        "callbacks.best.monitor=nosuch",
        "callbacks.ema.decay=2",
        "+callbacks.ema.no_such_key=1",
        "trainer.accumulate_grad_batches=0",
        "trainer.max_steps=3",
        "trainer.accelerator=nosuch",
        "trainer.precision=nosuch",
        "trainer._target_=builtins.dict",
        "trainer.num_nodes=2",
        "trainer.devices=[0,0]",
        "trainer.devices=500",
        "+trainer.limit_train_batches=0",
        "+trainer.fast_dev_run=true",
        "module.learning_rate=1e300",
        "module.weight_decay=1e300",
        "trainer.gradient_clip_val=1e300",
        "network.alpha_init=-1e300",
        "data.num_workers=4294967296",
        "logger=[wandb]",
        "init_from=3",
        "init_from='3'",
        "export_from=nosuch",
        "seed=4294967296",
        "network.trunk=nosuch",
        "data.validation_share=1",
        "objective.gain_metric=nosuch",
    ],
    "filter": ["shards=/nosuch", "margin=x", "selection=none", "workers=0", "~engine", "shards=null"],
}
"""What must never be accepted: mistakes that once were, and the tracebacks that were seen."""


def number(override):
    try:
        return float(override.partition("=")[2])
    except ValueError:
        return None


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Return what each command is given besides the mistake."""
    folder = tmp_path_factory.mktemp("bases")
    pairs, source = write_folder(folder / "pairs", [8, 8]), collect_small(folder / "source", "keep_all=true")
    dry = ["dry_run=true", f"output_dir={folder / 'out'}"]
    return {
        "collect": dry,
        "evaluate": dry,
        "filter": [*dry, f"shards={source}"],
        "train": [f"output_dir={folder / 'out'}", f"data.shards={pairs}", *TRAIN],
        "generate": [*dry, "prompts.list=['a red circle to the left of a blue square']"],
        "demo": dry,
        "plan": ["backbone=shapes", dry[1]],
    }


@pytest.fixture
def command(bases, monkeypatch):
    """Return a function that runs a command on a mistake; training stops where it would take its first step."""
    monkeypatch.setattr("npnet.training.run._held", lambda *args: (_ for _ in ()).throw(Begun))
    return lambda mistake: attempt(mistake.command, [*bases[mistake.command], *mistake.override.split(" ")])


class Begun(Exception):
    """The run would begin."""


def attempt(command, overrides):
    """Return how a command took a configuration, and the fault of that, None where there is none."""
    began = time.monotonic()
    outcome = tried(command, overrides)
    took = time.monotonic() - began
    if took > SECONDS:
        return outcome, f"took {took:.0f} s"
    if outcome.bug is not None and not isinstance(outcome.bug, Begun):
        return outcome, f"{type(outcome.bug).__name__}: {outcome.bug}"[:300]
    if outcome.line is not None and ("\n" in outcome.line or "\x1b" in outcome.line):
        return outcome, f"no plain line: {outcome.line!r}"
    return outcome, None


def is_named(mistake, line):
    """Say whether a line names the key, a part of it, or what was written in its place."""
    value = mistake.override.partition("=")[2].strip("'")
    words = [word for word in mistake.key.split(".") if word not in ("_target_", "no_such_key")]
    return any(word in line for word in [*words, "no_such_key"]) or (len(value) > 2 and value in line)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TRIED)
def test_mistakes_at_every_key_are_refused_in_one_line_that_names_the_key(bases, command, name):
    draw = random.Random(f"{SEED} {name}")
    outputs = ("output_dir", "dry_run", "data.shards", "shards")
    found = mistakes(name, bases[name], draw, outputs)
    found = draw.sample(found, TRIED[name])
    faults = []
    for mistake in found:
        outcome, fault = command(mistake)
        if fault is None and outcome.line is None and not any(test(mistake) for test in REASONS.values()):
            fault = "accepted"
        if fault is None and outcome.line is not None and not is_named(mistake, outcome.line):
            fault = f"does not name its key: {outcome.line}"
        if fault is not None:
            faults.append(f"{mistake}: {fault}")
    assert not faults, f"{len(faults)} of {len(found)}\n" + "\n".join(faults)


@pytest.mark.parametrize("mistake", [(name, text) for name, texts in REFUSED.items() for text in texts], ids=str)
@pytest.mark.slow
def test_nonsense_is_refused(command, mistake):
    name, text = mistake
    outcome, fault = command(Mistake(name, text, "nonsense", text))
    assert fault is None
    assert outcome.line, f"{name} {text} was accepted"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["seed=-1", "backbone=nosuch", "noise.inversion=null", "+nosuch=1 nosuch", "metric=[]"]
)
def test_a_command_ends_with_one_line_and_code_2(tmp_path, text):
    command = [sys.executable, "collect.py", "dry_run=true", f"output_dir={tmp_path / 'out'}", *text.split(" ")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines), lines[0][:7]) == (2, 1, "error: "), done.stderr


def test_the_generator_gives_the_same_mistakes_from_the_same_seed():
    first, second = (mistakes("collect", [], random.Random(3), ()) for _ in range(2))
    assert first == second and len(first) > 300
    assert set(misconfigured.VALUES) <= {mistake.kind for mistake in first}

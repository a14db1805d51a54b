"""A mistake is found by the plan, in one line that names it: before a model is loaded or anything is written."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from npnet.paths import shapes_weights
from tests.collected import collect_small
from tests.misconfigured import tried
from tests.pairs import write_folder

NPNET, SOME = "noise=[npnet]", "prompts=list prompts.list=[a red circle]"
PROMPT = ["prompts=list", "prompts.list=[a red circle above a blue square]"]
SHARED = [
    "backbone.path=/nosuch",
    "backbone.path=EMPTY",
    "backbone.path=FILE",
    "backbone.dtype=float8",
    "backbone=sdxl backbone.path=EMPTY",
    "num_inference_steps=0",
    "num_inference_steps=1001",
    "guidance_scale=-1",
    f"{NPNET} network_path=CUT",
    f"{NPNET} network_path=WITHOUT_WEIGHTS",
    f"{NPNET} network_path=WITHOUT_CONFIG",
    f"{NPNET} network_path=NO_JSON",
    f"{NPNET} network_path=OTHER_LATENTS",
    f"{NPNET} network_path=UNKNOWN_KEY",
    f"{NPNET} network_path=ODD_TERM",
    f"{NPNET} network_path=A_LIST",
    f"{NPNET} network_path=DAMAGED.pth",
    f"{NPNET} network_path=FILE",
    f"{NPNET} network_path=/nosuch.pth",
    "noise=[inversion] noise.inversion.num_inference_steps=5000",
    "noise=[best_of_n] metric=[]",
    "metric=[hpsv2] metric.hpsv2.weights=/nosuch",
    "metric=[mps]",
    "seeds.range=[5,1]",
    "seeds.range=[0,1] seeds.per_prompt=9",
    "output_dir=FILE",
    "output_dir=FILE/within",
    "prompts=file prompts.path=/nosuch",
    "prompts=file prompts.path=BLANK.txt",
    "prompts=file prompts.path=CUT.json",
    "prompts=list prompts.list=[a photo of a horse]",
]
"""Of ``collect`` and ``evaluate``."""
TRAIN = [
    "data.shards=/nosuch",
    "data.shards=EMPTY",
    "data.shards=[PAIRS,EMPTY]",
    "+network.nosuch=1",
    "network.text_term=odd",
    "network.trunk=nosuch",
    "network.trunk.embed_dim=0",
    "network.trunk.num_heads=[5]",
    "network.trunk.window_size=0",
    "+network.trunk.nosuch=1",
    "network.alpha_init=x",
    "network.feature_layout=odd",
    "network.residual_branch=false network.singular_value_branch=off network.text_term=off",
    "network=shapes_unet network.trunk.widths=[7]",
    "network.pretrained_trunk=true",
    "network.prompt_embed_dim=-1",
    "network=npnet network.trunk=resnet50",
    "network._target_=nosuch.Net",
    "network._target_=torch.nn.Linear",
    "network._target_=null",
    "init_from=EMPTY",
    "init_from=NO_JSON",
    "init_from=DAMAGED.pth",
    "init_from=WITHOUT_WEIGHTS",
    "init_from=FILE",
    "export_from=nosuch",
    "trainer.strategy=nosuch",
    "trainer._target_=nosuch.Trainer",
    "output_dir=FILE",
    "logger=[wandb]",
    "+logger.x._target_=nosuch.Logger",
    "+logger.x._target_=builtins.dict",
    "logger.csv._target_=lightning.pytorch.loggers.Nosuch",
    "+callbacks.x._target_=lightning.pytorch.callbacks.Nosuch",
    "+callbacks.x._target_=lightning.pytorch.callbacks.LearningRateMonitor +callbacks.x.nosuch=1",
    "callbacks=[evaluation]",
    "callbacks=[early_stopping] data.validation_share=0",
    "callbacks=[evaluation] backbone=shapes metric=[shapes_judge] prompts=shapes_held_out "
    "callbacks.evaluation.num_inference_steps=5000",
]
OTHERS = [
    ("collect", "selection=weighted weights={nosuch:1}"),
    ("collect", "logger=[wandb]"),
    ("evaluate", "images=/nosuch"),
    ("evaluate", "images=EMPTY"),
    ("evaluate", "optimised=[nosuch]"),
    ("filter", "shards=null"),
    ("filter", "shards=EMPTY"),
    ("filter", "shards=COLLECTED output_dir=COLLECTED"),
    ("filter", "shards=COLLECTED metric=[hpsv2]"),
    ("generate", f"{SOME} backbone.path=/nosuch"),
    ("generate", f"{SOME} network_path=ODD_TERM"),
    ("generate", f"{SOME} output_dir=FILE"),
]
MISTAKES = [
    *((command, text) for text in SHARED for command in ("collect", "evaluate")),
    *(("train", text) for text in TRAIN),
    *OTHERS,
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return where lies what the table names in capitals."""
    folder, shipped = tmp_path_factory.mktemp("places"), shapes_weights() / "network"
    config = json.loads((shipped / "config.json").read_text())
    networks = {
        "CUT": {"weights": (shipped / "model.safetensors").read_bytes()[:1000]},
        "WITHOUT_WEIGHTS": {"weights": None},
        "WITHOUT_CONFIG": {"config": None},
        "NO_JSON": {"config": '{"a":'},
        "OTHER_LATENTS": {"config": json.dumps({**config, "latent_channels": 16})},
        "UNKNOWN_KEY": {"config": json.dumps({**config, "nosuch": 1})},
        "ODD_TERM": {"config": json.dumps({**config, "text_term": "odd"})},
        "A_LIST": {"config": "[1]"},
    }
    for name, wrong in networks.items():
        shutil.copytree(shipped, folder / name)
        for key, file in (("config", "config.json"), ("weights", "model.safetensors")):
            if key in wrong:
                (folder / name / file).unlink()
                if wrong[key] is not None:
                    content = wrong[key] if isinstance(wrong[key], bytes) else wrong[key].encode()
                    (folder / name / file).write_bytes(content)
    (folder / "EMPTY").mkdir()
    for name, text in {"FILE": "x", "DAMAGED.pth": "no", "BLANK.txt": "\n\n", "CUT.json": '{"a":'}.items():
        (folder / name).write_text(text)
    write_folder(folder / "PAIRS", [8, 8])
    collect_small(folder / "COLLECTED", "keep_all=true")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("command", "text"), MISTAKES, ids=" ".join)
def test_a_mistake_is_found_by_the_plan_in_one_line(places, command, text):
    names = sorted((path.name for path in places.iterdir()), key=len, reverse=True)
    given = [f"data.shards={places / 'PAIRS'}"] if command == "train" else []
    words = [*given, "dry_run=true", f"output_dir={places / 'out'}", *_split(text)]
    for name in names:
        words = [word if word in given else _placed(word, name, places) for word in words]
    outcome = tried(command, words)
    assert outcome.bug is None
    assert outcome.line is not None, f"accepted: {outcome.printed}"
    assert "\n" not in outcome.line
    assert not (places / "out").exists()


def _split(text):
    """The overrides of a row; a space that no KEY= follows is part of a value."""
    found = []
    for word in text.split(" "):
        if "=" in word:
            found.append(word)
        else:
            found[-1] += f" {word}"
    return found


def _placed(word, name, places):
    key, sign, value = word.partition("=")
    if str(places) in value:
        return word
    return f"{key}{sign}{value.replace(name, str(places / name))}"


def test_every_row_is_there_once_and_there_are_many():
    assert len(set(MISTAKES)) == len(MISTAKES) >= 100


@pytest.mark.parametrize("command", ["collect", "evaluate", "generate"])
def test_weights_of_another_shape_than_their_config_are_found_before_the_model_is_loaded(
    tmp_path, monkeypatch, command
):
    network = shutil.copytree(shapes_weights() / "network", tmp_path / "network")
    weights = load_file(network / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.ndim == 4)
    save_file({**weights, name: torch.cat([weights[name]] * 2)}, network / "model.safetensors")

    def load(*args):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("npnet.backbones.shapes.Shapes.load", load)
    found = tried(command, ["noise=[npnet]", f"network_path={network}", *PROMPT, f"output_dir={tmp_path / 'out'}"])
    assert found.bug is None
    assert found.line.startswith("noise.npnet.network_path=") and name in found.line
    assert not (tmp_path / "out").exists()

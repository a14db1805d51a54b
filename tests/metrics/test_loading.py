"""Checkpoints: what is refused before and at loading, and what is loaded once."""

import gc
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from npnet.errors import UserError
from npnet.metrics import AES, MPS, CLIPScore, HPSv2, HPSv3, ImageReward, PickScore, VQAScore, load_metrics
from npnet.metrics.runtime import clip
from npnet.metrics.runtime.blip import VisionConfig
from npnet.metrics.runtime.imagereward import vision_config
from npnet.weights.files import WEIGHTS
from npnet.weights.tensors import read_state, read_tensors
from tests.metrics.conftest import LABELS

KINDS = (HPSv2, HPSv3, PickScore, AES, ImageReward, CLIPScore, MPS, VQAScore)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/nowhere/model", "./nowhere", "nowhere.pt", "a/b/c", "owner/model.safetensors"])
def test_a_missing_path_is_refused_before_anything_is_loaded(kind, path):
    with pytest.raises(UserError, match=r"path=.*no such file or folder"):
        kind(path=path).check()


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_sources_pass_the_check(kind):
    if kind is MPS:
        with pytest.raises(UserError, match="npnet convert-mps"):
            kind().check()
    else:
        kind().check()


def test_the_published_imagereward_needs_no_file_that_its_repository_lacks(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert vision_config(ImageReward().path) == VisionConfig()


@pytest.mark.parametrize(
    ("kind", "argument"),
    [(PickScore, "tokenizer_path"), (ImageReward, "tokenizer_path"), (AES, "clip_path"), (VQAScore, "tokenizer_path")],
)
def test_a_missing_second_path_is_refused_too(kind, argument):
    with pytest.raises(UserError, match=argument):
        kind(**{argument: "/nowhere"}).check()


def test_unknown_versions_families_and_questions_are_refused():
    with pytest.raises(UserError, match=r"^version=v3: .*v2\.0, v2\.1"):
        HPSv2(version="v3")
    with pytest.raises(UserError, match="clip_flant5, image_text"):
        VQAScore(family="llava")
    with pytest.raises(UserError, match=r"a text with \{\} in it"):
        VQAScore(question="Is it?")


def test_naming_and_checking_a_metric_imports_no_model_library():
    code = (
        "import sys; from npnet.metrics import *; HPSv2().check(); VQAScore().check(); "
        "print([n for n in ('torch', 'transformers', 'open_clip', 'timm', 'torchvision') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_metric_loads_from_a_folder_without_the_network(metrics, monkeypatch):
    import huggingface_hub

    def refuse(*arguments, **named):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    load_metrics({label: metrics[label].metric for label in LABELS}, "cpu")


def test_aes_and_clipscore_share_one_trunk_and_pickscore_does_not(sources):
    built = {label: sources[label][0](**sources[label][1]).load() for label in ("aes", "clipscore", "pickscore")}
    assert built["aes"].trunk is built["clipscore"].trunk
    assert built["pickscore"].trunk is not built["aes"].trunk


def test_the_shared_trunk_is_built_once_and_goes_with_its_last_user(sources, monkeypatch):
    gc.collect()
    built = []
    original = clip.build_clip
    monkeypatch.setattr(clip, "build_clip", lambda config: built.append(1) or original(config))
    first = sources["aes"][0](**sources["aes"][1]).load()
    second = sources["clipscore"][0](**sources["clipscore"][1]).load()
    before = len(clip._TRUNKS)
    assert len(built) <= 1
    del first, second
    gc.collect()
    assert len(clip._TRUNKS) <= before


def test_a_checkpoint_file_can_be_named_itself(sources, tmp_path):
    for label, name in (("hpsv2", "HPS_v2.1_compressed.pt"), ("imagereward", "ImageReward.pt")):
        kind, arguments = sources[label]
        own = {key: value for key, value in arguments.items() if key != "tokenizer_path"}
        with pytest.raises(UserError, match="not this model's weights"):  # a lone file is the published architecture
            kind(**{**own, "path": f"{arguments['path']}/{name}"}).load()
    kind, arguments = sources["aes"]
    head = f"{arguments['path']}/sac+logos+ava1-l14-linearMSE.pth"
    kind(path=head, clip_path=arguments["clip_path"]).load()


@pytest.mark.parametrize(
    "label", ["hpsv2", "hpsv3", "pickscore", "aes", "imagereward", "mps", "vqascore", "vqascore_llava"]
)
def test_a_checkpoint_without_one_tensor_is_refused(label, sources, tmp_path):
    kind, arguments = sources[label]
    broken = tmp_path / label
    shutil.copytree(arguments["path"], broken)
    for path in broken.iterdir():
        if path.suffix == ".safetensors":
            state = read_tensors(path, label)
            state.pop(sorted(state)[1])
            save_file(state, path, metadata={"format": "pt"})
        elif path.suffix in (".pt", ".pth", ".bin"):
            state = read_tensors(path, label)
            state.pop(next(name for name in sorted(state) if "proj" not in name and "embed" not in name))
            torch.save(state, path)
    with pytest.raises(UserError, match="missing"):
        kind(**{**arguments, "path": str(broken)}).load()


@pytest.mark.parametrize("label", ["pickscore", "clipscore", "imagereward", "mps"])
def test_a_missing_tokenizer_is_refused_and_never_empty(label, sources, tmp_path):
    kind, arguments = sources[label]
    bare = tmp_path / label
    shutil.copytree(arguments["path"], bare)
    for path in bare.iterdir():
        if "token" in path.name or path.name.startswith(("vocab", "merges", "special")):
            path.unlink()
    with pytest.raises(UserError, match="tokenizer"):
        kind(**{**arguments, "path": str(bare)}).load()


def test_pickled_code_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"layers.0.weight": Trap()}, tmp_path / "head.pth")
    with pytest.raises(UserError, match="never executed") as caught:
        read_tensors(tmp_path / "head.pth", "aes.path")
    assert "weights_only" not in str(caught.value)  # torch's advice, which is to execute it
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(UserError):
        read_tensors(tmp_path / "old.pth", "aes.path")
    assert not (tmp_path / "executed").exists()


def test_a_damaged_file_and_a_foreign_one_are_refused_in_one_line(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    (tmp_path / "b.pt").write_bytes(b"nothing")
    torch.save([1, 2], tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        with pytest.raises(UserError) as caught:
            read_tensors(tmp_path / name, "x.path")
        assert "\n" not in str(caught.value)


def test_sharded_weights_are_joined(sources, tmp_path):
    import json

    state = read_state(sources["clipscore"][1]["path"], WEIGHTS, "x")
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, tmp_path / file)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    joined = read_state(str(tmp_path), WEIGHTS, "x")
    assert joined.keys() == state.keys()
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"b\.safetensors"):
        read_state(str(tmp_path), WEIGHTS, "x")


def test_the_hub_is_asked_for_one_weight_file(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    asked = []

    def download(repository, name, **named):
        asked.append(name)
        if name != "pytorch_model.bin":
            error = EntryNotFoundError.__new__(EntryNotFoundError)
            raise error
        torch.save({"a": torch.ones(1)}, tmp_path / name)
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert list(read_state("owner/name", WEIGHTS, "x")) == ["a"]
    assert asked == ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]


def test_an_unreachable_hub_is_one_line(monkeypatch):
    import huggingface_hub

    def download(*arguments, **named):
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match="owner/name.*hub") as caught:
        HPSv2(path="owner/name").load()
    assert "\n" not in str(caught.value)


def test_mps_takes_the_names_one_level_deeper_too(sources, metrics, tmp_path):
    kind, arguments = sources["mps"]
    deeper = tmp_path / "mps"
    shutil.copytree(arguments["path"], deeper)
    state = read_tensors(deeper / "model.safetensors", "x")
    save_file({f"mps.{name}": value for name, value in state.items()}, deeper / "model.safetensors")
    images = torch.rand(1, 3, 32, 32)
    again = kind(**{**arguments, "path": str(deeper)}).load()
    assert torch.equal(again.score(images, ["x"]), metrics["mps"].score(images, ["x"]))

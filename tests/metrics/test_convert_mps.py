"""MPS's pickled module becomes safetensors without any of its code being run."""

import sys
import types

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from npnet.errors import UserError
from npnet.metrics import MPS
from npnet.metrics.convert_mps import convert, main, read_module
from npnet.metrics.runtime.mps import MPSModel
from tests.commands import exit_code
from tests.metrics import tiny

OPENED = []


class Config:
    """Stands for transformers' configuration inside the pickle."""

    def __init__(self):
        self.dtype, self.names = torch.float16, {"a", "b"}


def pickled(path, content):
    """Save a module whose class lives in ``trainer.models.clip_model``, and take that module away again."""
    home = types.ModuleType("trainer.models.clip_model")

    class CLIPModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.cross_model = content.model, content.cross_model
            self.register_buffer("pos_emb", torch.ones(3), persistent=False)
            self.register_buffer("nothing", None)
            self.extra, self.act = Config(), nn.functional.gelu

    for kind in (CLIPModel, Config):
        kind.__module__, kind.__qualname__ = home.__name__, kind.__name__
        setattr(home, kind.__name__, kind)
    sys.modules["trainer"] = sys.modules["trainer.models"] = types.ModuleType("trainer")
    sys.modules[home.__name__] = home
    try:
        torch.save(CLIPModel().half(), path)
    finally:
        for name in ("trainer", "trainer.models", home.__name__):
            sys.modules.pop(name)


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(3)
    model = MPSModel(tiny.mps_config())
    model.load_state_dict(tiny.spread(model.state_dict(), 4))
    path = tmp_path / "MPS_overall_checkpoint.pth"
    pickled(path, model)
    return path, {name: value.half() for name, value in model.state_dict().items()}


def test_the_tensors_come_out_bit_for_bit_and_no_others(published, tmp_path):
    path, state = published
    count = convert(path, tmp_path / "model.safetensors")
    converted = load_file(tmp_path / "model.safetensors")
    assert count == len(converted) == len(state)
    assert all(torch.equal(converted[name], value) for name, value in state.items())


def test_the_converted_file_scores(published, tmp_path):
    path, _ = published
    folder = tiny.write_mps(tmp_path / "mps")
    assert main([str(path), str(folder / "model.safetensors")]) == 0
    metric = MPS(str(folder), tokenizer_path=None).load()
    assert torch.isfinite(metric.score(torch.rand(2, 3, 40, 32), ["a", "b"])).all()


class Trap:
    def __reduce__(self):
        return (OPENED.append, ("executed",))


class Shell:
    def __reduce__(self):
        import os

        return (os.system, ("touch /tmp/npnet_convert_mps_executed",))


@pytest.mark.parametrize("trap", [Trap, Shell])
def test_code_in_the_file_is_not_run(trap, tmp_path):
    module = nn.Linear(2, 2)
    module.trap = trap()
    torch.save(module, tmp_path / "bad.pth")
    try:
        state = read_module(tmp_path / "bad.pth")
        assert set(state) == {"weight", "bias"}
    except UserError as error:
        assert "\n" not in str(error)
    assert not OPENED
    from pathlib import Path

    assert not Path("/tmp/npnet_convert_mps_executed").exists()


def test_a_table_of_tensors_passes_through(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pth")
    assert read_module(tmp_path / "state.pth")["a"].tolist() == [1, 1]


def test_what_is_no_module_is_refused_with_one_line(tmp_path, capsys):
    (tmp_path / "junk.pth").write_bytes(b"junk")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("junk.pth", "list.pth", "missing.pth"):
        assert exit_code(main, str(tmp_path / name), str(tmp_path / "out.safetensors")) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert exit_code(main) == 2

"""A run may be killed anywhere, any number of times, moved in between, and ends as if nothing had happened."""

import csv
import json
import random
import shutil

import pytest
import torch

from npnet.data import decompositions
from npnet.errors import UserError
from npnet.training import checkpoints
from npnet.training.callbacks import FiniteLoss
from tests.pairs import write_folder
from tests.training import runs
from tests.training.runs import Killed, checkpoint, run, same, weights

SHARE = "data.validation_share=0.3"
SMALL, LIGHT = [*runs.SMALL, SHARE], [*runs.LIGHT, SHARE]
EPOCHS = 3
HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
)
KINDS = {
    "plain": ["callbacks.latest.every_n_train_steps=1"],
    "cosine": ["callbacks.latest.every_n_train_steps=3", "module.schedule=cosine", "module.warmup_steps=4"],
    "every_fourth": ["callbacks.latest.every_n_train_steps=4", "trainer.accumulate_grad_batches=2"],
    "average": ["callbacks=[best,latest,ema]", "callbacks.ema.decay=0.8", "callbacks.latest.every_n_train_steps=2"],
    "stopping": ["callbacks=[best,latest,early_stopping]", "callbacks.early_stopping.patience=1"],
    "two_readers": ["callbacks.latest.every_n_train_steps=1", "data.num_workers=2"],
}


def life(event, pairs, folder, *overrides):
    """Run until the given number of hooks were called, then die; return whether the run came to its end."""
    left = [event]

    def counting(original):
        def hook(self, *arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(self, *arguments)

        return hook

    with pytest.MonkeyPatch.context() as patch:
        for name in HOOKS:
            patch.setattr(FiniteLoss, name, counting(getattr(FiniteLoss, name)))
        try:
            run(pairs, folder, f"trainer.max_epochs={EPOCHS}", *overrides, small=SMALL)
        except Killed:
            return False
    return True


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [24, 17], num_prompts=9)


@pytest.fixture(scope="module")
def undisturbed(pairs, tmp_path_factory):
    """A run of each kind from its start to its end."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "run"
            assert life(10**6, pairs, made[kind], *KINDS[kind])
        return made[kind]

    return of


def outcome(folder):
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    training = json.loads((folder / "network" / "training.json").read_text())
    last, best = (checkpoint(folder, name) for name in ("last", "best"))
    return {"rows": rows, "training": training, "steps": (last["global_step"], best["global_step"])}


def ends_alike(folder, other):
    found, expected = outcome(folder), outcome(other)
    assert found["rows"] == expected["rows"]
    assert found == expected
    for name in ("last", "best"):
        assert same(checkpoint(folder, name)["state_dict"], checkpoint(other, name)["state_dict"])
    return same(weights(folder), weights(other))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_again_and_again_ends_alike(kind, pairs, undisturbed, tmp_path):
    draw, lives = random.Random(kind), 0
    while not life(draw.randrange(3, 26), pairs, tmp_path / "run", *KINDS[kind]):
        lives += 1
        assert lives < 60
    assert lives
    assert ends_alike(tmp_path / "run", undisturbed(kind))


@pytest.mark.slow
@pytest.mark.parametrize("event", range(46))
@pytest.mark.parametrize("kind", ["plain", "cosine", "average"])
def test_a_run_killed_once_at_any_hook_ends_alike(kind, event, pairs, undisturbed, tmp_path):
    life(event, pairs, tmp_path / "run", *KINDS[kind])
    assert life(10**6, pairs, tmp_path / "run", *KINDS[kind])
    assert ends_alike(tmp_path / "run", undisturbed(kind))


def test_kept_decompositions_give_the_same_weights_whatever_the_folder_held(pairs, undisturbed, tmp_path, monkeypatch):
    not_kept = undisturbed("plain")
    monkeypatch.setattr(decompositions, "LEAST_NUMBERS", 0)
    kept = f"data.decompositions_cache={tmp_path / 'kept'}"
    assert life(10**6, pairs, tmp_path / "own", *KINDS["plain"])
    assert not life(25, pairs, tmp_path / "killed", kept, *KINDS["plain"])
    files = sorted((tmp_path / "kept").rglob("*.safetensors"))
    assert files
    for path in files[::2]:
        path.write_bytes(b"damaged")
    for path in files[1::4]:
        path.unlink()
    assert life(10**6, pairs, tmp_path / "killed", kept, *KINDS["plain"])
    ours, theirs = weights(tmp_path / "own"), weights(not_kept)
    assert same(weights(tmp_path / "killed"), ours)
    assert 0 < max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-2  # half precision


def test_a_run_that_is_moved_copied_and_spelled_otherwise_goes_on(pairs, undisturbed, tmp_path, monkeypatch):
    assert not life(14, pairs, tmp_path / "one", *KINDS["plain"])
    (tmp_path / "one").rename(tmp_path / "two")
    assert not life(14, pairs, tmp_path / "two", *KINDS["plain"])
    shutil.copytree(tmp_path / "two", tmp_path / "three")
    shutil.rmtree(tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    assert not life(4, pairs, "./three/../three", *KINDS["plain"])
    assert life(10**6, pairs, "three/.", *KINDS["plain"])
    assert ends_alike(tmp_path / "three", undisturbed("plain"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, lambda p: p.write_bytes(p.read_bytes()[:900]), lambda p: p.write_bytes(b"")])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(damage, pairs, undisturbed, tmp_path, capsys):
    assert not life(20, pairs, tmp_path / "run", *KINDS["plain"])
    folder = tmp_path / "run" / "checkpoints"
    steps = [checkpoint(tmp_path / "run", name)["global_step"] for name in ("last.previous", "last")]
    assert steps[1] == steps[0] + 1
    damage(folder / "last.ckpt")
    assert life(10**6, pairs, tmp_path / "run", *KINDS["plain"])
    said = capsys.readouterr().out
    assert "last.ckpt: is damaged" in said and "resuming from" in said
    whole = checkpoint(undisturbed("plain"), "last")["global_step"]
    assert f"Resuming from step {steps[0]} of {whole}\n" in said
    assert ends_alike(tmp_path / "run", undisturbed("plain"))


def test_only_damaged_checkpoints_are_named(pairs, tmp_path):
    assert not life(20, pairs, tmp_path / "run", *KINDS["plain"])
    for path in (tmp_path / "run" / "checkpoints").glob("last*"):
        path.write_bytes(b"rubbish")
    with pytest.raises(
        UserError, match=r"last.ckpt: is damaged or not a checkpoint: .*remove .* to start again"
    ) as caught:
        life(10**6, pairs, tmp_path / "run", *KINDS["plain"])
    assert "weights_only" not in str(caught.value)  # torch advises to execute what is in the file


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_that_is_there(tmp_path, monkeypatch):
    writer, path = checkpoints.AtomicCheckpoints(), tmp_path / "last.ckpt"
    whole = {"state_dict": {"a": torch.arange(3)}, "global_step": 1}
    writer.save_checkpoint(whole, path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("npnet.work.atomic.os.fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        writer.save_checkpoint({**whole, "global_step": 2}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert checkpoints.read(path)["global_step"] == 1


def test_checkpoints_do_not_pass_through_another_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tmp_path / "last.ckpt"
    checkpoints.AtomicCheckpoints().save_checkpoint({"state_dict": {}, "global_step": 1}, path)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.fixture(scope="module")
def short(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("short") / "run"
    run(pairs, folder, "trainer.max_epochs=2", small=LIGHT)
    return folder


def test_a_finished_run_given_more_epochs_ends_as_one_that_had_them_from_the_start(pairs, short, tmp_path, capsys):
    shutil.copytree(short, tmp_path / "run")
    run(pairs, tmp_path / "run", "trainer.max_epochs=4", small=LIGHT)
    assert "Its network so far is" in capsys.readouterr().out
    run(pairs, tmp_path / "whole", "trainer.max_epochs=4", small=LIGHT)
    assert ends_alike(tmp_path / "run", tmp_path / "whole")
    assert same(
        torch_load(tmp_path / "run" / "network-2-epochs"), torch_load(short / "network")
    )  # the network that was there is kept
    with pytest.raises(UserError, match=r"trainer.max_epochs \(got 3, there 4\)"):
        run(pairs, tmp_path / "run", "trainer.max_epochs=3", small=LIGHT)


def torch_load(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_the_network_of_any_checkpoint_can_be_exported(pairs, tmp_path):
    overrides = ["trainer.max_epochs=4", "callbacks.latest.every_n_train_steps=1"]

    def kill(self, trainer, *rest):
        if trainer.global_step == 6:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FiniteLoss, "on_train_batch_start", kill)
        with pytest.raises(Killed):
            run(pairs, tmp_path / "run", *overrides, small=LIGHT)
    for name in ("last", "best", str(tmp_path / "run" / "checkpoints" / "last.previous.ckpt")):
        run(pairs, tmp_path / "run", *overrides, f"export_from={name}", small=LIGHT)
        stem = name.rpartition("/")[2].removesuffix(".ckpt")
        exported = torch_load(tmp_path / "run" / f"network-{stem}")
        stored = checkpoint(tmp_path / "run", stem)["state_dict"]
        assert same(exported, {key.removeprefix("network."): tensor for key, tensor in stored.items()})
    assert not (tmp_path / "run" / "network").exists()
    with pytest.raises(UserError, match=r"export_from=nosuch: .*nosuch.ckpt: no such checkpoint"):
        run(pairs, tmp_path / "run", *overrides, "export_from=nosuch", small=LIGHT)
    (tmp_path / "run" / "checkpoints" / ".last.new.host-1.partial").write_bytes(b"cut by a kill")
    run(pairs, tmp_path / "run", *overrides, small=LIGHT)
    assert (tmp_path / "run" / "network" / "config.json").is_file()
    assert not list((tmp_path / "run").rglob("*.partial"))
    before = weights(tmp_path / "run")
    with pytest.raises(UserError, match="export_dtype=float16: .* was made with float32; with export_from=best"):
        run(pairs, tmp_path / "run", *overrides, "export_dtype=float16", small=LIGHT)
    run(pairs, tmp_path / "run", *overrides, "export_dtype=float16", "export_from=best", small=LIGHT)
    half = torch_load(tmp_path / "run" / "network-best")
    assert same(half, {key: value.half() for key, value in before.items()})
    with pytest.raises(UserError, match="made with another configuration: trainer.max_epochs"):
        run(pairs, tmp_path / "run", "trainer.max_epochs=5", *overrides[1:], "export_from=best", small=LIGHT)
    assert same(weights(tmp_path / "run"), before)

"""What a person can do wrong: one line that names it, and nothing harmed."""

import inspect
import json

import lightning as L
import lightning.pytorch.callbacks
import lightning.pytorch.loggers
import pytest
import torch

from npnet.data import schema, shards
from npnet.errors import UserError
from npnet.networks import NPNet
from npnet.training import callback_keys, trainer_keys
from npnet.training.run_state import RunState
from tests.pairs import write_folder
from tests.training.runs import LIGHT, checkpoint, run


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pairs"), [30, 20], num_prompts=16)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_size=0"], "data.batch_size=0"),
        (["data.num_workers=-1"], "data.num_workers=-1"),
        (["data.max_pairs=0"], "data.max_pairs=0"),
        (["data.kept_only=maybe"], "data.kept_only=maybe"),
        (["module.learning_rate=-1"], "module.learning_rate=-1: a number above 0 is needed"),
        (["module.learning_rate=1e300"], "module.learning_rate=1e+300: a number above 0 (at most 1 in size) is needed"),
        (["module.learning_rate=nan"], "module.learning_rate=nan: a finite number is needed"),
        (["trainer.gradient_clip_val=inf"], "trainer.gradient_clip_val=inf: a finite number is needed"),
        (["module.betas=0.9"], "module.betas=0.9: a list is needed"),
        (["module.betas=[0.9,1]"], "module.betas[1]=1: a number of at least 0 and below 1 is needed"),
        (["module.schedule=linear"], "module.schedule=linear: allowed: constant, cosine"),
        (["export_dtype=int8"], "export_dtype=int8: "),
        (["init_from=./nowhere"], "init_from=./nowhere"),
        (["data.validation_share=1"], "data.validation_share=1"),
        (["network.text_term=sideways"], "network.text_term=sideways: "),
        (["dry_run=true", "network.text_term=sideways"], "network.text_term=sideways: "),
        (["dry_run=true", "+network.nosuch=1"], "network.nosuch=1: no such key"),
        (["dry_run=true", "export_from=nosuch"], "export_from=nosuch: "),
        (["dry_run=true", "trainer.strategy=nosuch"], "trainer.strategy=nosuch: a text that names a strategy"),
        (
            ["dry_run=true", "+logger.x._target_=builtins.dict"],
            "logger.x: _target_=builtins.dict does not make a Logger",
        ),
        (["+callbacks.ema.decay=0.5"], "callbacks.ema: this callback is not chosen"),
        (["module.warmup_steps=-1"], "module.warmup_steps=-1: a whole number of at least 0 is needed"),
        (["module.weight_decay=-1"], "module.weight_decay=-1: a number of at least 0 is needed"),
        (["module=null"], "module=null: "),
        (["network.residual_branch=x"], "network.residual_branch=x: true or false is needed"),
        (["network.position_map=x"], "network.position_map=x: true or false is needed"),
        (["network.trunk.img_size=0"], "network.trunk.img_size=0: a whole number of at least 1"),
        (
            ["network.latent_channels=x"],
            "network.latent_channels=x: a whole number of at least 1 and of at most 8192 is needed",
        ),
        (["network._target_=builtins.dict"], "network._target_=builtins.dict: is not a network"),
        (["callbacks.latest.every_n_train_steps=0"], "callbacks.latest.every_n_train_steps=0: a whole number"),
        (["callbacks.best.monitor=nosuch"], "callbacks.best.monitor=nosuch: "),
        (["callbacks.best._target_=builtins.dict"], "callbacks.best: _target_=builtins.dict makes no Callback"),
        (
            ["callbacks=[early_stopping]", "callbacks.early_stopping.monitor=no"],
            "callbacks.early_stopping.monitor=no: ",
        ),
        (["callbacks=[early_stopping]", "callbacks.early_stopping.mode=up"], "callbacks.early_stopping.mode=up: "),
        (["callbacks=[early_stopping]", "callbacks.early_stopping.patience=x"], "callbacks.early_stopping.patience=x"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0: a whole number of at least 1"),
        (["+trainer.max_steps=5"], "trainer.max_steps=5: the number of epochs sets the length of a run"),
        (["init_from=3"], "init_from=3: a text that is not empty"),
        (["seed=4294967296"], "seed=4294967296: "),
        (["export_from=last"], "last.ckpt: no such checkpoint"),
    ],
)
def test_bad_values_are_refused_by_name(pairs, tmp_path, overrides, message):
    with pytest.raises(UserError) as caught:
        run(
            pairs,
            tmp_path / "run",
            *overrides,
            small=[o for o in LIGHT if not o.startswith(overrides[0].removesuffix("=null").split("=")[0])],
        )
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.precision=nosuch"], "trainer.precision=nosuch: allowed: 32-true"),
        (["trainer.accelerator=gpuu"], "trainer.accelerator=gpuu: did you mean 'gpu'?"),
        (["trainer.devices=0"], "trainer.devices=0: "),
        (["trainer.gradient_clip_val=1e300"], "trainer.gradient_clip_val=1e+300: "),
        (["+trainer.gradient_clip_algorithm=size"], "trainer.gradient_clip_algorithm=size: allowed: value, norm, null"),
        (["+trainer.max_epoch=3"], "trainer.max_epoch=3: no such key; did you mean 'max_epochs'?"),
        (["+trainer.max_time=00:00:10:00"], "trainer.max_time="),
        (["+trainer.logger=true"], "trainer.logger=true: loggers are chosen by logger=[...]"),
        (["+trainer.limit_train_batches=-1"], "trainer.limit_train_batches=-1: "),
        (["+logger.csv.nosuch=1"], "logger.csv.nosuch=1: no such key"),
        (["logger=[wandb]", "logger.wandb.offline=maybe"], "logger.wandb.offline=maybe: true or false is needed"),
        (["callbacks=[early_stopping]", "+callbacks.early_stopping.patient=2"], "did you mean 'patience'?"),
        (["callbacks=[ema]", "callbacks.ema.decay=2"], "callbacks.ema.decay=2: "),
        (["module.learning_rate=2"], "module.learning_rate=2: "),
        (["trainer.devices=[0,0]"], "that are all different is needed"),
        (["trainer.devices=500"], "trainer.devices=500: 37 pairs are fewer than the 500 processes"),
        (["trainer.devices=[0,1,2]", "trainer.num_nodes=20"], "pairs are fewer than the 60 processes"),
        (
            ["+trainer.limit_train_batches=0"],
            "trainer.limit_train_batches=0: a whole number of at least 1, or a number",
        ),
        (["+trainer.fast_dev_run=true"], "trainer.fast_dev_run=true: no checkpoint would be kept"),
        (["+trainer.overfit_batches=1"], "trainer.overfit_batches=1: data.max_pairs=N trains on few pairs"),
        (["data.validation_share=0.999"], "data.validation_share=0.999: all 40 pairs would be validation pairs"),
        (["+trainer.limit_train_batches=0.01"], "trainer.limit_train_batches=0.01: leaves no batch of an epoch"),
        (["+trainer.limit_val_batches=0.01"], "trainer.limit_val_batches=0.01: leaves none of the"),
        (["+trainer.val_check_interval=100"], "trainer.val_check_interval=100: an epoch has only"),
        (["+trainer.min_epochs=99"], "trainer.min_epochs=99: is above trainer.max_epochs="),
        (
            ["callbacks=[early_stopping]", "+trainer.limit_val_batches=0"],
            "callbacks.early_stopping watches val/mse, but trainer.limit_val_batches=0 leaves no validation",
        ),
        (["export_from=checkpoints/"], "export_from=checkpoints/: best, last or a file FILE.ckpt is needed"),
    ],
)
def test_a_dry_run_refuses_keys_of_trainer_loggers_and_callbacks(pairs, tmp_path, overrides, message):
    with pytest.raises(UserError) as caught:
        run(pairs, tmp_path / "run", "dry_run=true", *overrides)
    assert message in str(caught.value)


def test_a_dry_run_tells_what_would_not_work_here_and_a_warm_up_that_never_ends(pairs, tmp_path, capsys):
    """The GPU that a run is meant for need not be on the machine that plans it."""
    folder = tmp_path / "run"
    run(pairs, folder, "dry_run=true", "trainer.accelerator=cuda", "module.warmup_steps=1000")
    said = capsys.readouterr().out
    assert "module.warmup_steps=1000: the run has" in said
    if not torch.cuda.is_available():
        assert "not on this machine: trainer.accelerator=cuda: there is no such device here; allowed: auto, cpu" in said
        with pytest.raises(UserError, match="^trainer.accelerator=cuda: there is no such device here"):
            run(pairs, folder, "trainer.accelerator=cuda", small=LIGHT)
    run(pairs, folder, "dry_run=true", "module.warmup_steps=60")
    assert "warmup" not in capsys.readouterr().out
    run(pairs, folder, "dry_run=true", "module.warmup_steps=60", "+trainer.limit_train_batches=2")
    assert "module.warmup_steps=60: the run has 60 steps" in capsys.readouterr().out


def test_a_run_that_is_named_as_a_network_says_where_its_network_is(pairs, tmp_path):
    network = tmp_path / "old" / "network"
    network.mkdir(parents=True)
    (network / "config.json").write_text("{}")
    (tmp_path / "old" / "checkpoints").mkdir()
    (tmp_path / "old" / "checkpoints" / "last.ckpt").write_bytes(b"x")
    for name in (".", "checkpoints", "checkpoints/last.ckpt"):
        with pytest.raises(UserError, match=f"^init_from=.*; the network of this run is {network}$"):
            run(pairs, tmp_path / "run", "dry_run=true", f"init_from={tmp_path / 'old' / name}", small=LIGHT)


def test_every_key_of_lightnings_trainer_is_known_and_no_other():
    known = inspect.signature(L.Trainer.__init__).parameters.keys() - {"self"}
    assert {*trainer_keys.KEYS, *trainer_keys.ELSEWHERE} == known
    assert not trainer_keys.KEYS.keys() & trainer_keys.ELSEWHERE.keys()


@pytest.mark.parametrize("name", [name for name in callback_keys.KEYS if name not in callback_keys.OPEN])
def test_every_key_of_lightnings_callbacks_and_loggers_is_known_and_no_other(name):
    found = getattr(lightning.pytorch.callbacks, name, None) or getattr(lightning.pytorch.loggers, name)
    known = inspect.signature(found.__init__).parameters.keys() - {"self", "kwargs"}
    assert callback_keys.KEYS[name].keys() == known


def test_weights_and_biases_without_a_key_is_said_before_anything_is_written(pairs, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match=r"logger.wandb: No API key configured.*logger.wandb.offline=true"):
        run(pairs, tmp_path / "run", "logger=[csv,wandb]", small=LIGHT)
    assert not (tmp_path / "run").exists()


def test_a_logger_that_cannot_begin_is_said_before_the_network_is_made(pairs, tmp_path, monkeypatch):
    def busy(self):
        raise ConnectionError("the server\ndoes not answer")

    monkeypatch.setattr(lightning.pytorch.loggers.WandbLogger, "experiment", property(busy))
    monkeypatch.setattr("npnet.training.run._network", lambda *args: pytest.fail("too late"))
    with pytest.raises(UserError, match=r"logger.wandb: the server does not answer; leave it out of logger="):
        run(pairs, tmp_path / "run", "logger=[csv,wandb]", "logger.wandb.offline=true", small=LIGHT)


def test_several_machines_are_refused_where_this_process_was_started_alone(pairs, tmp_path, monkeypatch):
    for name in trainer_keys.LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"trainer.num_nodes=2: this process was started alone"):
        run(pairs, tmp_path / "run", "trainer.num_nodes=2", small=LIGHT)
    assert not (tmp_path / "run").exists()
    run(pairs, tmp_path / "run", "trainer.num_nodes=2", "dry_run=true", small=LIGHT)  # may be made where it is planned


def test_folders_without_shards_pairs_or_embeddings_are_refused(pairs, tmp_path):
    (tmp_path / "empty").mkdir()
    none_kept = write_folder(tmp_path / "none", [0, 0])
    bare = write_folder(tmp_path / "bare", [8, 8], with_embeds=False)
    for folder, message in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "empty", "holds no finished shards"),
        (none_kept, "no kept pair to train on in 2 shards"),
        (bare, "hold no embeddings"),
        (f"[{pairs},{tmp_path / 'nowhere'}]", f"data.shards={tmp_path / 'nowhere'}: no such folder"),
    ):
        with pytest.raises(UserError) as caught:
            run(folder, tmp_path / "run", small=LIGHT)
        assert message in str(caught.value)


def test_a_start_that_is_not_there_is_said_without_a_hint_at_its_form(pairs, tmp_path):
    with pytest.raises(UserError, match=r"init_from=/no/where: ") as caught:
        run(pairs, tmp_path / "run", "init_from=/no/where", small=LIGHT)
    assert "must be the form" not in str(caught.value)


def test_a_checkpoint_of_another_network_is_named_with_what_differs(pairs, tmp_path):
    other = NPNet(latent_size=16, text_term="off", residual_branch=False)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"init_from=.*other: .*network=NAME must be the form") as caught:
        run(pairs, tmp_path / "run", f"init_from={tmp_path / 'other'}", small=LIGHT)
    assert "has shape" in str(caught.value)
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="rubbish.pth"):
        run(pairs, tmp_path / "run", f"init_from={tmp_path / 'rubbish.pth'}", small=LIGHT)


def test_a_pretrained_trunk_that_cannot_be_fetched_is_one_line(pairs, tmp_path, monkeypatch):
    def offline(trunk, name):
        raise FileNotFoundError("offline, and\nnot in the cache")

    monkeypatch.setattr("npnet.networks.residual.load_pretrained", offline)
    asked = ["network.trunk=swin_tiny_patch4_window7_224", "network.pretrained_trunk=true"]
    with pytest.raises(UserError, match=r"pretrained_trunk=true: the weights of swin_tiny.* offline, and not in"):
        run(pairs, tmp_path / "run", *asked, small=["data.batch_size=8"])


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("member", ["golden_noise", "prompt_embeds"])
def test_a_pair_that_holds_nan_is_named_in_one_line(tmp_path, monkeypatch, member, num_workers):
    spoiled = torch.full((5, 6), float("nan")) if member == "prompt_embeds" else None

    def encode(pair, index, images=None, original=schema.encode):
        if index == 9:
            if spoiled is not None:
                pair.prompt_embeds["prompt_embeds"] = spoiled
            else:
                pair.golden_noise[0, 0, 0] = float("nan")
        return original(pair, index, images)

    monkeypatch.setattr(schema, "encode", encode)
    monkeypatch.setattr(schema, "to_half", lambda tensor: tensor.half())
    folder = write_folder(tmp_path / "pairs", [5, 8])
    monkeypatch.undo()
    with pytest.raises(UserError) as caught:
        run(
            folder,
            tmp_path / "run",
            "data.validation_share=0",
            f"data.num_workers={num_workers}",
            "data.kept_only=false",
            small=LIGHT,
        )
    assert f"{folder}/shard-000001.tar: sample 0000009-0000000009: " in str(caught.value)
    assert member in str(caught.value) and "finite" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "network").exists()


def test_a_loss_that_is_not_finite_stops_the_run(pairs, tmp_path, monkeypatch):
    def spoil(self, trainer, module, *rest):
        if trainer.global_step == 3:
            module.network.alpha.data.fill_(float("nan"))

    monkeypatch.setattr(RunState, "on_train_batch_start", spoil, raising=False)
    with pytest.raises(UserError, match=r"the loss is nan at step 4: lower module.learning_rate"):
        run(pairs, tmp_path / "run", small=LIGHT)
    assert not (tmp_path / "run" / "network").exists()


def test_weights_that_are_not_finite_do_not_replace_the_last_good_checkpoint(pairs, tmp_path, monkeypatch):
    def spoil(self, trainer, module, *rest):
        if trainer.global_step == 6:
            module.network.alpha.data.fill_(float("nan"))

    monkeypatch.setattr(RunState, "on_train_batch_end", spoil, raising=False)
    with pytest.raises(UserError, match="network.alpha holds NaN or infinity at step 6") as caught:
        run(pairs, tmp_path / "run", "callbacks.latest.every_n_train_steps=2", small=LIGHT)
    assert f"last kept in {tmp_path / 'run'}/checkpoints" in str(caught.value)
    kept = checkpoint(tmp_path / "run")
    assert kept["global_step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in kept["state_dict"].values())


def test_the_shards_stay_as_they_were(pairs):
    for path in pairs.glob("*.tar"):
        assert shards.file_sha256(path) == json.loads(path.with_suffix(".json").read_text())["sha256"]

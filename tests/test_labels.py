"""One class under several labels, as users type it."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from npnet.labels import with_new_labels, with_open_keys, without_tuned
from npnet.paths import config_dir

LABELS = [(group, path.stem) for group in ("noise", "metric") for path in sorted((config_dir() / group).glob("*.yaml"))]


def composed(*arguments, primary="evaluate"):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(primary, with_new_labels(arguments, [config_dir()]))


@pytest.mark.parametrize(("group", "label"), LABELS)
def test_a_label_that_continues_another_is_a_second_one_of_its_kind(group, label):
    first = composed(f"{group}=[{label}]")[group][label]
    key = next((key for key, value in first.items() if key != "_target_" and not OmegaConf.is_dict(value)), None)
    if key is None:
        pytest.skip("has no plain key to override")
    second = composed(f"{group}=[{label}]", f"{group}.{label}_b.{key}=null")[group]
    assert list(second) == [label, f"{label}_b"]
    plain = [OmegaConf.to_container(second[name], resolve=False) for name in (label, f"{label}_b")]
    assert {**plain[0], key: None} == plain[1]


def test_several_keys_and_labels_go_together_and_a_plus_is_allowed():
    arguments = ["noise.npnet_30k.network_path=a", "+noise.npnet_30k.text_term=off", "noise.npnet_60k.network_path=b"]
    noise = composed(*arguments).noise
    assert list(noise) == ["standard", "inversion", "npnet", "npnet_30k", "npnet_60k"]
    assert [noise[label].network_path for label in list(noise)[2:]] == [None, "a", "b"]
    assert noise.npnet_30k.text_term in ("off", False)


def test_a_list_of_methods_may_name_labels_of_ones_own():
    noise = composed("noise=[npnet_a,npnet_b]", "noise.npnet_a.network_path=a", "noise.npnet_b.network_path=b").noise
    assert [(label, node.network_path) for label, node in noise.items()] == [("npnet_a", "a"), ("npnet_b", "b")]
    noise = composed("noise=[standard,npnet_a]", "noise.npnet_a.network_path=a").noise
    assert list(noise) == ["standard", "npnet_a"]


def test_the_longest_known_name_counts():
    noise = composed("noise.best_of_n_8.num_candidates=8").noise
    assert noise.best_of_n_8._target_ == "npnet.noise.BestOfN"
    metric = composed("metric.hpsv2_0_copy.path=DIR", "metric=[hpsv2_0]").metric
    assert metric.hpsv2_0_copy.version == metric.hpsv2_0.version != composed("metric=[hpsv2]").metric.hpsv2.version


@pytest.mark.parametrize(
    "argument",
    [
        "noise.npnet.network_path=a",
        "noise=[standard]",
        "noise.npnett.network_path=a",
        "+noise.npnet_own={_target_:tests.fakes.Redraw}",
        "+noise.npnet_own._target_=tests.fakes.Redraw",
        "~noise.npnet_x",
        "seed=1",
        "--cfg",
    ],
)
def test_everything_else_stays_as_it_was_typed(argument):
    assert with_new_labels([argument], [config_dir()]) == [argument]


def test_a_target_that_was_given_is_kept():
    arguments = ["+noise.npnet_own._target_=tests.fakes.Redraw", "+noise.npnet_own.other=1"]
    assert with_new_labels(arguments, [config_dir()]) == arguments


EXPERIMENTS = sorted((config_dir() / "experiment").glob("*_evaluate.yaml"))


@pytest.mark.parametrize("experiment", [path.stem for path in EXPERIMENTS])
def test_fewer_methods_than_an_experiment_tunes_are_compared_as_they_are(experiment):
    typed = [f"experiment={experiment}", "noise=[standard,npnet]", "network_path=a"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        noise = compose("evaluate", without_tuned(typed, [config_dir()])).noise
    assert {"standard", "npnet"} <= set(noise)
    assert all("_target_" in node for node in noise.values()), "a node that nothing can be made of is left"


def test_what_an_experiment_tunes_of_a_method_that_is_compared_stays():
    typed = ["experiment=demo_evaluate", "noise=[standard,inversion]"]
    assert without_tuned(typed, [config_dir()]) == typed


def test_a_key_that_was_typed_is_not_taken_away_in_silence():
    typed = ["experiment=demo_evaluate", "noise=[standard]", "noise.inversion.guidance_scale=2"]
    assert without_tuned(typed, [config_dir()]) == typed


def test_a_member_that_the_experiment_makes_keeps_what_the_experiment_says(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nnoise:\n  npnet_half:\n    _target_: npnet.noise.Network\n    mean_shift: 0.5\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text + "    network_path: null\n")
    typed = ["experiment=mine", "noise.npnet_half.network_path=a"]
    assert with_new_labels(typed, [config_dir(), tmp_path]) == typed
    assert with_new_labels(typed[1:], [config_dir(), tmp_path]) != typed[1:]


def test_a_key_of_lightnings_classes_needs_no_plus_in_a_training():
    typed = ["trainer.limit_train_batches=3", "+trainer.limit_val_batches=2", "callbacks.best.mode=max", "seed=3"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", with_open_keys(typed))
    assert (cfg.trainer.limit_train_batches, cfg.trainer.limit_val_batches) == (3, 2)
    assert (cfg.callbacks.best.mode, cfg.seed) == ("max", 3)

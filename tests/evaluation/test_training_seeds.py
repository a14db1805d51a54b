"""Networks of several training seeds as one method."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from npnet.errors import UserError
from npnet.evaluation.plan import make_plan
from npnet.evaluation.training_seeds import NOTE, expand
from npnet.info.facts import facts
from npnet.networks import NPNet
from npnet.report.command import evaluate
from tests.evaluation.extra_fakes import config
from tests.fakes import SHAPE

STANDARD = {"_target_": "npnet.noise.Standard"}


def network(paths):
    return {"_target_": "npnet.noise.Network", "network_path": paths}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Five small networks of different weights; the last two are copies of the first."""
    folder = tmp_path_factory.mktemp("networks")
    for seed in range(3):
        torch.manual_seed(seed)
        sizes = {"latent_channels": SHAPE[0], "latent_size": SHAPE[1:], "text_term": "off", "residual_branch": False}
        NPNet(**sizes).save_pretrained(folder / str(seed))
    for copy in (3, 4):
        shutil.copytree(folder / "0", folder / str(copy))
    return folder


def results(folder, chunk_size=8, **noise):
    value = config(output_dir=str(folder), noise=(), chunk_size=chunk_size)
    evaluate(OmegaConf.create({**value, "noise": {"standard": STANDARD, **noise}}))
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def pooled(networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pooled")
    kinds = {"net": network(f"{networks}/{{0..2}}"), "same": network([f"{networks}/{i}" for i in (0, 3, 4)])}
    return folder, results(folder, one=network(f"{networks}/0"), **kinds)


def test_a_list_and_braces_name_the_same_networks():
    nodes, members = expand({"standard": STANDARD, "net": network("run/seed_{0,1}/network")})
    assert expand({"standard": STANDARD, "net": network(["run/seed_0/network", "run/seed_1/network"])}) == (
        nodes,
        members,
    )
    assert members == {"standard": ["standard"], "net": ["net-0", "net-1"]}
    assert [node.get("network_path") for node in nodes.values()] == [None, "run/seed_0/network", "run/seed_1/network"]


def test_one_network_stays_what_it_is():
    noise = {"standard": STANDARD, "net": network("run/network"), "shipped": network(None)}
    assert expand(noise) == (noise, {label: [label] for label in noise})
    assert expand({"net": network(["run/network"])}) == expand({"net": network("run/network")})


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"net": network([])}, "noise.net.network_path"),
        ({"net": network(["a", 3])}, "noise.net.network_path"),
        ({"net": network("run/{0,1")}, "noise.net.network_path"),
        ({"net": network(["a", "a"])}, "given twice"),
        ({"net": network(["a", "b"]), "net-1": network("c")}, "noise.net-1"),
        ({"net": network(["a", "b"]), "other": network(["a", "b", "c"])}, "net 2, other 3"),
    ],
)
def test_what_cannot_be_compared_seed_by_seed_is_refused(noise, message):
    with pytest.raises(UserError, match=message):
        expand(noise)


def test_a_missing_network_is_named_by_its_path(networks):
    value = config(noise=())
    cfg = OmegaConf.create({**value, "noise": {"net": network([f"{networks}/0", f"{networks}/nowhere"])}})
    with pytest.raises(UserError, match=r"nowhere: no such file"):
        make_plan(cfg)


def test_the_method_is_the_mean_of_its_members(pooled):
    method = pooled[1]["methods"]["net"]
    members = list(method["members"].values())
    assert list(method["members"]) == ["net-0", "net-1", "net-2"]
    for name in ("target", "close"):
        for key, part in (("mean", "metrics"), ("mean_difference", "versus_standard"), ("ties", "versus_standard")):
            mean = sum(member[part][name][key] for member in members) / 3
            assert method[part][name][key] == pytest.approx(mean, abs=1e-9)
        assert method["metrics"][name]["count"] == method["versus_standard"][name]["count"] == 24


def test_three_copies_of_a_network_say_what_the_network_says(pooled):
    one, same = (pooled[1]["methods"][label] for label in ("one", "same"))
    assert same["metrics"] == one["metrics"]
    assert (same["diversity"], same["noise"]) == (one["diversity"], one["noise"])
    assert same["versus_standard"] == one["versus_standard"]
    assert same["versus"]["one"]["target"]["ties"] == 1
    assert same["cost"]["forwards"] == one["cost"]["forwards"]


def test_two_methods_of_several_seeds_are_compared_member_by_member(pooled):
    net, same = (pooled[1]["methods"][label] for label in ("net", "same"))
    found = [member["versus"]["same"]["target"] for member in net["members"].values()]
    assert found[0]["ties"] == 1  # the first of both is one network
    assert found[1]["ties"] == found[2]["ties"] == 0
    mean = sum(entry["winning_rate"] for entry in found) / 3
    assert net["versus"]["same"]["target"]["winning_rate"] == pytest.approx(mean)
    assert list(same["members"]) == ["same-0", "same-1", "same-2"]


def test_members_stand_in_no_table_of_methods(pooled):
    folder, found = pooled
    assert list(found["methods"]) == ["standard", "one", "net", "same"]
    assert set(found["methods"]["net"]["versus"]) == {"standard", "one", "same"}
    page = (folder / "report.html").read_text()
    assert "net (3 training seeds)" in page
    assert "net-1" not in page.split("<h2>Settings</h2>")[0]
    among = page.split("<h2>Against each other</h2>")[1].split("<h2>")[0]
    assert NOTE in page.split("<h2>Against standard noise</h2>")[0]
    assert NOTE in among
    assert any(key.startswith("net (3 training seeds), ") for key in facts(folder))


def test_a_dry_run_says_which_networks_are_one_method_of_the_report(networks):
    paths = [f"{networks}/{seed}" for seed in range(2)]
    cfg = OmegaConf.create({**config(noise=()), "noise": {"net": network(paths)}})
    assert "\n  net-0, net-1: one method in the report, net (2 training seeds)\n" in make_plan(cfg).describe()


def test_every_member_leaves_its_pictures(pooled):
    folder, _ = pooled
    assert {path.name for path in (folder / "images").iterdir()} == {
        *("standard", "one"),
        *(f"{label}-{i}" for label in ("net", "same") for i in range(3)),
    }

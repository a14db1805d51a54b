"""The stored counts, and what the commands say of them."""

from types import SimpleNamespace

import pytest

from benchmarks.counts import BEGIN, END, PAGE, counted, described, names, table
from collect.plan import make_plan
from npnet.backbones import Shapes
from npnet.costs import command, counts, wording
from npnet.costs.command import PlanSettings, describe_network
from npnet.costs.counts import Counts, find, identity, keep, plain, stored
from npnet.costs.runs import make_run, pair_forwards
from npnet.errors import UserError
from npnet.instantiate import Node
from npnet.networks import NoiseNetwork
from npnet.noise import Inversion
from tests.collected import composed

YAMLS = [(group, name) for group in ("backbone", "metric", "network") for name in names(group)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_every_shipped_yaml_was_counted_as_it_is_today():
    for group, name in YAMLS:
        part = described(group, name)
        found = find(group, part.keys if isinstance(part, Node) else part)
        assert found is not None and found.exact, f"{group}={name}: run python benchmarks/counts.py {group}"


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), YAMLS)
def test_the_stored_counts_are_those_of_the_code(group, name):
    assert plain(counted(group, name)) == plain({entry.name: entry for entry in stored(group)}[name])


def test_an_sdxl_pair_is_the_denoisers_work():
    sdxl, hpsv2 = described("backbone", "sdxl"), described("metric", "hpsv2")
    forwards = pair_forwards(sdxl, Inversion(5.5, 1.0, 10), 10, 5.5)
    run, missing = make_run(sdxl, {"hpsv2": hpsv2}, 4, 5.5, forwards, both=True)
    shares = {name: part / sum(run.flops.values()) for name, part in run.flops.items()}
    assert not missing
    assert shares["denoiser"] > 0.92
    assert shares["denoiser"] + shares["decoder"] > 0.99


def test_the_table_of_the_docs_is_that_of_the_counts_and_has_every_real_backbone():
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == table()
    assert all(f"| `{name}` |" in page for name in names("backbone") if not name.startswith("shapes"))


def test_weights_in_another_place_are_taken_to_be_of_the_published_size_and_this_is_said(tmp_path):
    elsewhere = find("backbone", Shapes(path=str(tmp_path)))
    assert elsewhere is not None and not elsewhere.exact
    assert find("backbone", Shapes(height=64)) is None


def test_a_network_of_ones_own_is_counted_once_and_kept(monkeypatch, capsys):
    keys = {"_target_": "npnet.networks.NPNet", "latent_size": [8, 8], "prompt_embed_dim": 8, "prompt_length": 4}
    keys |= {"trunk": {"widths": [8, 8], "patch_size": 1}, "singular_value_branch": "off", "text_term": "spatial"}
    settings, node = PlanSettings(), Node("network", keys)
    first = describe_network(settings, node)
    assert "counted on a fake GPU" in capsys.readouterr().out
    monkeypatch.setattr(command, "imported", None)  # nothing is counted any more
    assert describe_network(settings, node) == first


@pytest.mark.parametrize("name", ["flux2_klein", "z_image", "qwen_image", "sana_sprint"])
def test_a_network_planned_beside_a_backbone_has_the_sizes_of_its_latents_and_prompts(name):
    backbone, network = described("backbone", name), described("network", "npnet_unet")
    assert command.sized(network, None) == network
    made = command.sized(network, backbone).build(NoiseNetwork)
    assert (made.config["latent_channels"], *made.config["latent_size"]) == backbone.latent_shape()
    assert made.misfit(backbone.latent_shape(), backbone.embed_dims(), "it") is None


def test_workers_share_what_npnet_plan_counts():
    backbone, network = described("backbone", "sdxl"), described("network", "npnet_unet")
    one, four = (PlanSettings(pairs=4000, pictures=4000, workers=workers) for workers in (1, 4))
    quarter = PlanSettings(pairs=1000, pictures=1000)
    for describe in (lambda s: command.describe_backbone(s, backbone), lambda s: describe_network(s, network)):
        shared = describe(four)
        assert [line for line in shared if "4,000" in line and "by 4 workers with a GPU each" in line]
        assert [line for line in shared if " fits" in line] == [line for line in describe(quarter) if " fits" in line]
        assert "workers" not in "".join(describe(one))


def test_a_damaged_file_of_counts_is_one_line_that_names_it():
    shapes = Shapes(height=64)
    kept = keep("backbone", Counts("x", identity("backbone", shapes), {}))
    kept.write_text('{"of": {}}')
    with pytest.raises(UserError, match=f"{kept.name}.*holds no counts"):
        find("backbone", shapes)


def test_an_unknown_part_is_named_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(counts, "stored", lambda group: stored(group) if group == "backbone" else ())
    run, missing = make_run(described("backbone", "sdxl"), {"mine": described("metric", "aes")}, 1, 1.0, 1)
    assert missing == ["metric mine"]
    assert run.scorers == {}


def test_a_dry_run_says_a_workers_own_share_and_the_gpu_changes_no_request(tmp_path):
    prompts = ["backbone=sdxl", "prompts=list", "prompts.list=[a,b,c,d,e,f]", "chunk_size=2", f"output_dir={tmp_path}"]
    whole = make_plan(composed("collect", *prompts))
    part = make_plan(composed("collect", *prompts, "gpu=t4", "worker.index=1", "worker.count=2"))
    assert (whole.num_ours, part.num_ours) == (6, 2)
    assert whole.request == part.request


def test_what_all_workers_write_together_has_to_fit_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(wording.shutil, "disk_usage", lambda place: SimpleNamespace(free=10_000))
    assert "FIT" not in wording.describe_disk(8_000, tmp_path)
    assert "FIT" in wording.describe_disk(8_000, tmp_path, whole=16_000)

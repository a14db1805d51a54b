"""A new selection is the collection that would have been, without computing it again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collect import filter as filters
from collect.filtering import FilterJob
from npnet.data.shards import list_shards, read_pairs
from npnet.data.sidecars import CHECKSUM
from npnet.errors import UserError
from tests.collected import TWO_METRICS, collect_small, composed, contents, filter_small

ROOT = Path(__file__).parents[2]
TARGET, BRIGHT = "metric=[]", "+metric.bright._target_=tests.fakes.Brightness"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return collect_small(tmp_path_factory.mktemp("source"), *TWO_METRICS, "keep_all=true")


def tars(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def kept(folder):
    return {candidate.key for shard in list_shards(folder) for candidate in shard.tried if candidate.kept}


RULES = [
    ["margin=0"],
    ["margin=0.00002", "keep_all=true"],
    ["margin=-0.0001"],
    ["margin=100"],
    ["selection=weighted", "weights={target:1,bright:0.01}"],
    ["selection=weighted", "weights={bright:0}", "margin=0.00003"],
]


@pytest.mark.parametrize("rule", RULES, ids=" ".join)
def test_shards_are_byte_for_byte_those_of_a_collection_under_that_rule(source, tmp_path, rule):
    direct = collect_small(tmp_path / "direct", *TWO_METRICS, *rule)
    filtered = filter_small(source, tmp_path / "filtered", *rule, "card=false")
    assert tars(filtered) == tars(direct)
    for one, other in zip(list_shards(direct, verify=True), list_shards(filtered, verify=True), strict=True):
        assert other.tried == one.tried
        changed = {name for name in one.sidecar if one.sidecar[name] != other.sidecar.get(name)}
        assert changed == {"request", "request_sha256", CHECKSUM}


def test_the_selections_of_a_sweep_shrink_as_the_margin_grows_and_the_source_stays(source, tmp_path, monkeypatch):
    before = contents(source)
    monkeypatch.setattr(sys, "argv", ["filter", "--multirun", f"shards={source}", "card=false"])
    sys.argv += ["margin=-0.1,0,1.0", f"output_dir={tmp_path}/m${{margin}}"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        filters.main()
    assert stop.value.code == 0
    by_margin = [kept(tmp_path / f"m{margin}") for margin in ("-0.1", "0", "1.0")]
    assert len(by_margin[0]) == 10 and by_margin[0] > by_margin[1] > by_margin[2] == set()
    assert contents(source) == before


def test_the_request_says_where_the_pairs_come_from_and_what_selected_them(source, tmp_path):
    folder = filter_small(source, tmp_path / "f", "metric=[]", BRIGHT, "margin=0.001", "card=false")
    old, new = (json.loads((f / "request.json").read_text()) for f in (source, folder))
    assert new["filtered_from"]["shards"] == str(source)
    assert new["selected_by"] == ["bright"]
    assert old["selected_by"] == ["target", "bright"]
    assert (new["margin"], new["keep_all"]) == (0.001, False)
    assert {name: new[name] for name in ("backbone", "noise", "prompts", "samples_sha256")} == {
        name: old[name] for name in ("backbone", "noise", "prompts", "samples_sha256")
    }
    again = filter_small(folder, tmp_path / "g", "margin=0.01", "card=false")
    assert json.loads((again / "request.json").read_text())["filtered_from"]["filtered_from"] == new["filtered_from"]


def test_without_other_words_the_metrics_that_selected_before_select_again(source, tmp_path):
    collect_small(tmp_path / "s", *TWO_METRICS, "keep_all=true", "selection=weighted", "weights={bright:0}")
    folder = filter_small(tmp_path / "s", tmp_path / "f", "margin=0.001", "card=false")
    assert json.loads((folder / "request.json").read_text())["selected_by"] == ["target"]


def test_a_finished_selection_is_left_as_it_is_and_an_interrupted_one_goes_on(source, tmp_path, monkeypatch, capsys):
    whole = contents(filter_small(source, tmp_path / "whole", "card=false"))
    shutil.rmtree(tmp_path / "whole")
    real = FilterJob.fill

    def dies(job, chunk, writer, advance):
        if chunk == 1:
            raise KeyboardInterrupt
        return real(job, chunk, writer, advance)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FilterJob, "fill", dies)
        filter_small(source, tmp_path / "whole", "card=false")
    assert len(list((tmp_path / "whole").glob("*.json"))) == 2
    filter_small(source, tmp_path / "whole", "card=false")
    assert contents(tmp_path / "whole") == whole
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()}
    filter_small(source, tmp_path / "whole", "card=false")
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()} == times


def test_a_dry_run_counts_and_writes_nothing(source, tmp_path, capsys):
    filter_small(source, tmp_path / "f", "dry_run=true")
    text = capsys.readouterr().out
    folder = filter_small(source, tmp_path / "g", "card=false")
    assert f"would keep {len(kept(folder))} of 10 pairs" in text
    assert not (tmp_path / "f").exists()


def test_a_source_without_the_rejected_pairs_serves_stricter_rules_alone(tmp_path):
    source = collect_small(tmp_path / "s", "margin=0.00001")
    stricter = kept(filter_small(source, tmp_path / "f", "margin=0.00004", "card=false"))
    assert set() < stricter < kept(source)
    with pytest.raises(UserError, match=r"keep_all=false and does not hold \d+ pairs .*the first: 000000\d-") as caught:
        filter_small(source, tmp_path / "g", "margin=-1")
    assert "rejected then as 'not better: target'" in str(caught.value)
    assert not (tmp_path / "g").exists()


def test_nothing_is_said_to_be_written_that_the_source_does_not_hold(tmp_path):
    source = collect_small(tmp_path / "s", "margin=0.00001")
    folder = filter_small(source, tmp_path / "f", "margin=0.00004", "keep_all=true", "card=false")
    listed = [pair.key for shard in list_shards(folder) for pair in shard.tried if pair.written]
    assert listed == [pair.key for pair in read_pairs(folder, kept_only=False)]
    assert set(listed) == kept(source)


def test_pairs_that_are_not_finite_stay_rejected(tmp_path):
    source = collect_small(tmp_path / "s", "prompts.list=[a,'NaN',c]", "keep_all=true")
    folder = filter_small(source, tmp_path / "f", "margin=-100", "keep_all=true", "card=false")
    assert [pair.prompt for pair in read_pairs(folder, kept_only=False)] == ["a", "c"]
    assert [c.reason for c in list_shards(folder)[0].tried] == ["", "not finite", ""]


MISTAKES = [
    (["shards=null"], "shards=DIR is needed"),
    (["shards=nowhere"], "nowhere: no such folder"),
    (["metric=[pickscore]"], r"metric=\[pickscore\]: .* was not scored by pickscore; allowed: bright, target"),
    (["selection=some"], "selection=some: allowed: all, weighted"),
    (["margin=null"], "margin=null: a number"),
    (["weights={target:1}"], "is only for selection=weighted"),
    (
        ["selection=weighted", "weights={other:1}"],
        "weights.other=1.0: is not a metric of this run; allowed: target, bright",
    ),
    (["keep_all=1"], "keep_all=1: true or false is needed"),
]


@pytest.mark.parametrize(("overrides", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(source, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        filter_small(source, tmp_path / "f", *overrides)
    assert not (tmp_path / "f").exists()


def test_the_source_is_never_written_to(source, tmp_path):
    before = contents(source)
    for place in (source, source / "inside"):
        with pytest.raises(UserError, match="which is only read; choose another folder"):
            filter_small(source, place)
    assert contents(source) == before


def test_an_unfinished_or_damaged_source_is_refused(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    (copy / "shard-000002.json").unlink()
    with pytest.raises(UserError, match=r"shard-000002\.json is missing, so it is not finished"):
        filter_small(copy, tmp_path / "f")
    copy = shutil.copytree(source, tmp_path / "copy2")
    tar = copy / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(UserError, match=r"shard-000001\.tar: was changed"):
        filter_small(copy, tmp_path / "f", "card=false")
    assert sorted(contents(tmp_path / "f")) == ["request.json", "shard-000000.json", "shard-000000.tar"]


def test_another_rule_in_the_same_folder_is_refused(source, tmp_path):
    folder = filter_small(source, tmp_path / "f", "card=false")
    before = contents(folder)
    with pytest.raises(UserError, match=r"margin \(got 0.5, there 0.0\)"):
        filter_small(source, folder, "margin=0.5")
    assert contents(folder) == before


def test_the_real_command_says_a_mistake_in_one_line(tmp_path):
    command = [sys.executable, "-m", "collect.filter", f"shards={tmp_path / 'none'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: ") and "no such folder of shards" in done.stderr


def test_the_configuration_composes():
    assert composed("filter").output_dir == "outputs/filter"

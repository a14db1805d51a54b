"""The data set card and the pictures of a finished folder."""

import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import DatasetCard, HfApi, snapshot_download
from PIL import Image

from collect import showcase
from collect.survey import survey
from npnet.data.shards import read_pairs
from npnet.drawing import sheets
from npnet.errors import UserError
from tests.collected import collect_small, contents, filter_small
from tests.hub import serving

OPTIONS = ["keep_images=true", "keep_all=true", "card=true"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return collect_small(tmp_path_factory.mktemp("carded"), *OPTIONS)


def test_a_finished_folder_has_a_card_and_pictures_and_they_are_the_same_whoever_made_it(folder, tmp_path):
    assert {"README.md", "gains.png", "kept_pairs.webp"} < set(contents(folder))
    other = collect_small(tmp_path / "another name", *OPTIONS)
    assert contents(other) == contents(folder)


def test_an_unfinished_folder_has_none(folder, tmp_path, monkeypatch):
    from collect.collection import CollectJob

    real = CollectJob.run

    def dies(self, chunk, report):
        if chunk == 2:
            raise KeyboardInterrupt
        real(self, chunk, report)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CollectJob, "run", dies)
        collect_small(tmp_path / "x", *OPTIONS)
    assert "README.md" not in contents(tmp_path / "x")
    collect_small(tmp_path / "x", *OPTIONS)
    assert contents(tmp_path / "x") == contents(folder)


def test_a_card_that_was_edited_stays_and_one_that_was_deleted_is_made_again(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    card = copy / "README.md"
    before = card.read_text()
    card.write_text(before.replace("# Noise pairs", "# Mine"))
    edited = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    collect_small(copy, *OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == edited
    card.unlink()
    collect_small(copy, *OPTIONS)
    assert card.read_text() == before


def test_a_collection_goes_to_the_hub_and_is_read_from_there_by_the_real_client(folder, tmp_path, monkeypatch):
    with serving(monkeypatch, tmp_path / "cache"):
        hub = HfApi(token="hf_none")
        hub.create_repo("someone/pairs", repo_type="dataset")
        hub.upload_folder(repo_id="someone/pairs", repo_type="dataset", folder_path=folder)
        back = snapshot_download("someone/pairs", repo_type="dataset")
        assert DatasetCard.load(f"{back}/README.md").data == DatasetCard.load(folder / "README.md").data
        pairs, own = (list(read_pairs(place)) for place in (back, folder))
        assert [pair.prompt for pair in pairs] == [pair.prompt for pair in own]
        assert all(torch.equal(a.golden_noise, b.golden_noise) for a, b in zip(pairs, own, strict=True))


def test_the_card_is_in_the_hubs_form_and_tells_the_counts(folder):
    card = DatasetCard.load(folder / "README.md")
    assert card.data.task_categories == ["text-to-image"]
    assert card.data.size_categories == ["n<1K"]
    assert card.data.configs == [{"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.tar"}]}]
    found = survey(folder)
    assert f"| pairs kept | {found.num_kept} |" in card.text
    assert f"| rejected, not better: target | {10 - found.num_kept} |" in card.text
    assert "float16 (4, 8, 8)" in card.text
    assert json.loads(card.text.split("```json")[1].split("```")[0]) == found.request
    for name in re.findall(r"!\[.*\]\((.*)\)", card.text):
        assert (folder / name).is_file()


def snippets(folder):
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    return [text.replace("DIR_OR_HUB_ID", str(folder)).replace("DIR", str(folder)) for text in code]


def test_the_ways_to_load_that_the_card_shows_work(folder, tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    names: dict = {}
    with_npnet, with_webdataset, with_datasets = snippets(folder)
    exec(with_npnet, names)
    last_kept = list(read_pairs(folder))[-1]
    assert names["pair"].key == last_kept.key
    exec(with_webdataset, names)
    last = list(read_pairs(folder, kept_only=False))[-1]
    assert names["record"]["key"] == last.key
    assert torch.equal(names["noises"]["golden_noise"], last.golden_noise)
    names["noises"] = None
    exec(with_datasets, names)
    assert torch.equal(names["noises"]["source_noise"], last.source_noise)
    assert names["row"]["json"]["prompt"] == last.prompt
    assert names["row"]["source.webp"].size == (16, 16)


def test_empty_shards_do_not_keep_the_hubs_loader_from_the_pairs(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    found = survey(folder)
    gains = sorted(gain for gain, _ in found.gains("target"))
    best = filter_small(folder, tmp_path / "best", f"margin={gains[-2]}")
    sizes = [len(shard.written) for shard in survey(best).shards]
    assert sorted(sizes) == [0, 0, 1]
    rows = list(datasets.load_dataset(str(best), split="train", streaming=True))
    assert [row["json"]["prompt"] for row in rows] == [pair.prompt for pair in read_pairs(best)]
    assert "A selection of the pairs of" in (best / "README.md").read_text()


def test_a_folder_with_nothing_kept_still_has_a_card(folder, tmp_path):
    nothing = filter_small(folder, tmp_path / "nothing", "margin=100")
    text = (nothing / "README.md").read_text()
    assert "| pairs kept | 0 |" in text
    assert "kept_pairs.webp" not in contents(nothing)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_the_contact_sheet_shows_kept_pairs_source_left_golden_right(folder):
    found = survey(folder)
    shown = list(showcase.kept_pictures(found))
    assert 0 < len(shown) <= showcase.NUM_PAIRS
    assert all(candidate.kept for candidate, _, _ in shown)
    sheet = np.asarray(Image.open(io.BytesIO(showcase.contact_sheet(found))).convert("RGB")).astype(int)
    top, side, gap = 2 * sheets.SPACE + sheets.ROW, sheets.SIDE, sheets.SPACE
    for picture, left in ((shown[0][1], gap), (shown[0][2], gap + side + 4)):
        there = sheet[top : top + side, left : left + side]
        exact = np.asarray(picture.resize((side, side), Image.Resampling.NEAREST)).astype(int)
        assert np.abs(there - exact).mean() < 6  # webp at quality 90


def test_without_pictures_there_is_no_contact_sheet(tmp_path):
    found = survey(collect_small(tmp_path / "x", "keep_all=true"))
    assert showcase.contact_sheet(found) is None
    assert Image.open(io.BytesIO(showcase.plot_gains(found))).format == "PNG"


def test_no_picture_of_another_format_is_opened(folder, tmp_path, monkeypatch):
    from npnet.data import shards

    def tampered(path):
        for sample in iterate(path):
            buffer = io.BytesIO()
            Image.new("RGB", (4, 4)).save(buffer, "gif")
            yield {**sample, "source.webp": buffer.getvalue()}

    iterate = shards.iterate_shard
    monkeypatch.setattr(shards, "iterate_shard", tampered)
    with pytest.raises(UserError, match=r"shard-000000\.tar: .*\.source\.webp: is not a picture"):
        showcase.contact_sheet(survey(folder))

"""What is read back is compared: sidecars, the pairs of a tar, cached embeddings; strangers' files are checked."""

import io
import json
import shutil
import sys
import tarfile

import pytest
import safetensors.torch
import torch

from collect.filtering import FilterJob
from collect.status import main as status
from npnet.data import schema
from npnet.data.shards import file_sha256, iterate_shard, list_shards, read_pairs
from npnet.data.sidecars import CHECKSUM, sidecar_path
from npnet.data.tensor_cache import TensorCache
from npnet.errors import UserError
from tests.collected import collect_small, contents, filter_small


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return collect_small(tmp_path_factory.mktemp("source"), "keep_all=true", "keep_images=true")


@pytest.fixture
def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


def change(path, function):
    """Change a sidecar's values, and leave its checksum."""
    sidecar = json.loads(path.read_text())
    function(sidecar)
    path.write_text(json.dumps(sidecar))


def one_digit(sidecar):
    sidecar["candidates"][1]["scores"]["target"]["golden"] += 1e-9


def one_kept(sidecar):
    sidecar["candidates"][0]["kept"] = not sidecar["candidates"][0]["kept"]


def one_prompt(sidecar):
    sidecar["candidates"][0]["prompt"] += "s"


def one_cost(sidecar):
    sidecar["cost"]["forwards"] += 1


@pytest.mark.parametrize("function", [one_digit, one_kept, one_prompt, one_cost])
def test_a_changed_sidecar_is_named_by_whoever_reads_it(copy, tmp_path, function, capsys):
    path = copy / "shard-000001.json"
    change(path, function)
    before = contents(copy)
    message = r"shard-000001\.json: was changed after it was written \(its checksum does not match its values\)"
    for read in (
        lambda: list(read_pairs(copy)),
        lambda: collect_small(copy, "keep_all=true", "keep_images=true"),
        lambda: filter_small(copy, tmp_path / "f"),
    ):
        with pytest.raises(UserError, match=message):
            read()
    capsys.readouterr()
    assert status([str(copy), "--json"]) == 0
    assert "shard-000001.json: was changed" in json.loads(capsys.readouterr().out)["broken"][0]
    assert contents(copy) == before


def test_a_sidecar_of_an_earlier_version_has_no_checksum_and_is_read(copy):
    change(copy / "shard-000001.json", lambda sidecar: sidecar.pop(CHECKSUM))
    assert len(list_shards(copy)) == 3


def rewritten(path, change):
    """Write a tar anew from its changed samples, and bring its sidecar's size and digest in line."""
    samples = change([dict(sample) for sample in iterate_shard(path)])
    sidecar = json.loads(sidecar_path(path).read_text())
    sidecar.pop(CHECKSUM)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for name, data in sample.items():
                if not name.startswith("__"):
                    info = tarfile.TarInfo(f"{sample[schema.KEY]}.{name}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    sidecar |= {"num_bytes": path.stat().st_size, "sha256": file_sha256(path)}
    sidecar_path(path).write_text(json.dumps(sidecar))


def record(sample, **changes):
    return {**sample, schema.RECORD: json.dumps({**json.loads(sample[schema.RECORD]), **changes}).encode()}


def noise(sample, **tensors):
    held = safetensors.torch.load(sample[schema.NOISE])
    return {**sample, schema.NOISE: safetensors.torch.save({**held, **tensors})}


def embeds(sample, **tensors):
    held = safetensors.torch.load(sample[schema.EMBEDS])
    return {**sample, schema.EMBEDS: safetensors.torch.save({**held, **tensors})}


OTHERS = {
    "another order": lambda samples: samples[::-1],
    "another prompt": lambda samples: [record(samples[0], prompt="a stranger's"), *samples[1:]],
    "another seed": lambda samples: [record(samples[0], seed=99), *samples[1:]],
    "another kept": lambda samples: [record(s, kept=not json.loads(s[schema.RECORD])["kept"]) for s in samples],
    "other scores": lambda samples: [record(samples[0], scores={}), *samples[1:]],
    "one less": lambda samples: samples[:-1],
    "no record": lambda samples: [{k: v for k, v in s.items() if k != schema.RECORD} for s in samples],
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_tar_that_holds_other_pairs_than_its_sidecar_lists_is_neither_read_nor_filtered(copy, tmp_path, name):
    rewritten(copy / "shard-000001.tar", OTHERS[name])
    message = r"shard-000001\.tar: (sample \S+ is not the pair that its sidecar lists|holds \d pairs, its sidecar)"
    with pytest.raises(UserError, match=message):
        list(read_pairs(copy, kept_only=False))
    with pytest.raises(UserError, match=message):
        filter_small(copy, tmp_path / "f")


WIDE = torch.zeros(4, 8, 8)
DAMAGED = {
    "a noise that is none": lambda s: {**s, schema.NOISE: b"nothing"},
    "a lying header": lambda s: {**s, schema.NOISE: b"\xff" * 8 + s[schema.NOISE][8:]},
    "NaN": lambda s: noise(s, golden_noise=torch.full((4, 8, 8), torch.nan).half()),
    "another dtype": lambda s: noise(s, golden_noise=WIDE),
    "another shape": lambda s: noise(s, golden_noise=torch.zeros(4, 8, 9).half()),
    "no dimension": lambda s: noise(s, golden_noise=torch.zeros(()).half()),
    "no value": lambda s: noise(s, source_noise=torch.zeros(4, 0, 8).half(), golden_noise=torch.zeros(4, 0, 8).half()),
    "complex": lambda s: embeds(s, prompt_embeds=torch.zeros(4, 8, dtype=torch.complex64)),
    "eight bits": lambda s: embeds(s, prompt_embeds=torch.zeros(4, 8).to(torch.float8_e4m3fn)),
    "embeddings of another rank": lambda s: embeds(s, prompt_embeds=torch.zeros(1, 4, 8).half()),
    "empty embeddings": lambda s: embeds(s, prompt_embeds=torch.zeros(0, 8).half()),
    "a strange embedding": lambda s: embeds(s, other=torch.zeros(4).half()),
    "hundreds of tensors": lambda s: embeds(s, **{f"t{i}": torch.zeros(1) for i in range(100)}),
    "a picture that is none": lambda s: {**s, schema.SOURCE_IMAGE: b"RIFF....WEBPnothing"},
    "a picture of another format": lambda s: {**s, schema.GOLDEN_IMAGE: b"\x89PNG\r\n\x1a\n"},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_filter_gives_no_damaged_member_a_valid_sidecar(copy, tmp_path, name):
    rewritten(copy / "shard-000000.tar", lambda samples: [samples[0], DAMAGED[name](samples[1]), *samples[2:]])
    with pytest.raises(UserError, match=r"shard-000000\.tar: sample 0000001-\d+: ") as caught:
        filter_small(copy, tmp_path / "f", "margin=-100")
    assert "\n" not in str(caught.value)
    assert sorted(contents(tmp_path / "f")) == ["request.json"]


WRONG = [
    ("cost", 3),
    ("cost", {"forwards": "many"}),
    ("notes", {"target": 3}),
    ("smallest_batch", "two"),
    ("num_bytes", "many"),
    ("num_bytes", -1),
    ("sha256", 5),
    ("request", []),
    ("candidates", {"a": 1}),
    ("candidates", [3]),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_sidecar_of_wrong_types_is_one_line(copy, name, value, capsys):
    change(copy / "shard-000001.json", lambda sidecar: (sidecar.pop(CHECKSUM), sidecar.update({name: value})))
    with pytest.raises(UserError, match=r"shard-000001\.json: is not a shard's sidecar: ") as caught:
        list_shards(copy)
    assert "\n" not in str(caught.value)
    assert status([str(copy)]) == 0


@pytest.mark.parametrize(
    "wrong", [{"num_samples": "ten"}, {"selected_by": 5}, {"backbone": []}, {"prompt_counts": {"used": "all"}}]
)
def test_a_request_of_wrong_types_is_one_line(copy, wrong, capsys):
    asked = json.loads((copy / "request.json").read_text())
    (copy / "request.json").write_text(json.dumps({**asked, **wrong}))
    with pytest.raises(UserError, match=r"request\.json: is not the request of a collection") as caught:
        list_shards(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bit", [-1, -40, -100])
def test_a_flipped_bit_in_a_cached_embedding_is_found_and_it_is_made_again(tmp_path, bit):
    cache = TensorCache(tmp_path, "a model")
    tensors = {"prompt_embeds": torch.randn(8, 16).half()}
    cache.write("a cat", tensors)
    data = bytearray(cache.path("a cat").read_bytes())
    data[bit] ^= 1
    cache.path("a cat").write_bytes(data)
    assert cache.read("a cat") is None and not cache.holds("a cat")
    cache.write("a cat", tensors)
    assert torch.equal(cache.read("a cat")["prompt_embeds"], tensors["prompt_embeds"])


@pytest.mark.parametrize(
    "address", ["s3://bucket/x", "gs://bucket/x", "hf://datasets/a/b", "file:///tmp/x", "memory://", "s3:", "./s3://a"]
)
def test_an_address_is_no_place_to_write_to(source, tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    for write in (lambda: collect_small(address), lambda: filter_small(source, address)):
        with pytest.raises(UserError, match=r"^output_dir=\S+: a folder on this machine is needed; addresses such"):
            write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a[/]b", "a[bold]b", "[red]", "a[[b]]", "a[b"])
def test_a_path_with_square_brackets_is_as_good_as_any(source, tmp_path, name, capsys):
    folder = shutil.copytree(source, tmp_path / "old" / name)
    assert status([str(folder)]) == 0
    new = filter_small(f'"{folder}"', f'"{tmp_path / "new" / name}"')
    assert (tmp_path / "new" / name / "README.md").is_file()
    assert name in new
    capsys.readouterr()
    assert status([str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(folder)


def test_filter_with_several_workers_leaves_the_bytes_of_one(source, tmp_path):
    one, two = (filter_small(source, tmp_path / str(n), "margin=0.00001", f"workers={n}") for n in (1, 2))
    assert contents(one) == contents(two)


def test_the_workers_of_an_array_filter_together(source, tmp_path):
    whole = filter_small(source, tmp_path / "whole", "card=false")
    for index in (1, 0):
        filter_small(source, tmp_path / "array", "card=false", "worker.count=2", f"worker.index={index}")
    assert contents(tmp_path / "array") == contents(whole)


def test_a_job_travels_to_workers_without_anything_loaded(source, tmp_path):
    import pickle

    from collect.filter import make_filter_plan
    from tests.collected import composed

    plan = make_filter_plan(composed("filter", f"shards={source}", f"output_dir={tmp_path / 'f'}"))
    job = pickle.loads(pickle.dumps(FilterJob(plan)))
    assert (job.num_chunks, job.request) == (3, plan.request)


def test_the_plan_of_a_collection_needs_no_torch():
    import subprocess

    code = (
        "import sys; sys.argv = ['collect.py', 'dry_run=true'];"
        "from collect.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'lightning'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pairs to try" in done.stdout

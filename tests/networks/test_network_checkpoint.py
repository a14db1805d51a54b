import inspect
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from npnet.networks import NPNet, initialise_from
from tests.hub import serving


@pytest.fixture
def saved(small, tmp_path):
    network = small()
    network.save_pretrained(tmp_path / "network")
    return tmp_path / "network"


def same_weights(one, other):
    return one.state_dict().keys() == other.state_dict().keys() and all(
        map(torch.equal, one.state_dict().values(), other.state_dict().values())
    )


@pytest.mark.parametrize("text_term", ["spatial", "ada_group_norm", "off"])
@pytest.mark.parametrize("branch", ["attention", "no_attention", "off"])
def test_what_is_saved_is_loaded_bit_for_bit(text_term, branch, small, draw, tmp_path):
    network = small(text_term=text_term, singular_value_branch=branch, position_map=True)
    network.save_pretrained(tmp_path)
    again = NPNet.from_pretrained(tmp_path)
    assert again.config == network.config and same_weights(again, network)
    assert not again.training
    arguments = (draw(2, 4, 16, 16), None if text_term == "off" else draw(2, 7, 12))
    assert torch.equal(again(*arguments), network(*arguments))


def test_a_directory_holds_config_weights_and_a_card_and_nothing_else(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((saved / "config.json").read_text())
    assert set(config) == set(inspect.signature(NPNet.__init__).parameters) - {"self", "pretrained_trunk"}


def test_a_model_card_that_is_there_is_kept(small, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    small().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_half_precision_halves_the_file_and_loads_as_float32(small, saved, tmp_path):
    small().save_pretrained(tmp_path / "half", dtype=torch.float16)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "half", saved)]
    assert sizes[0] < 0.6 * sizes[1]
    half, full = NPNet.from_pretrained(tmp_path / "half"), NPNet.from_pretrained(saved)
    for name, tensor in half.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, full.state_dict()[name].half().float())


def test_loading_draws_nothing_from_the_callers_random_stream(saved):
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    NPNet.from_pretrained(saved)
    assert torch.equal(torch.randn(4), expected)


def test_loading_a_checkpoint_never_asks_timm_for_weights(monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("pretrained weights were asked for")

    monkeypatch.setattr("npnet.networks.residual.load_pretrained", refuse)
    network = NPNet(text_term="off", singular_value_branch="off", pretrained_trunk=True)
    network.save_pretrained(tmp_path)
    loaded = NPNet.from_pretrained(tmp_path)
    loaded.load()
    assert loaded(torch.zeros(1, 4, 128, 128)).isfinite().all()


def test_text_switched_off_needs_no_embeddings_and_leaves_the_rest(saved, draw):
    network, whole = NPNet.from_pretrained(saved, text_term="off"), NPNet.from_pretrained(saved)
    noise = draw(2, 4, 16, 16)
    assert network(noise).isfinite().all()
    kept = {name: t for name, t in whole.state_dict().items() if not name.startswith(("text.", "alpha"))}
    assert network.state_dict().keys() == kept.keys()
    assert all(torch.equal(network.state_dict()[name], kept[name]) for name in kept)


def test_a_part_can_be_switched_off_but_not_on_or_changed(saved, small, tmp_path):
    assert NPNet.from_pretrained(saved, text_term="spatial").text is not None
    assert NPNet.from_pretrained(saved, singular_value_branch="off").singular_values is None
    with pytest.raises(ValueError, match="trained with text_term=spatial; a part can be switched off, got 'ada_g"):
        NPNet.from_pretrained(saved, text_term="ada_group_norm")
    small(singular_value_branch="off").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="singular_value_branch=off"):
        NPNet.from_pretrained(tmp_path, singular_value_branch="no_attention")


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


DAMAGES = [
    (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, "model.safetensors missing"),
    (lambda f: (f / "config.json").unlink(), FileNotFoundError, "config.json missing"),
    (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
        ValueError,
        "model.safetensors is damaged or cut short",
    ),
    (lambda f: (f / "config.json").write_text('{"latent_'), ValueError, "config.json is not JSON"),
    (lambda f: (f / "config.json").write_text("[]"), ValueError, "must hold an NPNet's arguments, got a list"),
    (lambda f: change_config(f, _class_name="UNet"), ValueError, "not of an NPNet this version knows: key _class_name"),
    (lambda f: change_weights(f, lambda t: t.pop("beta")), ValueError, "does not fit its network: missing beta"),
    (lambda f: change_weights(f, lambda t: t.update(gamma=torch.ones(1))), ValueError, "unknown gamma"),
    (
        lambda f: change_weights(f, lambda t: t.update(beta=torch.zeros(2))),
        ValueError,
        r"beta has shape \(2,\), expected \(1,\)",
    ),
    (lambda f: change_config(f, prompt_embed_dim=13), ValueError, r"text.norm.weight has shape \(12,\), expected"),
]


@pytest.mark.parametrize(("damage", "error", "message"), DAMAGES)
def test_a_checkpoint_that_is_not_whole_gets_one_clear_line(damage, error, message, saved):
    damage(saved)
    with pytest.raises(error, match=message) as caught:
        NPNet.from_pretrained(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "no_such_folder", "./no/such", "models/sdxl.pth"])
def test_a_path_that_is_not_there_is_said_to_be_missing(name):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        NPNet.from_pretrained(name)


def test_the_weights_file_itself_is_not_a_checkpoint(saved):
    with pytest.raises(ValueError, match="give the folder"):
        NPNet.from_pretrained(saved / "model.safetensors")


def test_a_hub_repository_is_read_as_a_directory_is(saved, monkeypatch):
    asked = []

    def download(repo_id, filename, **options):
        asked.append((repo_id, filename, options))
        return str(saved / filename)

    monkeypatch.setattr("npnet.networks.checkpoint.hf_hub_download", download)
    network = NPNet.from_pretrained("someone/golden", revision="v1")
    assert same_weights(network, NPNet.from_pretrained(saved))
    assert asked == [("someone/golden", file, {"revision": "v1"}) for file in ("config.json", "model.safetensors")]


def test_a_hub_that_cannot_be_read_is_one_clear_line(monkeypatch):
    def download(*_, **__):
        raise LocalEntryNotFoundError("cannot\nfind it")

    monkeypatch.setattr("npnet.networks.checkpoint.hf_hub_download", download)
    with pytest.raises(FileNotFoundError, match="someone/golden is not a folder here .* cannot find it"):
        NPNet.from_pretrained("someone/golden")


def test_push_to_hub_uploads_what_save_pretrained_writes(saved, small, tmp_path, monkeypatch):
    class Hub:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, **_):
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path, **_):
            shutil.copytree(folder_path, tmp_path / "uploaded")
            return "url"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    assert small().push_to_hub("someone/golden") == "url"
    assert same_weights(NPNet.from_pretrained(tmp_path / "uploaded"), NPNet.from_pretrained(saved))
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "uploaded" / file).read_bytes() == Path(saved / file).read_bytes()


def test_a_network_goes_to_the_hub_and_comes_back_by_the_real_client(saved, small, tmp_path, monkeypatch):
    with serving(monkeypatch, tmp_path / "cache") as repositories:
        network = small()
        network.trained_for = {"license": "mit", "datasets": ["someone/pairs"]}
        network.push_to_hub("someone/golden", token="hf_none")
        assert {"config.json", "model.safetensors", "README.md"} <= repositories["someone/golden"].keys()
        back = NPNet.from_pretrained("someone/golden")
        assert same_weights(back, NPNet.from_pretrained(saved))
        assert back.trained_for == network.trained_for
        with pytest.raises(FileNotFoundError, match="someone/silver is not a folder here and cannot be read"):
            NPNet.from_pretrained("someone/silver")


def test_a_network_for_the_same_backbone_takes_every_weight(saved, small):
    network = small(alpha_init=0.0)
    assert initialise_from(network, saved) == []
    assert same_weights(network, NPNet.from_pretrained(saved))


def test_a_network_for_another_backbone_takes_all_but_the_text_term(saved, small):
    network = small(prompt_embed_dim=20, alpha_init=0.5)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    left = initialise_from(network, saved)
    trained = NPNet.from_pretrained(saved).state_dict()
    assert left == sorted(name for name in fresh if name.startswith(("text.", "alpha")))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name in left else trained[name])


def test_a_network_that_differs_elsewhere_is_not_initialised(saved, small):
    with pytest.raises(ValueError, match="does not fit its network: missing residual.position"):
        initialise_from(small(position_map=True), saved)


def test_a_network_with_the_other_sign_convention_is_not_initialised(saved, small):
    with pytest.raises(ValueError, match="singular_vector_signs=canonical, this network has lapack"):
        initialise_from(small(singular_vector_signs="lapack"), saved)


@pytest.mark.parametrize(
    "asked",
    [
        {"trunk": {"widths": [8192] * 16}, "residual_branch": True},  # 38 GB
        {"trunk": {"img_size": 32, "embed_dim": 8192, "depths": [64] * 4, "num_heads": [64] * 4}},
        {"prompt_embed_dim": 10**6, "prompt_length": 10**6},
    ],
)
def test_a_configuration_that_asks_for_more_memory_than_its_weights_have_is_refused_unbuilt(asked, saved, monkeypatch):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **asked}))
    build, devices = NPNet.from_config.__func__, []

    def watched(cls, arguments):
        devices.append(str(torch.get_default_device()))
        return build(cls, arguments)

    monkeypatch.setattr(NPNet, "from_config", classmethod(watched))
    with pytest.raises(ValueError, match="does not fit its network"):
        NPNet.from_pretrained(saved)
    assert devices == ["meta"]


@pytest.mark.parametrize("name", ["latent_channels", "prompt_embed_dim", "prompt_length", "pooled_embed_dim"])
def test_sizes_that_no_network_has_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=1000000000: a whole number"):
        NPNet(**{name: 10**9})

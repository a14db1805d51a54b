"""Every network of conf/network, and one of somebody else, keeps the laws."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir

from npnet.errors import FieldError, UserError
from npnet.instantiate import build
from npnet.laws.network import LAWS
from npnet.networks import NoiseNetwork, NPNet, network_class
from npnet.noise import Network
from npnet.paths import config_dir
from tests.fakes import LinearBackbone, linear
from tests.networks.outsider import Mirrored, Shift
from tests.pairs import write_folder
from tests.training.runs import LIGHT, run

NAMES = sorted(path.stem for path in (config_dir() / "network").glob("*.yaml"))
SMALL = [name for name in NAMES if name.startswith("shapes")]
OUTSIDERS = {"outsider": Shift, "outsider_with_a_decomposition": Mirrored}


def made(name):
    torch.manual_seed(0)
    if name in OUTSIDERS:
        return OUTSIDERS[name]().eval()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return build(compose(overrides=[f"+network={name}"]).network, "network", NoiseNetwork).eval()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", [*SMALL, *OUTSIDERS])
def test_every_network_keeps_the_law(name, law):
    LAWS[law](made(name))


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SMALL)))
def test_every_network_of_full_size_keeps_the_law(name, law):
    LAWS[law](made(name))


class Careless(Shift):
    def forward(self, noise, prompt_embeds=None, pooled_prompt_embeds=None, prompt_mask=None):
        return noise - noise.mean() + torch.rand(1)


def test_a_network_that_breaks_laws_is_told_which():
    broken = []
    for name, law in LAWS.items():
        try:
            law(Careless().eval())
        except AssertionError as error:
            broken.append(name)
            assert str(error)
    assert "a sample does not depend on its batch" in broken
    assert "evaluation is deterministic" in broken
    assert "what does not fit is refused" in broken
    assert "training reaches weights" in broken


PLACE = "tests.networks.outsider.Shift"
OWN = ["~network", f"+network={{_target_:{PLACE}}}"]
TRAINED = ["trainer.max_epochs=2", "module.learning_rate=2e-2"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    run(
        write_folder(folder / "pairs", [40], num_prompts=8), folder / "run", *TRAINED, *OWN, small=["data.batch_size=8"]
    )
    return folder / "run" / "network"


def test_a_network_of_ones_own_is_trained_and_exported_with_its_class_on_the_card(exported):
    network = Shift.from_pretrained(exported)
    assert network.config == {"latent_channels": 4, "prompt_embed_dim": 6, "scale": 1.0}
    assert network.shift.weight.abs().max() > 0
    config = json.loads((exported / "config.json").read_text())
    assert config["network_class"] == PLACE
    card = (exported / "README.md").read_text()
    assert "from tests.networks.outsider import Shift" in card and "Shift.from_pretrained" in card
    assert "NPNet.from_pretrained" not in card


def test_it_serves_as_a_noise_method_when_the_user_names_its_class(exported, tmp_path, monkeypatch):
    backbone = linear(device="cpu")
    monkeypatch.setattr(LinearBackbone, "embed_dims", lambda self: {"prompt_embed_dim": 6})
    conditioning = backbone.encode(["a"])
    conditioning = replace(conditioning, prompt_embeds=conditioning.prompt_embeds[..., :6])
    method = Network(network_path=str(exported), network=PLACE).load(backbone)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    golden = method(noise, conditioning, backbone, [torch.Generator()]).noise
    with torch.no_grad():
        assert torch.equal(golden, Shift.from_pretrained(exported)(noise, conditioning.prompt_embeds))


def test_what_a_folder_says_of_its_class_is_never_followed(exported, tmp_path):
    message = rf"was exported by {PLACE}, not by .*NPNet: name its class, .*noise.npnet.network={PLACE}"
    with pytest.raises(ValueError, match=message):
        NPNet.from_pretrained(exported)
    for asked in (lambda method: method.load(linear(device="cpu")), lambda method: method.check()):  # a dry run too
        with pytest.raises(UserError, match=message) as caught:
            asked(Network(network_path=str(exported)))
    assert "\n" not in str(caught.value) and "the network of this run" not in str(caught.value)
    for name in ("antigravity.Module", "os.system\n\x1b[31m", 5):
        made("outsider").save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "network_class": name}))
        for asked in (NPNet.from_pretrained, lambda path: Network(network_path=str(path)).check()):
            with pytest.raises(
                (ValueError, UserError), match="exported by antigravity.Module, not by|is of another network"
            ) as caught:
                asked(tmp_path)
            assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.Net", "network=nowhere.Net: cannot be imported"),
        ("tests.networks.outsider.Nothing", "cannot be imported"),
        ("tests.networks.outsider.NotANetwork", "is not a network: a subclass of npnet.networks.NoiseNetwork"),
        ("os.system", "is not a network"),
        ("Net", "a class is needed, such as my_pkg.MyNet"),
    ],
)
def test_a_class_that_is_none_is_one_line(place, message):
    with pytest.raises(FieldError, match=message):
        network_class(place)


def test_unknown_options_of_loading_are_refused_and_the_dtype_is_the_asked_one(tmp_path):
    made("shapes_no_residual").save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="from_pretrained has no option 'foo'; allowed: torch_dtype, .*text_term"):
        NPNet.from_pretrained(tmp_path, foo=3)
    with pytest.raises(TypeError, match="no option 'text_term'"):
        Mirrored.from_pretrained(tmp_path, text_term="off")
    half = NPNet.from_pretrained(tmp_path, torch_dtype=torch.float16)
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.float16}


def test_files_are_readable_to_whom_the_umask_allows(tmp_path):
    made("outsider").save_pretrained(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()} == {0o644}


def test_the_run_folder_its_checkpoints_and_a_checkpoint_name_the_network(exported):
    for place in (exported.parent, exported.parent / "checkpoints", exported.parent / "checkpoints" / "last.ckpt"):
        with pytest.raises((ValueError, FileNotFoundError), match=f"the network of this run is {exported}"):
            Shift.from_pretrained(place)


def test_a_text_term_that_is_dropped_is_said(tmp_path, capsys):
    pairs = write_folder(tmp_path / "pairs", [20], num_prompts=8)
    run(pairs, tmp_path / "with", "trainer.max_epochs=1", small=LIGHT)
    start = [f"init_from={tmp_path}/with/network", "network.text_term='off'"]
    run(pairs, tmp_path / "without", "trainer.max_epochs=1", *start, small=LIGHT)
    assert "without its text term, which this network does not have" in capsys.readouterr().out
    assert "without its text term" in (tmp_path / "without" / "network" / "README.md").read_text()

"""Laws of the spaces of features: what they read, and that they load what is published."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from npnet.errors import UserError
from npnet.instantiate import build
from npnet.metrics import CLIPScore
from npnet.metrics.diversity import distances, from_text, to_texts
from npnet.metrics.runtime.features import IMAGENET_MEAN, IMAGENET_STD
from npnet.metrics.shapes_positions import ShapesPositions
from npnet.metrics.spaces import CLIPImages, DINOv2, FeatureSpace, Pixels, load_spaces
from npnet.paths import config_dir
from npnet.shapes.grammar import scenes
from npnet.shapes.scenes import draw
from tests.metrics import tiny

NAMES = sorted(path.stem for path in (config_dir() / "diversity").glob("*.yaml"))
DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@pytest.fixture(scope="module")
def spaces(tmp_path_factory):
    """Every space of ``conf/diversity``, with tiny models of random weights."""
    folder = tmp_path_factory.mktemp("spaces")
    tiny.write_clip(folder / "clip")
    tiny.mark(folder / "dino")
    state = tiny.spread(Dinov2Model(Dinov2Config(**DINO)).state_dict(), 3)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "dino" / "model.safetensors")
    (folder / "dino" / "config.json").write_text(json.dumps(DINO))
    found = {
        "clip": CLIPImages(str(folder / "clip")),
        "dinov2": DINOv2(str(folder / "dino")),
        "pixels": Pixels(),
        "shapes_positions": ShapesPositions(),
    }
    assert list(found) == NAMES
    return load_spaces(found, "cpu")


@pytest.fixture(scope="module")
def drawn():
    told = scenes()[::97][:4]
    return draw(told, torch.Generator().manual_seed(0)), [scene.text() for scene in told]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_read_by_itself_and_the_same_picture_the_same_way(spaces, drawn, name):
    images, prompts = drawn
    with torch.no_grad():
        together = spaces[name].features(images, prompts)
        alone = torch.cat([spaces[name].features(images[i : i + 1], prompts[i : i + 1]) for i in range(len(images))])
    assert together.shape[0] == len(images)
    assert together.isfinite().all()
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)
    assert (distances(together) + torch.eye(4) > 1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_space_is_what_its_file_builds(name):
    import yaml

    (label, node), *rest = yaml.safe_load((config_dir() / "diversity" / f"{name}.yaml").read_text()).items()
    space = build(node, label, FeatureSpace)
    assert (label, rest) == (name, [])
    space.check()
    assert space.has_weights == hasattr(space, "path")


@pytest.mark.parametrize("kind", [CLIPImages, DINOv2])
def test_a_model_that_is_not_there_is_refused_before_anything_is_loaded(kind):
    with pytest.raises(UserError, match=r"path=.*no such file or folder"):
        kind(path="/nowhere").check()


def test_dinov2_is_the_class_token_that_transformers_gives(spaces):
    model = Dinov2Model.from_pretrained(spaces["dinov2"].space.path).eval()
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = model(pixel_values=(image - mean) / std).last_hidden_state[:, 0]
        found = spaces["dinov2"].features(image, ["a"])
    torch.testing.assert_close(found, expected / expected.norm(), atol=1e-5, rtol=1e-4)
    assert spaces["dinov2"].space.is_smoke()


def test_clip_is_the_picture_half_of_clipscore_and_one_model_with_it(spaces, drawn):
    scorer = CLIPScore(path=spaces["clip"].space.path, weight=1.0).load("cpu")
    images, prompts = drawn
    with torch.no_grad():
        pictures, texts = spaces["clip"].features(images, prompts), scorer.trunk.embed_texts(prompts, set())
    torch.testing.assert_close((pictures * texts).sum(1).clamp(min=0), scorer.score(images, prompts))
    assert spaces["clip"].trunk is scorer.trunk


@pytest.mark.parametrize("size", [(16, 16), (32, 64), (48, 32)])
def test_two_plain_pictures_are_as_far_apart_as_their_colours(spaces, size):
    plain = torch.tensor([0.2, 0.9]).view(2, 1, 1, 1).expand(2, 3, *size)
    assert distances(spaces["pixels"].features(plain, ["", ""]))[0, 1].item() == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("name", ["clip", "dinov2", "pixels"])
def test_gradients_flow_to_the_picture(spaces, drawn, name):
    images = drawn[0][:1].clone().requires_grad_()
    spaces[name].features(images, drawn[1][:1])[0, 0].backward()
    assert images.grad.abs().sum() > 0


def test_positions_are_of_right_pictures_alone(spaces, drawn):
    images, prompts = drawn
    found = spaces["shapes_positions"].features(images, [prompts[0], *prompts[:3]])
    assert found[0].isfinite().all()
    assert found[1:].isnan().all()


def test_features_are_kept_to_half_precision_and_none_as_an_empty_text():
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    features[1, 2] = float("nan")
    texts = to_texts(features)
    assert texts[1] == "" and from_text("") is None
    for row in (0, 2):
        torch.testing.assert_close(from_text(texts[row]).float(), features[row], rtol=2**-11, atol=1e-6)
        assert to_texts(from_text(texts[row])[None]) == [texts[row]]

"""The geometry of each way to fit a picture, against the authors' libraries."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from npnet.metrics.runtime.pixels import CLIP_MEAN, CLIP_STD, Preprocess, to_tensor
from tests.metrics import plain

SIZES = [(224, 224), (300, 200), (201, 300), (97, 101), (640, 224), (32, 32), (224, 112), (1024, 683)]


def photo(size, seed=0):
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (size[1] // 4 + 2, size[0] // 4 + 2, 3), dtype=np.uint8))
    return rough.resize(size, Image.BICUBIC)


@pytest.mark.parametrize("size", SIZES)
def test_crop_is_what_openai_and_imagereward_do(size):
    theirs = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    picture = photo(size)
    torch.testing.assert_close(Preprocess().pil([picture])[0], theirs(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_crop_with_floor_is_what_the_processors_of_transformers_do(size):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    theirs = CLIPImageProcessorPil(image_mean=CLIP_MEAN, image_std=CLIP_STD, resample=Image.BICUBIC)
    picture = photo(size)
    expected = torch.as_tensor(np.asarray(theirs(picture)["pixel_values"][0]))
    torch.testing.assert_close(Preprocess(middle="floor").pil([picture])[0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_pad_is_what_hpsv2_does_from_pil_and_from_tensors(size):
    own = Preprocess(fit="pad", eight_bit=False)
    picture = photo(size)
    expected = plain.longest_side_pixels(picture, 224).float()
    torch.testing.assert_close(own.pil([picture])[0], expected, rtol=0, atol=2e-6)
    assert torch.equal(own.tensor(to_tensor(picture)[None]), own.pil([picture]))


@pytest.mark.parametrize("size", SIZES)
def test_square_surrounds_with_the_mean_colour(size):
    own = Preprocess(size=336, fit="square", middle="floor")
    picture = photo(size)
    torch.testing.assert_close(own.pil([picture])[0], plain.square_pixels(picture, 336).float(), rtol=0, atol=2e-6)
    if size[0] > size[1]:
        corner = torch.tensor([int(mean * 255) / 255 for mean in CLIP_MEAN]) - torch.tensor(CLIP_MEAN)
        torch.testing.assert_close(own.pil([picture])[0][:, 0, 0], corner / torch.tensor(CLIP_STD), rtol=0, atol=1e-5)


@pytest.mark.parametrize("fit", ["crop", "pad", "square"])
@pytest.mark.parametrize("size", SIZES)
def test_tensors_and_pil_differ_by_rounding_alone(fit, size):
    own = Preprocess(fit=fit, eight_bit=fit != "pad")
    picture = photo(size)
    gap = (own.tensor(to_tensor(picture)[None]) - own.pil([picture])).abs() * torch.tensor(CLIP_STD)[:, None, None]
    assert gap.max() <= 1.2 / 255
    assert gap.mean() <= 0.35 / 255


def test_a_padded_picture_is_not_a_cropped_one():
    wide = photo((400, 200))
    padded, cropped = Preprocess(fit="pad", eight_bit=False).pil([wide]), Preprocess().pil([wide])
    black = -torch.tensor(CLIP_MEAN) / torch.tensor(CLIP_STD)
    torch.testing.assert_close(padded[0, :, 0, 0], black)
    assert (padded - cropped).abs().mean() > 0.3


def test_resizing_without_antialiasing_is_another_picture():
    picture = to_tensor(photo((500, 500)))[None]
    smooth, rough = (Preprocess(fit="pad", eight_bit=False, antialias=value).tensor(picture) for value in (True, False))
    assert (smooth - rough).abs().max() > 0.05


def test_half_precision_pictures_are_resized_in_float32():
    picture = to_tensor(photo((60, 40)))[None]
    out = Preprocess(size=32).tensor(picture.half())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, Preprocess(size=32).tensor(picture), rtol=0, atol=0.02)


def test_gradients_reach_every_pixel_that_is_seen():
    picture = torch.full((1, 3, 40, 40), 0.5, requires_grad=True)
    Preprocess(size=32).tensor(picture).square().sum().backward()
    assert (picture.grad.abs() > 0).all()

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from safetensors.torch import save_file

from npnet.errors import UserError
from npnet.metrics import fid
from npnet.metrics.runtime.inception import Inception, load_inception
from tests.commands import exit_code


def plain_distance(a, b):
    """The published formula, by the root of the product of the covariances."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)


def test_the_distance_is_the_published_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(400, 48)), rng.normal(size=(300, 48)) @ rng.normal(size=(48, 48)) * 0.3 + 0.2
    assert fid.frechet_distance(a, b) == pytest.approx(plain_distance(a, b), rel=1e-9)


def test_of_one_number_it_is_the_difference_of_means_and_deviations():
    rng = np.random.default_rng(1)
    a, b = rng.normal(3, 2, size=(50_000, 1)), rng.normal(1, 0.5, size=(50_000, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_set_is_at_no_distance_from_itself_even_without_full_rank():
    features = np.random.default_rng(2).normal(size=(20, 64))
    assert fid.frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert fid.frechet_distance(features, features + 1) == pytest.approx(64, abs=1e-6)


def test_it_is_symmetric_and_grows_with_the_shift():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(200, 16)), rng.normal(size=(150, 16))
    assert fid.frechet_distance(a, b) == pytest.approx(fid.frechet_distance(b, a), rel=1e-9)
    assert fid.frechet_distance(a, b + 3) > fid.frechet_distance(a, b + 1) > fid.frechet_distance(a, b)


def test_sets_that_do_not_fit_are_refused():
    for a, b in (((5, 4), (5, 3)), ((1, 4), (5, 4)), ((5,), (5,))):
        with pytest.raises(ValueError, match="two sets"):
            fid.frechet_distance(np.zeros(a), np.zeros(b))


def test_resizing_is_floating_point_and_by_channel():
    rng = np.random.default_rng(4)
    picture = Image.fromarray(rng.integers(0, 256, (180, 240, 3), dtype=np.uint8))
    resized = fid.resize(picture)
    assert resized.shape == (3, 299, 299)
    assert resized.dtype == np.float32
    assert 0 <= resized.min() <= resized.max() <= 255
    assert (resized != resized.round()).mean() > 0.9, "not rounded to 8 bits"
    green = Image.fromarray(np.asarray(picture, np.float32)[:, :, 1]).resize((299, 299), Image.BICUBIC)
    assert np.array_equal(resized[1], np.asarray(green).clip(0, 255))


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    torch.manual_seed(0)
    body = Inception().body
    for name, buffer in body.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    counts = "num_batches_tracked"  # pytorch-fid's file may leave these out
    save_file({name: v.contiguous() for name, v in body.state_dict().items() if not name.endswith(counts)}, path)
    return path, body.eval()


def test_inception_pools_as_the_original_graph_does(inception):
    """Torchvision's blocks with the three differences written out, on the same weights."""
    path, body = inception
    network = load_inception(path)
    pixels = torch.rand(1, 3, 299, 299) * 255

    def block(name, x):
        part = getattr(body, name)
        out = part(x)
        if not hasattr(part, "branch_pool"):
            return out
        if name == "Mixed_7c":
            pooled = torch.nn.functional.max_pool2d(x, 3, 1, 1)
        else:
            ones = torch.nn.functional.avg_pool2d(torch.ones_like(x[:1, :1]), 3, 1, 1)
            pooled = torch.nn.functional.avg_pool2d(x, 3, 1, 1) / ones  # the padding does not count
        own = part.branch_pool(pooled)
        return torch.cat([out[:, : out.shape[1] - own.shape[1]], own], 1)

    x = pixels / 128 - 1
    with torch.no_grad():
        for name, _ in body.named_children():
            if name == "avgpool":
                break
            x = block(name, x)
        expected = x.mean((2, 3))
        torch.testing.assert_close(network(pixels), expected, rtol=1e-4, atol=1e-5)
    assert expected.shape == (1, 2048)


def test_folders_are_compared_end_to_end(inception, tmp_path, capsys):
    rng = np.random.default_rng(5)
    for folder, offset in (("a", 0), ("b", 60)):
        (tmp_path / folder).mkdir()
        for i in range(3):
            pixels = rng.integers(0, 196, (40, 50, 3)).astype(np.uint8) + offset
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / f"{i}.png")
    path, _ = inception
    network = load_inception(path)
    sets = [fid.features_of([Image.open(p) for p in sorted((tmp_path / f).iterdir())], network) for f in "ab"]
    assert exit_code(fid.main, str(tmp_path / "a"), str(tmp_path / "b"), "--weights", str(path)) == 0
    printed = float(capsys.readouterr().out.split()[1])
    assert math.isclose(printed, fid.frechet_distance(*sets), abs_tol=1e-3)
    for arguments in ((str(tmp_path / "nowhere"), str(path)), (str(tmp_path / "b"), str(tmp_path / "no.safetensors"))):
        assert exit_code(fid.main, str(tmp_path / "a"), arguments[0], "--weights", arguments[1]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_what_images_reads_is_compared_and_hidden_files_are_not(inception, tmp_path, caplog):
    rng = np.random.default_rng(8)
    for number in range(3):
        folder = tmp_path / "a" / f"{number:05d}"
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text('{"prompt": "x"}')
        pixels = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(pixels).save(folder / "samples" / "0.png", exif=exif)
        (folder / "grid.png").write_bytes(b"no picture")
        (tmp_path / "b").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "b" / f"{number}.tif")
        (tmp_path / "b" / f"._{number}.png").write_bytes(b"no picture")
    assert fid.fid_of_folders(tmp_path / "a", tmp_path / "b", inception[0]) == pytest.approx(0, abs=1e-3)
    assert "3 pictures with an EXIF rotation" in caplog.text


def test_too_few_pictures_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least two"):
        fid.fid_of_folders(tmp_path, tmp_path, "x.safetensors")

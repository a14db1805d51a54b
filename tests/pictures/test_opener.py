import io
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image

from npnet.errors import UserError
from npnet.generation.making import facts_of
from npnet.pictures import opener
from npnet.pictures.opener import open_picture, picture_files, read_header, read_text

LEVELS = np.arange(256).reshape(16, 16)


def levels(path):
    picture = open_picture(path, "images: x")
    assert picture.mode == "RGB"
    return np.asarray(picture)[..., 0]


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_all_256_levels_of_a_gray_picture_with_16_bits_are_kept(tmp_path, name):
    pixels = (LEVELS * 257).astype(np.uint16)
    if name.endswith("pgm"):
        (tmp_path / name).write_bytes(b"P5 16 16 65535\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels).save(tmp_path / name)
    assert np.array_equal(levels(tmp_path / name), LEVELS)


@pytest.mark.parametrize("most", [1.0, 255.0])
def test_floating_values_are_of_0_to_1_or_of_0_to_255(tmp_path, most):
    Image.fromarray((LEVELS / 255 * most).astype(np.float32)).save(tmp_path / "x.tif")
    assert np.array_equal(levels(tmp_path / "x.tif"), LEVELS)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((2, 2), np.nan, np.float32), "floating values"),
        (np.full((2, 2), -0.5, np.float32), "floating values"),
        (np.full((2, 2), 1000.0, np.float32), "floating values"),
        (np.full((2, 2), 70_000, np.int32), "whole numbers of 32 bits"),
    ],
)
def test_values_without_a_known_range_are_refused(tmp_path, pixels, reason):
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=f"images: x: cannot be read as a picture: holds {reason}"):
        open_picture(tmp_path / "x.tif", "images: x")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_eight_bit_pictures_are_what_pil_makes_of_them(tmp_path, mode):
    made = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)).convert(mode)
    name = "x.jpg" if mode in ("CMYK", "YCbCr") else "x.png"
    made.save(tmp_path / name)
    with Image.open(tmp_path / name) as expected:
        assert np.array_equal(np.asarray(open_picture(tmp_path / name, "")), np.asarray(expected.convert("RGB")))


def rotated(path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture = Image.new("RGB", (8, 4), "red")
    picture.paste("blue", (0, 0, 4, 4))
    picture.save(path, exif=exif)
    return path


def test_a_rotation_is_applied_where_it_is_asked_for_and_told_of_elsewhere(tmp_path):
    path = rotated(tmp_path / "x.png")
    assert open_picture(path, "").size == (8, 4)
    upright = open_picture(path, "", upright=True)
    assert upright.size == (4, 8)
    assert upright.getpixel((0, 0)) == (0, 0, 255)
    assert read_header(path, "") == opener.Header((8, 4), is_rotated=True)
    Image.new("RGB", (8, 4)).save(tmp_path / "y.png")
    assert not read_header(tmp_path / "y.png", "").is_rotated
    assert "1 picture with an EXIF rotation" in (opener.rotation_note(1) or "")
    assert opener.rotation_note(0) is None


def test_a_picture_that_unpacks_to_too_much_is_refused_in_one_line_from_its_header(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        Image.new("1", (20_000, 20_000)).save(tmp_path / "x.png")
    for read in (read_header, open_picture, lambda path, where: read_text(path, where, "npnet")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserError, match="images: x: .*pixels") as caught:
                read(tmp_path / "x.png", "images: x")
        assert "\n" not in str(caught.value)
    assert facts_of(tmp_path / "x.png") is None


def damaged(name):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_a_cut_or_scrambled_file_is_one_line(tmp_path, kind):
    data = damaged(kind)
    rng = np.random.default_rng(0)
    for number in range(30):
        scrambled = bytearray(data[: len(data) // 2 if number < 3 else None])
        for place in rng.integers(0, min(len(scrambled), 400), 12):
            scrambled[place] = rng.integers(256)
        (tmp_path / "x.png").write_bytes(scrambled)
        for read in (read_header, open_picture):
            try:
                read(tmp_path / "x.png", "images: x")
            except UserError as error:
                assert str(error).startswith("images: x: ")
                assert "\n" not in str(error)


@pytest.mark.parametrize("data", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"no picture"])
def test_what_is_no_picture_starts_no_other_program(tmp_path, data):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read as a picture"):
        open_picture(tmp_path / "x.png", "images: x")
    with pytest.raises(UserError, match="images: y: no such file"):
        open_picture(tmp_path / "y.png", "images: y")


def test_hidden_files_and_folders_are_no_pictures(tmp_path):
    for name in ("10.png", "2.png", "._2.png", ".ipynb_checkpoints/2-checkpoint.png", "a/3.PNG", "a/.b/4.png", "x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name, "png")
    (tmp_path / "folder.png").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in picture_files(tmp_path)] == ["2.png", "10.png", "a/3.PNG"]


def test_a_folder_that_lies_in_a_hidden_one_is_read(tmp_path):
    (tmp_path / ".cache").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / ".cache" / "1.png")
    assert len(picture_files(tmp_path / ".cache")) == 1

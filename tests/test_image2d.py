"""Plain 2D images become volumes of one slice."""

import numpy as np
import pytest
from PIL import Image

from medgan.errors import MedganError
from medgan.volume import image2d

GREY = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7) * 7  # 5 rows, 7 columns


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_columns_are_i_and_rows_are_j(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"x.{suffix}")
    volume = image2d.read(tmp_path / f"x.{suffix}")
    assert volume.data.shape == (1, 7, 5, 1)
    np.testing.assert_array_equal(volume.data[0, :, :, 0], GREY.T)
    np.testing.assert_array_equal(volume.affine, np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert volume.data.dtype == np.uint8


def test_jpeg_is_read_within_its_loss(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 32), (24, 1)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "x.jpg", quality=95)
    found = image2d.read(tmp_path / "x.jpg").data[0, :, :, 0]
    assert np.abs(found.astype(int) - smooth.T).max() <= 3


def test_sixteen_bits_and_one_bit_keep_their_values(tmp_path):
    deep = GREY.astype(np.uint16) * 250
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(image2d.read(tmp_path / "deep.png").data[0, :, :, 0], deep.T)
    Image.fromarray(GREY > 100).save(tmp_path / "mask.png")
    mask = image2d.read(tmp_path / "mask.png").data
    np.testing.assert_array_equal(mask[0, :, :, 0], (GREY > 100).T)
    assert mask.dtype == np.uint8


def test_colour_with_equal_channels_is_grey(tmp_path):
    Image.fromarray(np.stack([GREY] * 3, axis=-1)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(image2d.read(tmp_path / "x.png").data[0, :, :, 0], GREY.T)


def test_colour_is_refused(tmp_path):
    Image.fromarray(np.stack([GREY, GREY, GREY + 1], axis=-1)).save(tmp_path / "x.png")
    with pytest.raises(MedganError, match=r"x.png must be grey, but is a colour image \(RGB\)"):
        image2d.read(tmp_path / "x.png")


def test_several_pages_are_refused(tmp_path):
    pages = [Image.fromarray(GREY)] * 3
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(MedganError, match=r"x.tif must be one 2D image, but has 3 pages"):
        image2d.read(tmp_path / "x.tif")


def test_too_many_pixels_are_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png")
    with pytest.raises(MedganError, match=r"at most 34 voxels.*7x5x1"):
        image2d.read(tmp_path / "x.png", max_voxels=34)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("jpg", {}),
        ("jpg", {"progressive": True}),
        ("bmp", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("tif", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_every_truncation_is_refused(tmp_path, suffix, options, capfd):
    # up to the last bytes, which hold no pixels: a PNG's end chunk, a JPEG's end marker, padding, a TIFF's directory
    Image.fromarray(GREY).save(tmp_path / f"x.{suffix}", **options)
    data = (tmp_path / f"x.{suffix}").read_bytes()
    for length in range(len(data)):
        (tmp_path / f"cut.{suffix}").write_bytes(data[:length])
        with pytest.raises(MedganError, match=f"cut.{suffix} is truncated, damaged or not an image"):
            image2d.read(tmp_path / f"cut.{suffix}")
    assert capfd.readouterr().err == ""


def test_what_follows_the_end_of_a_png_or_jpeg_is_passed_over(tmp_path):
    for name in ("x.png", "x.jpg"):
        Image.fromarray(GREY).save(tmp_path / name)
        before = image2d.read(tmp_path / name).data
        with (tmp_path / name).open("ab") as file:
            file.write(b"a camera's own notes")
        np.testing.assert_array_equal(image2d.read(tmp_path / name).data, before)


def test_a_flipped_bit_of_a_png_is_seen_by_its_checksum(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    data[-25] ^= 1
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(MedganError, match=r"x.png is truncated, damaged"):
        image2d.read(tmp_path / "x.png")


def test_another_format_under_the_name_is_refused_and_not_run(tmp_path):
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(MedganError, match=r"x.png is truncated, damaged or not an image of its kind"):
        image2d.read(tmp_path / "x.png")
    Image.fromarray(GREY).save(tmp_path / "x.gif")
    (tmp_path / "x.gif").rename(tmp_path / "y.png")
    with pytest.raises(MedganError, match=r"y.png is .* not an image of its kind"):
        image2d.read(tmp_path / "y.png")

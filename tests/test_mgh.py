"""FreeSurfer files: as nibabel reads them, and nothing damaged passes."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.volume import mgh


@pytest.fixture
def plain(tmp_path):
    volume = box_volume(affine=oblique_affine(left_handed=True))
    nib.save(nib.MGHImage(volume.data[0], volume.affine), tmp_path / "x.mgh")
    return tmp_path / "x.mgh"


@pytest.mark.parametrize("suffix", ["mgh", "mgz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_values_and_geometry_are_read(tmp_path, suffix, dtype):
    volume = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    nib.save(nib.MGHImage(volume.data[0].astype(dtype), volume.affine), tmp_path / f"x.{suffix}")
    again = mgh.read(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(again.data, volume.data)
    assert again.data.dtype == dtype
    data = (tmp_path / f"x.{suffix}").read_bytes()
    by_nibabel = nib.MGHImage.from_bytes(gzip.decompress(data) if suffix == "mgz" else data)
    np.testing.assert_allclose(again.affine, by_nibabel.affine, atol=1e-9)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)


def test_what_follows_the_voxels_is_passed_over(plain):
    plain.write_bytes(plain.read_bytes() + b"mri_convert DOE^JANE" * 9)
    assert mgh.read(plain).shape == (12, 10, 8)


@pytest.mark.parametrize(
    ("offset", "layout", "values", "message"),
    [
        (0, "i", (2,), "not a FreeSurfer MGH file"),
        (4, "i", (-12,), r"sizes must be positive, found \(-12, 10, 8, 1\)"),
        (4, "3i", (30000, 30000, 30000), "at most 536,870,912 voxels"),
        (4, "i", (13,), "truncated.*calls for"),
        (16, "i", (2,), r"one 3D volume, but has the 4D shape \(12, 10, 8, 2\)"),
        (20, "i", (5,), "data type, code 5"),
        (28, "h", (0,), "records no orientation"),
        (30, "f", (0.0,), "unusable geometry"),
        (42, "f", (float("nan"),), "geometry must be finite"),
    ],
)
def test_a_damaged_or_unsuitable_header_is_refused(plain, offset, layout, values, message):
    data = bytearray(plain.read_bytes())
    struct.pack_into(">" + layout, data, offset, *values)
    plain.write_bytes(data)
    with pytest.raises(MedganError, match=message) as caught:
        mgh.read(plain)
    assert str(plain) in str(caught.value)


def test_every_truncation_is_refused(plain):
    data = plain.read_bytes()[: 284 + 12 * 10 * 8 * 4]  # scan parameters follow the voxels
    compressed = gzip.compress(data)
    for whole in (data, compressed):
        for length in range(0, len(whole), len(whole) // 30):
            plain.write_bytes(whole[:length])
            with pytest.raises(MedganError, match=r"x.mgh is (truncated|empty|not a FreeSurfer)"):
                mgh.read(plain)


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 3e38, -3e38, 1e6])
def test_hostile_numbers_are_refused_and_warn_of_nothing(plain, number):
    intact = plain.read_bytes()
    for place in range(30, 90, 4):
        data = bytearray(intact)
        struct.pack_into(">f", data, place, number)
        plain.write_bytes(data)
        with pytest.raises(MedganError, match=r"x\.mgh has .*(geometry must be finite|no scanner has this)"):
            mgh.read(plain)

"""NIfTI: geometry and values survive, damage does not pass."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from phantoms import affines, box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.volume import nifti
from medgan.volume.volume import same_grid


def patched(path, offset, layout, *values):
    """Overwrite raw header fields of an uncompressed file."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + layout, data, offset, *values)
    path.write_bytes(data)
    return path


@pytest.fixture
def plain(tmp_path):
    nifti.write(box_volume(affine=oblique_affine()), tmp_path / "ct.nii")
    return tmp_path / "ct.nii"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines())
def test_any_geometry_comes_back(tmp_path, affine):
    volume = box_volume((5, 4, 3), affine)
    nifti.write(volume, tmp_path / "ct.nii.gz")
    again = nifti.read(tmp_path / "ct.nii.gz")
    assert same_grid(volume, again, tolerance_mm=1e-3)
    np.testing.assert_array_equal(again.data, volume.data)


def test_a_shear_comes_back(tmp_path):
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    affine[1, 2] = 0.4
    nifti.write(box_volume(affine=affine), tmp_path / "ct.nii")
    np.testing.assert_allclose(nifti.read(tmp_path / "ct.nii").affine, affine, atol=1e-6)
    header = nib.load(tmp_path / "ct.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)


def test_nibabel_reads_what_is_written(tmp_path):
    volume = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    nifti.write(volume, tmp_path / "label.nii.gz", extension='{"heart": 3}')
    image = nib.load(tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.data[0])
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
    np.testing.assert_allclose(image.header.get_qform(), volume.affine, atol=1e-4)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    (extension,) = image.header.extensions
    assert (extension.get_code(), extension.text.rstrip("\0")) == (6, '{"heart": 3}')
    np.testing.assert_array_equal(nifti.read(tmp_path / "label.nii.gz").data, volume.data)


def test_equal_volumes_give_equal_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write(box_volume(), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["gzip named.nii", "plain named.nii.gz"])
def test_content_decides_whether_a_file_is_compressed(tmp_path, name):
    nifti.write(box_volume(), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(gzip.decompress(data) if name.endswith("gz") else gzip.compress(data))
    np.testing.assert_array_equal(nifti.read(tmp_path / name).data, box_volume().data)


def test_values_are_scaled(tmp_path):
    nifti.write(box_volume(labels=True), tmp_path / "x.nii")
    patched(tmp_path / "x.nii", 112, "ff", 0.5, -1024.0)
    again = nifti.read(tmp_path / "x.nii").data
    np.testing.assert_array_equal(again, box_volume(labels=True).data * np.float32(0.5) - 1024)
    assert again.dtype == np.float32


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_a_slope_of_zero_or_nan_means_no_scaling(tmp_path, slope):
    nifti.write(box_volume(labels=True), tmp_path / "x.nii")
    patched(tmp_path / "x.nii", 112, "ff", slope, 500.0)
    np.testing.assert_array_equal(nifti.read(tmp_path / "x.nii").data, box_volume(labels=True).data)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1.0), (1, 1000.0), (3, 0.001)])
def test_units_become_millimetres(plain, unit, factor):
    spacing = nifti.read(patched(plain, 123, "B", unit)).spacing_mm
    assert spacing == pytest.approx([factor * s for s in (1.5, 2.0, 3.0)], rel=1e-5)


def test_without_sform_the_qform_decides(plain):
    volume = nifti.read(patched(plain, 254, "h", 0))
    assert same_grid(volume, box_volume(affine=oblique_affine()), tolerance_mm=1e-3)


def test_forms_with_equal_codes_that_disagree_are_refused(plain):
    with pytest.raises(MedganError, match=r"ct.nii: qform and sform disagree.*\(-31.0.*\(-21.0"):
        nifti.read(patched(plain, 280 + 12, "f", -21.0))


def test_forms_with_different_codes_may_differ_and_the_sform_is_used(plain):
    patched(plain, 280 + 12, "f", -21.0)
    with pytest.warns(UserWarning, match="qform and sform differ, and the sform is used"):
        volume = nifti.read(patched(plain, 254, "h", 4))
    assert volume.affine[0, 3] == -21.0


def test_bytes_behind_the_last_voxel_are_told(plain):
    plain.write_bytes(plain.read_bytes() + b"\0" * 5)
    with pytest.warns(UserWarning, match="ct.nii: 5 bytes follow the last voxel"):
        nifti.read(plain)


@pytest.mark.parametrize(
    ("offset", "layout", "values", "message"),
    [
        (40, "5h", (4, 12, 10, 4, 2), r"one 3D volume.* \(12, 10, 4, 2\)"),
        (40, "4h", (3, 12, -10, 8), "dim must give"),
        (42, "3h", (30000, 30000, 30000), "at most 536,870,912 voxels.*30000x30000x30000"),
        (42, "h", (13,), "truncated.*4,512 bytes, found 4,192"),
        (70, "h", (128,), "RGB colour"),
        (70, "h", (32,), "complex"),
        (72, "h", (8,), "bitpix says 8"),
        (108, "f", (100.0,), "voxel offset must be .* 352, found 100"),
        (108, "f", (float("nan"),), "voxel offset"),
        (112, "ff", (1.0, float("inf")), "scl_slope"),
        (123, "B", (5,), "unit"),
        (252, "hh", (0, 0), "records no orientation"),
        (252, "hhfff", (1, 0, 0.9, 0.9, 0.9), "not a rotation"),
        (76, "4f", (1, 1.5, 0.0, 3), r"pixdim \(voxel spacing\).*\(1.5, 0.0, 3.0\)"),
        (296, "f", (float("nan"),), "sform.*finite"),
        (280, "12f", (0.0,) * 12, "disagree|geometry"),
        (344, "4s", (b"zzz\0",), "not a NIfTI"),
        (344, "4s", (b"ni1\0",), "pair"),
    ],
)
def test_a_damaged_or_unsuitable_header_is_refused(plain, offset, layout, values, message):
    with pytest.raises(MedganError, match=message) as caught:
        nifti.read(patched(plain, offset, layout, *values))
    assert str(plain) in str(caught.value)


def test_every_truncation_of_a_compressed_file_is_refused(tmp_path):
    nifti.write(box_volume(), tmp_path / "ct.nii.gz")
    data = (tmp_path / "ct.nii.gz").read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut.nii.gz").write_bytes(data[:length])
        with pytest.raises(MedganError, match=r"cut.nii.gz .*(truncated|empty|not a NIfTI)"):
            nifti.read(tmp_path / "cut.nii.gz")


def test_one_flipped_bit_of_a_compressed_voxel_is_seen_by_the_checksum(plain):
    stored = bytearray(gzip.compress(plain.read_bytes(), compresslevel=0))
    stored[-100] ^= 1
    plain.write_bytes(stored)
    with pytest.raises(MedganError, match=r"ct.nii is truncated or corrupt \(CRC"):
        nifti.read(plain)


def test_a_compressed_file_too_small_for_its_claim_is_refused_before_reading(tmp_path):
    nifti.write(box_volume(), tmp_path / "x.nii")
    patched(tmp_path / "x.nii", 42, "3h", 800, 800, 800)
    small = gzip.compress((tmp_path / "x.nii").read_bytes()[:400])
    (tmp_path / "x.nii.gz").write_bytes(small)
    with pytest.raises(MedganError, match=r"calls for 2,048,000,352 bytes, found .* compressed bytes"):
        nifti.read(tmp_path / "x.nii.gz")


def test_the_size_limit_can_be_raised(plain):
    with pytest.raises(MedganError, match=r"at most 959 voxels.*larger max_voxels"):
        nifti.read(plain, max_voxels=959)
    assert nifti.read(plain, max_voxels=960).shape == (12, 10, 8)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "ct.nii").write_text("old")
    with pytest.raises(AttributeError):
        nifti.write(box_volume(), tmp_path / "ct.nii", extension=3)
    assert [p.name for p in tmp_path.iterdir()] == ["ct.nii"]
    assert (tmp_path / "ct.nii").read_text() == "old"

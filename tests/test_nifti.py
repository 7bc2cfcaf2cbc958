"""NIfTI: geometry and values survive, damage does not pass."""

import gzip
import os
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from phantoms import affines, box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.volume import nifti
from medgan.volume.volume import Volume, same_grid


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
def test_units_become_millimetres(tmp_path, unit, factor):
    nifti.write(box_volume(), tmp_path / "ct.nii")
    spacing = nifti.read(patched(tmp_path / "ct.nii", 123, "B", unit)).spacing_mm
    assert spacing == pytest.approx([factor * s for s in (1.5, 2.0, 3.0)], rel=1e-5)


def test_forms_in_micrometres_are_compared_by_their_voxels(plain):
    patched(plain, 280 + 12, "f", -21.0)  # seven voxels away, 0.01 mm
    with pytest.raises(MedganError, match="qform and sform disagree"):
        nifti.read(patched(plain, 123, "B", 3))


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
        (108, "f", (100.0,), "voxel offset must be .* from 352 to 67108864, found 100"),
        (108, "f", (float("nan"),), "voxel offset"),
        (112, "ff", (1.0, float("inf")), "scl_slope"),
        (123, "B", (5,), "unit"),
        (76, "f", (-9.8e33,), r"qfac \(pixdim.0.\) must be 1 or -1, found -9.8e\+33"),
        (344, "4s", (b"n+1\r",), r"magic must end in b'\\x00'.*line ends"),
        (252, "hh", (1, 6), "sform_code must be 0 to 5, found 1 and 6"),
        (252, "hh", (-546, 1), "qform_code and sform_code must be 0 to 5, found -546 and 1"),
        (252, "hh14xf", (1, 0, 1e30), "begin within 100000 mm of 0, .*no scanner has this"),
        (76, "4f", (1, 1.5, 1e30, 3), "at most 10000 mm long .*no scanner has this"),
        (252, "hh24x12f", (0, 1, 1e38, *[3e38] * 11), "at most 10000 mm long .*no scanner has this"),
        (252, "hh24x12f", (0, 1, float("inf"), *[3e38] * 11), "sform: its affine must be finite"),
        (252, "hh", (0, 0), "records no orientation"),
        (252, "hhfff", (1, 0, 0.9, 0.9, 0.9), "not a rotation"),
        (76, "4f", (1, 1.5, 0.0, 3), r"pixdim \(voxel spacing\).*\(1.5, 0.0, 3.0\)"),
        (296, "f", (float("nan"),), "sform.*finite"),
        (280, "12f", (0.0,) * 12, "disagree|geometry"),
        (344, "4s", (b"zzz\0",), "not a NIfTI"),
        (344, "4s", (b"ni1\0",), r"header of a .hdr/.img pair, but the voxels, ct.img, are missing"),
        (40, "4h", (0, 12, 10, 8), "dim must give 1 to 7"),
        (40, "h", (0x0300,), "dim must give 1 to 7 dimensions"),  # of the other byte order
        (40, "6h", (5, 12, 10, 8, 1, 3), r"one 3D volume, but has the 5D shape \(12, 10, 8, 1, 3\)"),
        (70, "hh", (0, 0), "data type, code 0, is none"),
        (70, "hh", (1, 1), "one bit a voxel"),
        (70, "hh", (1536, 128), "128-bit floating point"),
        (70, "hh", (2304, 32), "RGBA colour"),
        (108, "f", (353.5,), "voxel offset must be a whole number"),
        (108, "f", (0.0,), "voxel offset .* found 0"),
        (108, "f", (1e12,), "voxel offset .* found 1e"),
        (108, "f", (4000.0,), "truncated"),
        (112, "ff", (float("inf"), 0.0), "finite scl_slope and scl_inter, found inf and 0"),
        (112, "ff", (1.0, float("nan")), "found 1 and nan"),
        (76, "4f", (float("nan"), 1.5, 2, 3), "pixdim"),
        (280, "12f", (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 3, 0), "disagree|must span space"),
        (252, "hh12x12x12f", (0, 1, *[0.0] * 12), "axes of an affine must span space"),
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


STORED = np.arange(5 * 4 * 3).reshape(5, 4, 3)
DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_of_both_byte_orders_and_versions_is_read(tmp_path, image_class, order, dtype):
    header = image_class.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    affine = oblique_affine(left_handed=True)
    image = image_class(STORED.astype(dtype), affine, header)
    image.set_qform(affine, 1)
    image.to_filename(tmp_path / "x.nii")
    again = nifti.read(tmp_path / "x.nii")
    np.testing.assert_array_equal(again.data[0], STORED)
    assert again.data.dtype == np.dtype(dtype)
    np.testing.assert_allclose(again.affine, affine, atol=1e-4)


def test_an_intercept_alone_is_added(plain):
    expected = nifti.read(plain).data - 1024
    np.testing.assert_array_equal(nifti.read(patched(plain, 112, "ff", 1.0, -1024.0)).data, expected)


@pytest.mark.parametrize(("qfac", "sign"), [(-1.0, -1), (0.0, 1), (1.0, 1), (7.0, 1)])
def test_only_a_negative_qfac_turns_the_third_axis(plain, qfac, sign):
    expected = oblique_affine()
    expected[:3, 2] *= sign
    patched(plain, 254, "h", 0)
    np.testing.assert_allclose(nifti.read(patched(plain, 76, "f", qfac)).affine, expected, atol=1e-4)


def test_extensions_are_passed_over_even_if_damaged(tmp_path):
    nifti.write(box_volume(), tmp_path / "x.nii", extension="text " * 20)
    data = bytearray((tmp_path / "x.nii").read_bytes())
    data[352:356] = b"\xff\xff\xff\x7f"  # the length of the extension
    (tmp_path / "x.nii").write_bytes(data)
    np.testing.assert_array_equal(nifti.read(tmp_path / "x.nii").data, box_volume().data)


def write_pair(folder, suffix):
    """Write a pair by nibabel and return the path of its header."""
    header, voxels = folder / f"ct.hdr{suffix}", folder / f"ct.img{suffix}"
    image = nib.Nifti1Pair(STORED.astype(np.int16), oblique_affine())
    nib.Nifti1Pair.to_file_map(image, {"header": nib.FileHolder(str(header)), "image": nib.FileHolder(str(voxels))})
    return header, voxels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_either_half_stands_for_a_pair(tmp_path, suffix):
    for path in write_pair(tmp_path, suffix):
        volume = nifti.read(path)
        np.testing.assert_array_equal(volume.data[0], STORED)
        np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-4)


@pytest.mark.parametrize(
    ("header_suffix", "voxels_suffix"), [(".hdr", ".img.gz"), (".hdr.gz", ".img"), (".HDR", ".IMG")]
)
def test_the_halves_of_a_pair_are_found_whatever_their_compression_and_case(tmp_path, header_suffix, voxels_suffix):
    for path, suffix in zip(write_pair(tmp_path, ""), (header_suffix, voxels_suffix), strict=True):
        data = path.read_bytes()
        path.unlink()
        (tmp_path / f"scan.v2{suffix}").write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    for suffix in (header_suffix, voxels_suffix):
        np.testing.assert_array_equal(nifti.read(tmp_path / f"scan.v2{suffix}").data[0], STORED)


def test_a_pair_without_one_half_is_refused_with_the_name_of_the_other(tmp_path):
    header, voxels = write_pair(tmp_path, "")
    voxels.rename(tmp_path / "away")
    with pytest.raises(MedganError, match=r"ct\.hdr is the header of a \.hdr/\.img pair, but the voxels, ct\.img, are"):
        nifti.read(header)
    (tmp_path / "away").rename(voxels)
    header.unlink()
    with pytest.raises(MedganError, match=r"ct\.img is one half of .* but its header, ct\.hdr, is missing"):
        nifti.read(voxels)


def test_a_truncated_half_is_refused_by_name(tmp_path):
    header, voxels = write_pair(tmp_path, "")
    voxels.write_bytes(voxels.read_bytes()[:-1])
    with pytest.raises(MedganError, match=r"ct\.img is truncated"):
        nifti.read(header)
    header.write_bytes(header.read_bytes()[:200])
    with pytest.raises(MedganError, match=r"ct\.hdr is truncated"):
        nifti.read(header)


def test_analyze_is_refused_because_it_records_no_orientation(tmp_path):
    nib.AnalyzeImage(STORED.astype(np.int16), np.diag([-1.0, 1, 1, 1])).to_filename(tmp_path / "x.hdr")
    for name in ("x.hdr", "x.img"):
        with pytest.raises(
            MedganError, match=r"x\.hdr is the header of an Analyze 7.5 image .* records no orientation"
        ):
            nifti.read(tmp_path / name)


def in_members(data):
    return gzip.compress(data[:1000]) + gzip.compress(b"") + gzip.compress(data[1000:])


def with_header_fields(data):
    head = (
        b"\x1f\x8b\x08"
        + bytes([2 | 4 | 8 | 16])
        + b"\1\2\3\4\0\3"
        + struct.pack("<H", 6)
        + b"AB\2\0xy"
        + b"n.nii\0note\0"
    )
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + gzip.compress(data)[10:]


@pytest.mark.parametrize("compressed", [in_members, with_header_fields, lambda data: gzip.compress(data) + bytes(512)])
def test_gzip_in_all_its_forms_is_read(plain, compressed):
    plain.write_bytes(compressed(plain.read_bytes()))
    np.testing.assert_array_equal(nifti.read(plain).data, box_volume(affine=oblique_affine()).data)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: gzip.compress(data) + b"garbage" * 9,
        lambda data: in_members(data)[:-9],
        lambda data: gzip.compress(data)[:-8] + bytes(8),
        lambda data: gzip.compress(data)[:-1] + b"\x7f",
        lambda data: b"\x1f\x8b\x08\0",
        lambda data: b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 400,
    ],
)
def test_damaged_gzip_is_refused(plain, damaged):
    plain.write_bytes(damaged(plain.read_bytes()))
    with pytest.raises(MedganError, match=r"ct.nii is truncated or corrupt"):
        nifti.read(plain)


def test_what_follows_the_voxels_is_not_inflated_without_end(plain):
    plain.write_bytes(gzip.compress(plain.read_bytes()) + gzip.compress(bytes(1 << 24), 9) * 200)
    with pytest.raises(MedganError, match=r"ct.nii is too large for its header: over .* bytes follow the last voxel"):
        nifti.read(plain)


@pytest.mark.parametrize("compress", [False, True])
def test_memory_order_does_not_change_the_file(tmp_path, compress):
    name = "x.nii.gz" if compress else "x.nii"
    files = []
    for order in "CF":
        nifti.write(Volume(np.array(box_volume((40, 33, 21)).data, order=order), np.eye(4)), tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    np.testing.assert_array_equal(nib.load(tmp_path / name).dataobj, box_volume((40, 33, 21)).data[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.nii")
    with pytest.raises(MedganError, match=r"x\.nii is empty"):
        nifti.read(tmp_path / "x.nii")
    header, voxels = write_pair(tmp_path, "")
    voxels.unlink()
    os.mkfifo(voxels)
    with pytest.raises(MedganError, match=r"ct\.img, are missing"):
        nifti.read(header)


@pytest.mark.parametrize("magic", [b"n+2\0\n\x1a\n\0", b"n+2\0\r\r\x1a\r", b"n+2\0\0\0\0\0"])
def test_a_nifti_2_whose_line_ends_were_changed_is_refused(tmp_path, magic):
    nib.save(nib.Nifti2Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)), tmp_path / "x.nii")
    assert nifti.read(tmp_path / "x.nii").shape == (2, 3, 4)
    with pytest.raises(MedganError, match=r"x.nii has a damaged header: its NIfTI magic must end in .*line ends"):
        nifti.read(patched(tmp_path / "x.nii", 4, "8s", magic))


@pytest.mark.parametrize("unit", [1, 2, 3])
@pytest.mark.parametrize("number", [float("inf"), float("nan"), 3e38, -1e300, 5e-324])
@pytest.mark.parametrize("nifti_2", [False, True])
def test_hostile_numbers_are_refused_or_harmless_and_warn_of_nothing(tmp_path, unit, number, nifti_2):
    kind, offset, layout = (nib.Nifti2Image, 400, "12d") if nifti_2 else (nib.Nifti1Image, 280, "12f")
    if not nifti_2 and abs(number) == 1e300:
        number = -1e38
    nib.save(kind(np.ones((2, 3, 4), np.int16), np.diag([1.5, 2, 3, 1])), tmp_path / "x.nii")
    plain = (tmp_path / "x.nii").read_bytes()
    places = [offset + 4 * (1 + nifti_2) * n for n in range(12)]
    places += (
        [104 + 8 * n for n in range(4)] + [176, 184, *range(352, 400, 8)] if nifti_2 else [76, 80, 84, 88, 112, 116]
    )
    places += [] if nifti_2 else list(range(256, 280, 4))
    for place in places:
        (tmp_path / "x.nii").write_bytes(plain)
        patched(tmp_path / "x.nii", 500 if nifti_2 else 123, "i" if nifti_2 else "B", unit)
        patched(tmp_path / "x.nii", place, layout[-1], number)
        try:
            affine = nifti.read(tmp_path / "x.nii").affine
        except MedganError:
            continue
        assert np.abs(affine).max() < 1e5

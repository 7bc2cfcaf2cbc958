"""MetaImage and NRRD, and the check that SimpleITK is the real one."""

import gzip
import re
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from phantoms import SHARED, box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.volume import itk
from medgan.volume.volume import same_grid


def image_of(volume):
    """Build the SimpleITK image by SimpleITK's own calls, in LPS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data[0].T))
    columns = volume.affine[:3, :3] * [[-1], [-1], [1]]
    image.SetOrigin((volume.affine[:3, 3] * [-1, -1, 1]).tolist())
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((columns / volume.spacing_mm).ravel().tolist())
    return image


@pytest.mark.parametrize("name", ["x.mha", "x.mhd", "x.nrrd", "x.nhdr"])
@pytest.mark.parametrize("compress", [False, True])
def test_values_and_geometry_are_read(tmp_path, name, compress):
    volume = box_volume(affine=oblique_affine(left_handed=True))
    sitk.WriteImage(image_of(volume), str(tmp_path / name), compress)
    again = itk.read(tmp_path / name)
    assert same_grid(again, volume, tolerance_mm=1e-3)
    np.testing.assert_array_equal(again.data, volume.data)


def test_two_dimensions_become_one_slice(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(12, dtype=np.int16).reshape(3, 4)), str(tmp_path / "x.mha"))
    volume = itk.read(tmp_path / "x.mha")
    assert volume.data.shape == (1, 4, 3, 1)
    assert volume.data[0, 1, 2, 0] == 9
    assert volume.orientation == "LPS"


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), "3 channels"),
        (sitk.Image([4, 4, 4, 2], sitk.sitkInt16), r"one 3D volume, but has the 4D shape \(4, 4, 4, 2\)"),
    ],
)
def test_channels_and_time_points_are_refused(tmp_path, suffix, image, message):
    sitk.WriteImage(image, str(tmp_path / f"x.{suffix}"))
    with pytest.raises(MedganError, match=f"x.{suffix} must .*{message}"):
        itk.read(tmp_path / f"x.{suffix}")


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
@pytest.mark.parametrize("compress", [False, True])
def test_every_truncation_is_refused(tmp_path, name, compress):
    sitk.WriteImage(image_of(box_volume()), str(tmp_path / name), compress)
    data = (tmp_path / name).read_bytes()
    for length in range(0, len(data) - 1, len(data) // 40):
        (tmp_path / f"cut_{name}").write_bytes(data[:length])
        with pytest.raises(MedganError, match=f"cut_{name} .*(truncated|corrupt)"):
            itk.read(tmp_path / f"cut_{name}")


def test_a_flipped_bit_of_compressed_voxels_is_seen_by_the_checksum(tmp_path):
    sitk.WriteImage(image_of(box_volume()), str(tmp_path / "x.mha"), True)
    data = bytearray((tmp_path / "x.mha").read_bytes())
    data[-100] ^= 4
    (tmp_path / "x.mha").write_bytes(data)
    with pytest.raises(MedganError, match=r"x.mha is (corrupt|truncated)"):
        itk.read(tmp_path / "x.mha")


@pytest.mark.parametrize("elsewhere", ["../secret.raw", "/etc/passwd", "missing.raw", "LIST"])
def test_voxels_outside_the_folder_are_not_read(tmp_path, elsewhere):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(10_000))
    sitk.WriteImage(image_of(box_volume()), str(tmp_path / "inner" / "x.mhd"))
    header = (tmp_path / "inner" / "x.mhd").read_text()
    (tmp_path / "inner" / "x.mhd").write_text(header.replace("x.raw", elsewhere))
    with pytest.raises(MedganError, match=r"x\.mhd"):
        itk.read(tmp_path / "inner" / "x.mhd")


def replaced(path, *changes):
    """Return a copy of a file in which each old text is exchanged for a new one."""
    data = path.read_bytes()
    for old, new in changes:
        assert old.encode() in data
        data = data.replace(old.encode(), new.encode())
    path = path.with_name(f"changed{path.suffix}")
    path.write_bytes(data)
    return path


def plain_file(folder, name, volume=None):
    sitk.WriteImage(image_of(volume or box_volume(affine=oblique_affine())), str(folder / name))
    return folder / name


def assert_as_itk(path):
    """Compare values and geometry with what ITK reads."""
    image = sitk.ReadImage(str(path))
    volume = itk.read(path)
    np.testing.assert_array_equal(volume.data[0], sitk.GetArrayFromImage(image).T)
    for index in ([0, 0, 0], [n - 1 for n in volume.shape]):
        lps = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3] * [-1, -1, 1], lps, atol=1e-6)


TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_is_read_as_itk_reads_it(tmp_path, suffix, dtype):
    image = sitk.GetImageFromArray(np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype))
    sitk.WriteImage(image, str(tmp_path / f"x.{suffix}"))
    assert_as_itk(tmp_path / f"x.{suffix}")
    assert itk.read(tmp_path / f"x.{suffix}").data.dtype == np.dtype(dtype)


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
@pytest.mark.parametrize("compress", [False, True])
def test_many_equal_voxels_are_read_whole(tmp_path, suffix, compress):
    sitk.WriteImage(sitk.Image([300, 300, 200], sitk.sitkUInt8) + 7, str(tmp_path / f"x.{suffix}"), compress)
    data = itk.read(tmp_path / f"x.{suffix}").data
    assert (data.shape, data.min(), data.max()) == ((1, 300, 300, 200), 7, 7)


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior", "LAS", "LPS"])
def test_every_space_of_nrrd_is_placed_as_itk_places_it(tmp_path, space):
    assert_as_itk(replaced(plain_file(tmp_path, "x.nrrd"), ("left-posterior-superior", space)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("x.nrrd", [("space directions: ", "comment:=space: RAS\nspace directions: ")]),
        ("x.nrrd", [("kinds: domain domain domain", "kinds: space space space\ncenterings: cell cell cell")]),
        ("x.nrrd", [("kinds: domain domain domain\n", 'space units: "mm" "mm" "mm"\n')]),
        ("x.nrrd", [("dimension: 3", "dimension: 4"), ("sizes: ", "sizes: 1 "), ("directions: ", "directions: none "),
                    ("kinds: ", "kinds: list ")]),
        ("x.nrrd", [("encoding: raw\n", "encoding: raw\nbyte skip: -1\n")]),
        ("x.nrrd", [("type: float", "# a comment: with a colon\ntype: float")]),
        ("x.mha", [("TransformMatrix", "Rotation"), ("Offset", "Position")]),
        ("x.mha", [("TransformMatrix", "Orientation"), ("Offset", "Origin")]),
        ("x.mha", [("ElementSpacing", "ElementSize")]),
        ("x.mha", [("AnatomicalOrientation", "Comment")]),
        ("x.mha", [("BinaryDataByteOrderMSB", "ElementByteOrderMSB")]),
        ("x.mha", [("CenterOfRotation = 0 0 0", "CenterOfRotation = 5 6 7")]),
    ],
)  # fmt: skip
def test_variants_of_a_header_are_read_as_itk_reads_them(tmp_path, name, changes):
    path = replaced(plain_file(tmp_path, name), *changes)
    assert_as_itk(path)
    assert same_grid(itk.read(path), box_volume(affine=oblique_affine()), tolerance_mm=1e-3)


def test_a_shear_of_nrrd_is_kept(tmp_path):
    path = replaced(plain_file(tmp_path, "x.nrrd", box_volume()), ("(0,-2,0)", "(0.5,-2,0)"))
    np.testing.assert_allclose(itk.read(path).affine[:3, 1], (-0.5, 2.0, 0.0))


@pytest.mark.parametrize(("name", "swap"), [("x.mha", "BinaryDataByteOrderMSB = {}"), ("x.nrrd", "endian: {}")])
def test_big_endian_voxels_are_read(tmp_path, name, swap):
    little, big = ("False", "True") if name == "x.mha" else ("little", "big")
    plain_file(tmp_path, name)
    path = replaced(tmp_path / name, (swap.format(little), swap.format(big)))
    stored = itk.read(tmp_path / name).data
    np.testing.assert_array_equal(itk.read(path).data.astype("<f4").view(">f4"), stored)


@pytest.mark.parametrize(("skip", "junk"), [("7", b"a" * 7), ("-1", b"b" * 11)])
@pytest.mark.parametrize(
    ("name", "line"), [("x.mhd", "HeaderSize = {}\nElementDataFile"), ("x.nhdr", "byte skip: {}\ndata file")]
)
def test_what_a_data_file_holds_before_its_voxels_is_skipped(tmp_path, skip, junk, name, line):
    sitk.WriteImage(image_of(box_volume()), str(tmp_path / name))
    (tmp_path / "x.raw").write_bytes(junk + (tmp_path / "x.raw").read_bytes())
    path = replaced(tmp_path / name, (line.splitlines()[1], line.format(skip)))
    np.testing.assert_array_equal(itk.read(path).data, box_volume().data)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("x.mha", "DimSize = 12 10 8", "DimSize = 9000 9000 9000", "at most .* size of 9000x9000x9000"),
        ("x.mha", "DimSize = 12 10 8", "DimSize = 12 10 9", "truncated.*calls for 4,320 bytes, found 3,840"),
        ("x.mha", "Offset = 3", "Offset = 3\t", r"Offset must hold 3 finite numbers, found 3 1 [-.0-9]+ [-.0-9]+\.$"),
        ("x.mha", "DimSize = 12 10 8", "DimSize = 12 -10 8", "DimSize must give NDims positive sizes"),
        ("x.mha", "DimSize = 12 10 8", "DimSize = 12 80", "DimSize must give NDims positive sizes"),
        ("x.mha", "DimSize = 12 10 8", "DimSize = 12 10 nan", "DimSize must give NDims positive sizes"),
        ("x.mha", "DimSize = 12 10 8", "DimSize = 12 10 8.0", "DimSize must give NDims positive sizes"),
        ("x.mha", "DimSize = 12 10 8", f"DimSize = 12 10 {'9' * 5000}", "found something else and 3"),
        ("x.mha", "DimSize = 12 10 8", f"DimSize = {'1 ' * 99}", "DimSize must give NDims positive sizes"),
        ("x.mha", "TransformMatrix", "Comment", "must record its TransformMatrix"),
        ("x.mha", "Offset", "Comment", "must record its Offset"),
        ("x.mha", "ElementSpacing = 1.5", "Comment = 1.5", "must record its ElementSpacing"),
        ("x.mha", "ElementSpacing = 1.5", "ElementSpacing = nan", "ElementSpacing must hold 3 finite numbers"),
        ("x.mha", "ElementSpacing = 1.5", "ElementSpacing = 1_5", "ElementSpacing must hold 3 finite numbers"),
        ("x.mha", "ElementSpacing = 1.5", "ElementSpacing = 1e400", "ElementSpacing must hold 3 finite numbers"),
        ("x.mha", "ElementSpacing = 1.5", "ElementSpacing = 1e300", "found a size of .*inf.*no scanner has this"),
        ("x.mha", "ElementSpacing", "Origin = 1 2 3\nElementSpacing", "must record its Offset once"),
        ("x.mha", "ElementSpacing", "Offset = 1 2 3\nElementSpacing", "records one field twice"),
        ("x.mha", "BinaryDataByteOrderMSB", "BinaryDataByteOrderMSC", "must record its byte order once"),
        ("x.mha", "DimSize", "ElementByteOrderMSB = True\nDimSize", "must record its byte order once"),
        ("x.mha", "ElementSpacing = 1.5", "ElementSpacing = 0", "unusable geometry"),
        ("x.mha", "Offset = ", "Offset = 1 ", "Offset must hold 3 finite numbers, found 1 "),
        ("x.mha", "MET_FLOAT", "MET_SHORT_ARRAY", "data type is MET_SHORT_ARRAY"),
        ("x.mha", "BinaryData = True", "BinaryData = False", "BinaryData"),
        ("x.mha", "CompressedData = False", "CompressedData = maybe", "CompressedData must be True or False"),
        ("x.mha", "CompressedData = False", "CompressedData = Talse", "CompressedData must be True or False"),
        ("x.mha", "CompressedData = False", "CompressedData = true", "truncated or corrupt"),
        ("x.mha", "DimSize", "ElementToIntensityFunctionSlope = 2\nDimSize", "scales its values by .*Slope = 2"),
        ("x.mha", "DimSize", "HeaderSize = 40\nDimSize", "HeaderSize, 40, does not fit"),
        ("x.mha", "DimSize", "DistanceUnits = um\nDimSize", "must be in mm, found DistanceUnits um"),
        ("x.mha", "DimSize", "ElementNumberOfChannels = 3\nDimSize", "has 3 channels"),
        ("x.nrrd", "sizes: 12 10 8", "sizes: 12 10 9", "truncated.*calls for 4,320 bytes, found 3,840"),
        ("x.nrrd", "sizes: 12 10 8", "sizes: 12 10 0", "sizes must give dimension positive numbers"),
        ("x.nrrd", "space: left-posterior-superior\n", "space dimension: 3\n", "orientation in a space"),
        ("x.nrrd", "left-posterior-superior", "scanner-xyz", "orientation in a space .* found scanner-xyz"),
        ("x.nrrd", "left-posterior-superior", "left-posterior-superior-time", "orientation in a space"),
        ("x.nrrd", "space origin: (", "# space origin: (", "must record a space origin"),
        ("x.nrrd", "space origin: (", "space origin: (\n", "lines must be fields of NRRD"),
        ("x.nrrd", "space origin: (", "space origin: ((", "must record a space origin"),
        ("x.nrrd", "space origin: (", "space origin: (0,0,0)\nspace origin: (", "each recorded once"),
        ("x.nrrd", "space origin: (3", "space origin: (\x1c", "must record a space origin"),
        ("x.nrrd", "sizes: 12 10 8", "sizes: 12\x1c10 8", "sizes must give dimension positive numbers"),
        ("x.mha", "Offset = 3", "Offset = \x1c", "Offset must hold 3 finite numbers"),
        ("x.nrrd", "endian: little", "endian; little", "lines must be fields of NRRD"),
        ("x.nrrd", "space directions", "spare directions", "lines must be fields of NRRD"),
        ("x.nrrd", "space directions: (", "space directions: and (", "found 0"),
        ("x.nrrd", "space directions: (", "space directions: none (", "4, found|found 4"),
        ("x.nrrd", "space directions", "# space directions", "records no orientation"),
        ("x.nrrd", "space origin: (", "space origin: (nan,0,0) (", "three finite numbers"),
        ("x.nrrd", "kinds: domain domain domain", "kinds: domain domain time", "axes in space only"),
        ("x.nrrd", "kinds: domain domain domain", 'space units: "um" "um" "um"', "must be in mm"),
        ("x.nrrd", "type: float", "type: block", "data type is block"),
        ("x.nrrd", "encoding: raw", "encoding: hex", "encoded as raw or gzip, found hex"),
        ("x.nrrd", "encoding: raw", "encoding: bzip2", "encoded as raw or gzip, found bzip2"),
        ("x.nrrd", "encoding: raw", "encoding: gzip", "truncated or corrupt"),
        ("x.nrrd", "encoding: raw", "encoding: raw\nline skip: 1", "skips lines"),
        ("x.nrrd", "endian: little\n", "", "byte order"),
        ("x.nrrd", "dimension: 3", "dimension: 2", "sizes must give dimension positive numbers"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, name, old, new, message):
    path = replaced(plain_file(tmp_path, name), (old, new))
    with pytest.raises(MedganError, match=message) as caught:
        itk.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd", "x.mhd", "x.nhdr"])
def test_no_text_of_a_header_enters_a_message(tmp_path, name):
    header = plain_file(tmp_path, name).read_bytes()
    values = [match.span(1) for match in re.finditer(rb"^[A-Za-z ]+(?: =|:) (.*)$", header, re.MULTILINE)]
    assert len(values) >= 9
    for start, stop in values:
        for text in (b"DOE^JANE", b"DOE JANE 5 6", b"5 6 7 DOE^JANE", b"\x01\xe4"):
            (tmp_path / f"changed{name[1:]}").write_bytes(header[:start] + text + header[stop:])
            try:
                itk.read(tmp_path / f"changed{name[1:]}")
            except MedganError as error:
                said = str(error).replace(str(tmp_path), "")
                assert [word for word in ("DOE", "JANE", "\x01") if word in said] == [], said


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
def test_a_position_no_scanner_has_is_refused(tmp_path, name):
    field = {"x.mha": "Offset = ", "x.nrrd": "space origin: ("}[name]
    path = replaced(plain_file(tmp_path, name), (f"{field}31", f"{field}1e30"))
    with pytest.raises(MedganError, match=r"changed.* begin within 100000 mm of 0, .*1e\+30.*no scanner has this"):
        itk.read(path)


def test_a_slice_in_the_patient_without_thickness_is_refused(tmp_path):
    path = replaced(
        plain_file(tmp_path, "x.nrrd", box_volume()),
        ("dimension: 3", "dimension: 2"),
        ("sizes: 12 10 8", "sizes: 12 80"),
        (" (0,0,3)", ""),
        ("kinds: domain domain domain", "kinds: domain domain"),
    )
    with pytest.raises(MedganError, match="one slice in the patient without a thickness"):
        itk.read(path)


def test_a_compressed_file_with_a_damaged_checksum_is_refused(tmp_path):
    for name, at in (("x.nrrd", -6), ("x.mha", -2)):
        sitk.WriteImage(image_of(box_volume((60, 50, 40))), str(tmp_path / name), True)
        data = bytearray((tmp_path / name).read_bytes())
        data[at] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MedganError, match=rf"{name} is truncated or corrupt"):
            itk.read(tmp_path / name)


def test_gzip_of_several_members_is_read(tmp_path):
    path = plain_file(tmp_path, "x.nrrd", box_volume())
    data = path.read_bytes()
    start = data.index(b"\n\n") + 2
    head = data[:start].replace(b"encoding: raw", b"encoding: gzip")
    path.write_bytes(head + gzip.compress(data[start : start + 999]) + gzip.compress(data[start + 999 :]))
    np.testing.assert_array_equal(itk.read(path).data, box_volume().data)


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
def test_a_bomb_is_refused_before_it_is_inflated(tmp_path, name):
    path = plain_file(tmp_path, name)
    data = path.read_bytes()
    if name == "x.nrrd":
        head = data[: data.index(b"\n\n") + 2].replace(b"encoding: raw", b"encoding: gzip")
        bomb = gzip.compress(bytes(1 << 24), 9) * 60
    else:
        head = data[: data.index(b"LOCAL") + 6].replace(b"CompressedData = False", b"CompressedData = True")
        bomb = zlib.compress(bytes(1 << 28), 9)
    path.write_bytes(head + bomb)
    with pytest.raises(MedganError, match="is too large for its header"):
        itk.read(path)


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
def test_another_format_under_the_name_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>403 Forbidden</html>\n" * 20)
    with pytest.raises(MedganError, match=f"{name} is not a"):
        itk.read(tmp_path / name)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"SimpleITK": "2.3.1"}, "must be 2.4 or later, found 2.3.1"),
        ({"SimpleITK": "2.5.7", "SimpleITK-SimpleElastix": "3.0.0a1"}, "SimpleElastix is installed over it"),
    ],
)
def test_only_the_real_simpleitk_is_accepted(monkeypatch, versions, message):
    monkeypatch.setattr(itk, "_version_of", versions.get)
    with pytest.raises(MedganError, match=message):
        itk.check_simpleitk()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")
def test_a_real_nrrd_mask_lies_on_its_series():
    from medgan.volume.dicom import read as dicom

    mask = itk.read(SHARED / "data/ct_dicom_seg/liver_seg.nrrd")
    assert same_grid(mask, dicom.read(SHARED / "data/ct_dicom_seg/ct-3slice"))
    assert np.unique(mask.data).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["x.gipl", "x.vtk"])
def test_formats_without_orientation_are_refused(tmp_path, name):
    sitk.WriteImage(image_of(box_volume()), str(tmp_path / name))
    with pytest.raises(MedganError, match=rf"{name} is in a format that records no orientation"):
        itk.refuse(tmp_path / name)

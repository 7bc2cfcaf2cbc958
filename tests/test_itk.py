"""MetaImage and NRRD, and the check that SimpleITK is the real one."""

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


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("x.mha", "DimSize = 12 10 8", "DimSize = 9000 9000 9000", "at most .* size of 9000x9000x9000"),
        ("x.mha", "DimSize = 12 10 8", "DimSize = 12 10 9", "truncated.*calls for 4,320 bytes, found 3,840"),
        ("x.nrrd", "sizes: 12 10 8", "sizes: 12 10 9", "truncated.*calls for 4,320 bytes, found 3,840"),
        ("x.nrrd", "space: left-posterior-superior\n", "space dimension: 3\n", "orientation"),
        ("x.mha", "BinaryData = True", "BinaryData = False", "BinaryData"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, name, old, new, message):
    sitk.WriteImage(image_of(box_volume()), str(tmp_path / name))
    data = (tmp_path / name).read_bytes()
    assert old.encode() in data
    (tmp_path / name).write_bytes(data.replace(old.encode(), new.encode()))
    with pytest.raises(MedganError, match=message):
        itk.read(tmp_path / name)


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

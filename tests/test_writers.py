"""Writing: what is read back is what was written."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phantoms import affines, box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines())
def test_any_geometry_comes_back_from_every_format(tmp_path, suffix, affine):
    image, label = box_volume((5, 4, 3), affine), box_volume((5, 4, 3), affine, labels=True)
    write_volume(image, tmp_path / f"x{suffix}")
    write_volume(label, tmp_path / f"y{suffix}")
    assert same_grid(read_volume(tmp_path / f"x{suffix}"), image, tolerance_mm=1e-3)
    np.testing.assert_array_equal(read_volume(tmp_path / f"x{suffix}").data, image.data)
    np.testing.assert_array_equal(read_label(tmp_path / f"y{suffix}").data, label.data)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dtype=st.sampled_from([bool, "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]))
def test_values_of_every_type_come_back(tmp_path, dtype):
    data = np.array([0, 1, 1, 0], dtype).reshape(1, 2, 2, 1)
    for name in ("x.nii.gz", "x.nrrd"):
        write_volume(Volume(data, np.eye(4)), tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).data, data)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">i2", "u2", "i4", "u4", "f4", "f8"])
def test_itk_reads_what_is_written(tmp_path, suffix, dtype):
    volume = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    write_volume(Volume(volume.data.astype(dtype), volume.affine), tmp_path / f"x{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, volume.data[0])
    assert sitk.GetArrayFromImage(image).dtype == np.dtype(dtype).newbyteorder("=")
    for index in ([0, 0, 0], [11, 9, 7]):
        lps = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3] * [-1, -1, 1], lps, atol=1e-9)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, suffix):
    resource = pytest.importorskip("resource", reason="the limit that stands in for a full disk is POSIX")
    (tmp_path / f"x{suffix}").write_text("old")
    noise = np.random.default_rng(0).integers(0, 30000, (1, 30, 30, 30), np.int16)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(MedganError, match=rf"x{suffix} could not be written: File too large"):
            write_volume(Volume(noise, np.eye(4)), tmp_path / f"x{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(f"x{suffix}", "old")]


def test_large_integers_keep_their_sign_and_size(tmp_path):
    data = np.array([-5, 70_000], np.int64).reshape(1, 2, 1, 1)
    write_volume(Volume(data, np.eye(4)), tmp_path / "x.nii")
    assert read_volume(tmp_path / "x.nii").data.ravel().tolist() == [-5.0, 70_000.0]


def test_another_suffix_is_refused_with_the_list(tmp_path):
    with pytest.raises(MedganError, match=r"x\.png must end in one of \.nii, \.nii\.gz, \.mha, \.nrrd"):
        write_volume(box_volume(), tmp_path / "x.png")


def test_a_segmentation_of_slicer_needs_names(tmp_path):
    with pytest.raises(MedganError, match=r"x\.seg\.nrrd would name its segments"):
        write_volume(box_volume(labels=True), tmp_path / "x.seg.nrrd")


def test_several_channels_are_refused(tmp_path):
    with pytest.raises(MedganError, match=r"x\.nii must hold one channel, found 2"):
        write_volume(Volume(np.zeros((2, 3, 3, 3)), np.eye(4)), tmp_path / "x.nii")


def test_an_extension_needs_nifti(tmp_path):
    with pytest.raises(MedganError, match=r"x\.mha cannot carry an extension"):
        write_volume(box_volume(), tmp_path / "x.mha", extension="{}")


def test_a_shear_is_written_as_nifti_only(tmp_path):
    affine = oblique_affine()
    affine[0, 2] += 0.5
    with pytest.raises(MedganError, match=r"x\.nrrd cannot hold a sheared affine; write \.nii\.gz"):
        write_volume(box_volume(affine=affine), tmp_path / "x.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_told(tmp_path):
    (tmp_path / "x.nii.gz").mkdir()
    with pytest.raises(MedganError, match=r"x\.nii\.gz could not be written: Is a directory"):
        write_volume(box_volume(), tmp_path / "x.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["x.nii.gz"]

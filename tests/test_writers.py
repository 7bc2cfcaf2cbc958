"""Writing: what is read back is what was written."""

import numpy as np
import pytest
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


def test_large_integers_keep_their_sign_and_size(tmp_path):
    data = np.array([-5, 70_000], np.int64).reshape(1, 2, 1, 1)
    write_volume(Volume(data, np.eye(4)), tmp_path / "x.nii")
    assert read_volume(tmp_path / "x.nii").data.ravel().tolist() == [-5.0, 70_000.0]


def test_another_suffix_is_refused_with_the_list(tmp_path):
    with pytest.raises(MedganError, match=r"x\.png must end in one of \.nii, \.nii\.gz, \.mha, \.nrrd"):
        write_volume(box_volume(), tmp_path / "x.png")


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

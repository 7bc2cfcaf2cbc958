"""One door for every format, for images and for labels."""

import os

import numpy as np
import pytest
from phantoms import SHARED, box_volume, write_dicom_series

from medgan.errors import MedganError
from medgan.volume import nifti
from medgan.volume.readers import READERS, read_label, read_volume
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume


def label_file(path, values):
    nifti.write(Volume(np.asarray(values).reshape(1, -1, 1, 1), np.eye(4)), path)
    return path


def test_an_image_is_float32_whatever_is_stored(tmp_path):
    write_volume(box_volume(labels=True), tmp_path / "x.nii.gz")
    volume = read_volume(tmp_path / "x.nii.gz")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, box_volume(labels=True).data)


@pytest.mark.parametrize("name", ["SCAN.NII.GZ", "Müller 01 – 腹部.nii", "a.b.c.mha", "x.Nrrd"])
def test_the_suffix_decides_in_any_case(tmp_path, name):
    suffix = max((s for s in READERS if name.lower().endswith(s)), key=len)
    write_volume(box_volume(), tmp_path / f"written{suffix}")
    (tmp_path / f"written{suffix}").rename(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).data, box_volume().data)


@pytest.mark.parametrize("name", ["IM0000", "CT.1.2.840.113.16583", "slice.ima", "slice.dcm"])
def test_a_folder_and_a_file_of_any_name_may_be_dicom(tmp_path, name):
    folder = write_dicom_series(tmp_path / "s", box_volume())
    (folder / "IM0000.dcm").rename(folder / name)
    assert read_volume(folder).shape == (12, 10, 8)
    assert read_volume(folder / name).shape == (12, 10, 8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_refused_and_counted(tmp_path, dtype, bad):
    label_file(tmp_path / "x.nii", np.array([0, bad, bad, 3], dtype))
    found = "2 voxels are NaN and 0" if np.isnan(bad) else "0 voxels are NaN and 2"
    for read in (read_volume, read_label):
        with pytest.raises(MedganError, match=f"x.nii must hold finite values, but {found}"):
            read(tmp_path / "x.nii")


def test_values_too_large_for_float32_are_refused(tmp_path):
    with pytest.raises(MedganError, match="1 are infinite"):
        read_volume(label_file(tmp_path / "x.nii", np.array([0.0, 1e300])))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 3, 255], np.int32), np.uint8),
        (np.array([0.0, 300.0], np.float32), np.uint16),
        (np.array([0, 16777216, 16777217], np.int32), np.uint32),
    ],
)
def test_a_label_is_the_smallest_unsigned_type(tmp_path, values, dtype):
    label = read_label(label_file(tmp_path / "x.nii.gz", values))
    assert label.data.dtype == dtype
    np.testing.assert_array_equal(label.data.ravel(), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 0.5, 1.5], np.float32), "x.nii must hold whole numbers .* 0.5, 1.5; resample"),
        (np.array([0, -1], np.int16), "x.nii must hold no negative label values, found -1"),
        (np.array([0, -2.0], np.float32), "negative label values, found -2"),
    ],
)
def test_a_label_of_other_values_is_refused(tmp_path, values, message):
    with pytest.raises(MedganError, match=message):
        read_label(label_file(tmp_path / "x.nii", values))


def test_what_is_not_there_or_not_known_is_named(tmp_path):
    with pytest.raises(MedganError, match=r"nowhere\.nii does not exist"):
        read_volume(tmp_path / "nowhere.nii")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MedganError, match=r"notes\.txt has an unsupported format: suffix '.txt' .*\.nii\.gz.*\.png"):
        read_volume(tmp_path / "notes.txt")
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(MedganError, match=r"pipe\.nii must be a file or a folder"):
        read_volume(tmp_path / "pipe.nii")


def test_a_name_the_system_refuses_is_told(tmp_path):
    with pytest.raises(MedganError, match="could not be read: File name too long"):
        read_volume(tmp_path / ("x" * 300 + ".nii"))


def test_a_reader_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, ".mine", lambda path, *, max_voxels: box_volume(labels=True))
    (tmp_path / "x.mine").touch()
    assert read_label(tmp_path / "x.mine").shape == (12, 10, 8)


def test_reading_says_nothing_on_stderr(tmp_path, capfd):
    write_volume(box_volume(), tmp_path / "x.mha")
    read_volume(tmp_path / "x.mha")
    read_volume(write_dicom_series(tmp_path / "s", box_volume()))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")
def test_real_files_are_read():
    data = SHARED / "data"
    heart = read_label(data / "totalsegmentator_ct/pulmonary_report/models/heart.nii.gz")
    assert (heart.shape, int(heart.data.sum()), heart.data.dtype) == ((233, 167, 191), 198_176, np.uint8)
    lungs = read_label(data / "sunnybrook_cine_mr/Test/Labels/Sunnybrook_Part3/SC-HF-I-10-IM-0001-0128.dcm.png")
    assert (lungs.shape, np.unique(lungs.data).tolist()) == ((256, 256, 1), [0, 255])

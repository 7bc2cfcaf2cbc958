"""One door for every format, for images and for labels."""

import os
import zipfile

import numpy as np
import pytest
from phantoms import SHARED, box_volume, oblique_affine, write_dicom_series
from pydicom import dcmread
from segmentations import write_seg

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume import nifti
from medgan.volume.readers import READERS, read_label, read_segments, read_stored, read_volume
from medgan.volume.seg_nrrd import write_seg_nrrd
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume

ORGANS = LabelMap.from_mapping({"left_lung": 10, "right_lung": 20, "heart": 30})
BOXES = box_volume(affine=oblique_affine(), labels=True)


def zipped(path, *files):
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def named_masks(folder, kind):
    """Write the boxes of `BOXES` in a format that names them left lung, right lung and heart; return the path."""
    if kind == "masks":
        for value, name in enumerate(("lung_left", "lung_right", "heart"), start=1):
            write_volume(Volume((BOXES.data == value).astype(np.uint8), BOXES.affine), folder / "m" / f"{name}.nii.gz")
        return folder / "m"
    if kind == "seg.nrrd":
        names = LabelMap.from_mapping({"Lung L": 1, "Lung R": 2, "Heart": 3})
        write_seg_nrrd(BOXES, names, folder / "x.SEG.nrrd")
        return folder / "x.SEG.nrrd"
    path = write_seg(folder / "seg" / "seg.dcm", BOXES)
    return {"SEG": path, "SEG folder": path.parent, "SEG zip": zipped(folder / "seg.zip", path)}.get(kind)


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
    num_nan, num_inf = (2, 0) if np.isnan(bad) else (0, 2)
    found = rf"found NaN in {num_nan} and infinity \(or too large for float32\) in {num_inf} of its voxels"
    for read in (read_volume, read_label):
        with pytest.raises(MedganError, match=f"x.nii must hold finite values, {found}"):
            read(tmp_path / "x.nii")


def test_values_too_large_for_float32_are_refused(tmp_path):
    with pytest.raises(MedganError, match="in 1 of its voxels"):
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


@pytest.mark.parametrize("kind", ["masks", "seg.nrrd", "SEG", "SEG folder", "SEG zip"])
def test_named_segments_are_labels(tmp_path, kind):
    path = named_masks(tmp_path, kind)
    label = read_label(path, labels=ORGANS)
    assert same_grid(label, BOXES, tolerance_mm=1e-4)
    np.testing.assert_array_equal(label.data, 10 * BOXES.data)
    assert len(read_segments(path).segments) == 3
    numbers = {"masks": (2, 3, 1)}.get(kind, (1, 2, 3))
    np.testing.assert_array_equal(read_label(path).data, np.array([0, *numbers], np.uint8)[BOXES.data])


@pytest.mark.parametrize("kind", ["plain", "masks", "seg.nrrd", "SEG", "SEG zip"])
@pytest.mark.parametrize("given", ["a volume", "a file", "a DICOM folder"])
def test_a_label_is_laid_on_the_grid_of_its_image(tmp_path, kind, given):
    label = Volume(BOXES.data[:, ::-1, :, ::-1].transpose(0, 2, 1, 3), BOXES.affine @ swapped(BOXES.shape))
    image = Volume(np.zeros((1, *label.shape), np.float32), label.affine)
    reference, grid = image, image
    if given == "a file":
        write_volume(image, tmp_path / "image.nii.gz")
        reference = tmp_path / "image.nii.gz"
    elif given == "a DICOM folder":
        reference = str(write_dicom_series(tmp_path / "ct", image))
        grid = read_volume(reference)  # whose k runs the other way
    if kind == "plain":
        write_volume(BOXES, tmp_path / "plain.nii.gz")
    path = tmp_path / "plain.nii.gz" if kind == "plain" else named_masks(tmp_path, kind)
    found = read_label(path, labels=ORGANS, reference=reference)
    assert same_grid(found, grid, tolerance_mm=1e-3)
    expected = label.data if grid is image else label.data[..., ::-1]
    np.testing.assert_array_equal(found.data, expected * (1 if kind == "plain" else 10))


def swapped(shape):
    """Return the affine of a grid with i and j exchanged and the old i and k reversed, in voxels of the old grid."""
    i, _, k = shape
    return np.array([[0, -1, 0, i - 1], [1, 0, 0, 0], [0, 0, -1, k - 1], [0, 0, 0, 1.0]])


def test_a_label_on_another_grid_stays_there(tmp_path):
    write_volume(BOXES, tmp_path / "x.nii.gz")
    other = Volume(BOXES.data, np.diag([1.5, 2.0, 3.0, 1.0]))
    assert same_grid(read_label(tmp_path / "x.nii.gz", reference=other), BOXES)
    with pytest.raises(MedganError, match=r"seg\.dcm must lie on the voxels of the image"):
        read_label(named_masks(tmp_path, "SEG"), reference=Volume(BOXES.data, np.diag([4.0, 5.0, 6.0, 1.0])))


def test_segments_are_no_image_and_an_image_has_no_segments(tmp_path):
    path = named_masks(tmp_path, "SEG")
    with pytest.raises(
        MedganError, match=r"seg\.dcm must be an image, but is a DICOM SEG or RTSTRUCT; read it with read"
    ):
        read_volume(path)
    with pytest.raises(MedganError, match=r"there is no DICOM image series here \(found 1 DICOM SEG"):
        read_volume(path.parent)
    write_volume(BOXES, tmp_path / "x.nii.gz")
    series = write_dicom_series(tmp_path / "s", box_volume())
    for image in (tmp_path / "x.nii.gz", series, series / "IM0000.dcm"):
        with pytest.raises(
            MedganError, match=r"names no segments: it must be a DICOM SEG or RTSTRUCT, a .seg.nrrd file"
        ):
            read_segments(image)


def test_of_two_segmentations_one_must_be_given(tmp_path):
    path = named_masks(tmp_path, "SEG folder")
    write_seg(path / "other.dcm", BOXES)
    with pytest.raises(
        MedganError, match=r"seg must hold one DICOM SEG or RTSTRUCT, but holds other\.dcm, seg\.dcm; give"
    ):
        read_label(path)
    assert read_segments(path / "other.dcm").names == ("Lung_L", "Lung_R", "Heart")


def test_a_series_is_chosen_by_its_uid(tmp_path):
    one = write_dicom_series(tmp_path / "one", box_volume())
    two = write_dicom_series(tmp_path / "two", box_volume((7, 6, 5)))
    both = zipped(tmp_path / "study.zip", *one.iterdir())
    with zipfile.ZipFile(both, "a") as archive:
        for file in two.iterdir():
            archive.write(file, f"two/{file.name}")
    uid = dcmread(next(two.iterdir())).SeriesInstanceUID
    for path in (tmp_path, both):
        assert read_volume(path, series=uid).shape == (7, 6, 5)
    write_volume(box_volume(), tmp_path / "x.nii.gz")
    with pytest.raises(MedganError, match=r"x\.nii\.gz is no DICOM folder or zip, so no series can be chosen"):
        read_volume(tmp_path / "x.nii.gz", series=uid)


def test_stored_values_keep_their_type_and_their_nan(tmp_path):
    label_file(tmp_path / "x.nii", np.array([0, np.nan, 3], np.float64))
    assert np.isnan(read_stored(tmp_path / "x.nii").data[0, 1, 0, 0])
    assert read_stored(label_file(tmp_path / "y.nii", np.array([1, 2], np.int16))).data.dtype == np.int16


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")
def test_real_files_are_read():
    data = SHARED / "data"
    heart = read_label(data / "totalsegmentator_ct/pulmonary_report/models/heart.nii.gz")
    assert (heart.shape, int(heart.data.sum()), heart.data.dtype) == ((233, 167, 191), 198_176, np.uint8)
    lungs = read_label(data / "sunnybrook_cine_mr/Test/Labels/Sunnybrook_Part3/SC-HF-I-10-IM-0001-0128.dcm.png")
    assert (lungs.shape, np.unique(lungs.data).tolist()) == ((256, 256, 1), [0, 255])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")
def test_a_real_structure_set_is_a_label_on_the_series_beside_it():
    organs = LabelMap.from_mapping({"carina": {"value": 4, "synonyms": ["Carina_c40"]}, "Vertebra c40": 5})
    folders = (SHARED / "data" / "thorax_ct_dicom_rtstruct").glob("*/*/*")
    structures = next(folder for folder in folders if len(list(folder.iterdir())) == 1)
    label = read_label(structures, labels=organs)
    assert (label.shape, np.bincount(label.data.ravel())[4:].tolist()) == ((512, 512, 99), [170, 3448])

"""Slices become a grid by their positions alone: every placement, every order of files, the same world."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import SHARED, affines, assert_same_world, box_volume, change, oblique_affine, write_dicom_series

from medgan.errors import MedganError
from medgan.volume.dicom.read import read
from medgan.volume.dicom.stack import read_stack
from medgan.volume.volume import Volume

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")
SHAPE = (5, 4, 6)


@settings(max_examples=40, deadline=None)
@given(affine=affines(), seed=st.integers(0, 2**31), moved=st.booleans())
def test_any_placement_and_any_order_of_files_give_the_same_world(affine, seed, moved):
    volume = box_volume(SHAPE, affine)
    with tempfile.TemporaryDirectory() as name:
        folder = write_dicom_series(Path(name) / "s", volume, seed=seed)
        if moved:  # half of the files lie elsewhere in the tree
            (folder / "sub").mkdir()
            for file in sorted(folder.glob("*.dcm"))[::2]:
                file.rename(folder / "sub" / file.name)
        assert_same_world(volume, read(folder))


@settings(max_examples=25, deadline=None)
@given(affine=affines(), shear=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)), seed=st.integers(0, 99))
@pytest.mark.filterwarnings("ignore:.*gantry tilt")
def test_any_tilt_is_kept_exactly(affine, shear, seed):
    sheared = affine.copy()
    in_plane = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    sheared[:3, 2] += in_plane @ shear * np.linalg.norm(affine[:3, 2])
    with tempfile.TemporaryDirectory() as name:
        again = read(write_dicom_series(Path(name), box_volume(SHAPE, sheared), seed=seed))
        assert_same_world(box_volume(SHAPE, sheared), again)


def test_a_tilted_gantry_keeps_its_shear_and_is_told(tmp_path):
    affine = oblique_affine()
    affine[:3, 2] += affine[:3, 1] * 0.4  # 0.8 mm along the rows per step of 3 mm
    folder = write_dicom_series(tmp_path / "ct_tilt", box_volume(affine=affine))
    with pytest.warns(
        UserWarning, match=r"ct_tilt: slices are sheared by 14.9 degrees \(gantry tilt\); the sheared grid"
    ):
        volume = read(folder)
    assert_same_world(box_volume(affine=affine), volume)
    cosine = volume.affine[:3, 1] @ volume.affine[:3, 2] / np.prod(np.linalg.norm(volume.affine[:3, 1:3], axis=0))
    assert abs(cosine) == pytest.approx(0.8 / np.hypot(0.8, 3.0), abs=1e-6)


def test_headers_alone_give_the_stack(tmp_path):
    volume = box_volume(SHAPE, np.diag([-1.5, -2.0, 3.0, 1.0]))
    folder = write_dicom_series(tmp_path, volume, seed=3, edit=change(PixelData=b""))
    stack = read_stack(folder)
    np.testing.assert_allclose(stack.affine, volume.affine, atol=1e-9)
    assert stack.shape == SHAPE
    assert [each.file.integer("InstanceNumber") for each in stack.slices] == [1, 2, 3, 4, 5, 6]
    assert stack.uid == stack.slices[0].file.text("SeriesInstanceUID")


def test_numbers_that_say_otherwise_do_not_matter(tmp_path):
    misleading = change(
        InstanceNumber=lambda dataset, k: -k,
        SliceLocation=lambda dataset, k: 100 - 5 * k,
        SpacingBetweenSlices="-7.5",
        SliceThickness="7.5",
    )
    assert_same_world(box_volume(), read(write_dicom_series(tmp_path, box_volume(), edit=misleading)))


def long(values):
    return [f"{float(value):.17f}" for value in values]


def test_overlong_decimals_are_read_in_full(tmp_path, recwarn):
    """Some writers give more than the 16 characters a decimal string may have; MONAI made an identity of that."""
    volume = box_volume(affine=oblique_affine())
    edit = change(
        ImagePositionPatient=lambda dataset, k: long(dataset.ImagePositionPatient),
        ImageOrientationPatient=lambda dataset, k: long(dataset.ImageOrientationPatient),
    )
    with pytest.warns(UserWarning, match="maximum length"):  # pydicom, of the writing
        folder = write_dicom_series(tmp_path, volume, edit=edit)
    assert_same_world(volume, read(folder))


def turned(dataset, degrees):
    """Return ImageOrientationPatient of an axial slice turned in its plane."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    columns, rows = np.reshape([float(x) for x in dataset.ImageOrientationPatient], (2, 3))
    return [f"{x:.10f}" for x in (*(c * columns + s * rows), *(c * rows - s * columns))]


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (
            {"ImageOrientationPatient": lambda dataset, k: turned(dataset, 0.05 * k)},
            "one orientation, most have .*, but IM0002.dcm, IM0003.dcm",
        ),
        ({"PixelSpacing": lambda dataset, k: ["2.00009", "1.5"] if k == 3 else ["2", "1.5"]}, None),
        ({"ImageOrientationPatient": lambda dataset, k: turned(dataset, 1e-5 * (-1) ** k)}, None),
    ],
)
def test_drift_between_slices_is_refused_and_rounding_is_not(tmp_path, elements, message):
    folder = write_dicom_series(tmp_path, box_volume(), edit=change(**elements))
    if message is None:
        assert read(folder).shape == (12, 10, 8)
        return
    with pytest.raises(MedganError, match=message):
        read(folder)


def test_a_slice_turned_so_that_its_far_corner_is_off_is_refused(tmp_path):
    """0.05 degrees pass as an orientation, but move the corner of a 250 mm image by 0.2 mm."""
    volume = Volume(np.zeros((1, 128, 128, 4), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    edit = change(ImageOrientationPatient=lambda dataset, k: turned(dataset, 0.05 if k == 2 else 0.0))
    with pytest.raises(MedganError, match=r"orientation or PixelSpacing of IM0002.dcm is 0.3\d* mm off"):
        read(write_dicom_series(tmp_path, volume, edit=edit))


def test_a_fine_step_does_not_hide_behind_the_tolerance(tmp_path):
    """Slices 0.1 mm apart, one of them 0.04 mm off: 40 % of a step."""
    volume = box_volume(SHAPE, np.diag([-0.1, -0.1, 0.1, 1.0]))
    moved = change(ImagePositionPatient=lambda dataset, k: [0, 0, f"{0.1 * k + (0.04 if k == 3 else 0):.6g}"])
    with pytest.raises(MedganError, match="evenly spaced"):
        read(write_dicom_series(tmp_path, volume, edit=moved))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImagePositionPatient": ["1,5", "0", "0"]}, "must have 3 numbers in ImagePositionPatient, found text"),
        ({"ImageOrientationPatient": ["SECRET"] * 6}, "6 numbers in ImageOrientationPatient, found text"),
        ({"ImagePositionPatient": ["0", "0", "nan"]}, "3 finite numbers in ImagePositionPatient"),
        ({"ImagePositionPatient": ["0", "0", "1e308"]}, "within 1e.06 mm of the origin"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular unit vectors"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [1, 1]}, "no PixelSpacing"),
        ({"PixelSpacing": ["-1", "1"]}, "PixelSpacing above zero"),
        ({"StudyInstanceUID": lambda dataset, k: f"1.2.{k}"}, "more than one study"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*nvalid value")
def test_headers_that_place_nothing_are_refused_without_quoting_them(tmp_path, elements, message):
    def unchecked(dataset, k):
        from pydicom import config

        with config.disable_value_validation():
            try:
                change(**elements)(dataset, k)
            except ValueError:  # pydicom will not hold text as a decimal: write the bytes
                from pydicom.dataelem import RawDataElement
                from pydicom.tag import Tag

                for keyword, value in elements.items():
                    raw = "\\".join(value).encode()
                    dataset[keyword] = RawDataElement(Tag(keyword), "DS", len(raw), raw, 0, False, True)

    folder = write_dicom_series(tmp_path / "series_a", box_volume(), edit=unchecked)
    with pytest.raises(MedganError, match=message) as caught:
        read(folder)
    assert "series_a" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_missing_slice_in_a_tilted_series_is_refused(tmp_path):
    affine = oblique_affine()
    affine[:3, 2] += affine[:3, 1] * 0.4
    folder = write_dicom_series(tmp_path, box_volume(affine=affine), drop=[3])
    with pytest.raises(MedganError, match="slice missing between"):
        read(folder)


REAL = ("data/thorax_ct_dicom_rtstruct", "data/ct_dicom_seg/ct-3slice", "data/totalsegmentator_ct/example_ct_dicom")


@needs_shared
@pytest.mark.parametrize("folder", REAL)
def test_real_series_agree_with_an_independent_reader(folder):
    """SimpleITK (GDCM) gets the files in our order, and gives its own geometry and values."""
    folder = SHARED / folder
    volume, stack = read(folder), read_stack(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(each.file.path) for each in stack.slices])
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine, volume.affine, atol=1e-3)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image).T, volume.data[0])

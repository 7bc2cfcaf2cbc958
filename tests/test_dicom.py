"""DICOM series: positions decide, and anything that would bend the geometry or the values is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from phantoms import (
    SHARED,
    assert_same_world,
    box_volume,
    change,
    oblique_affine,
    set_pixels,
    write_dicom_series,
)
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    SegmentationStorage,
    generate_uid,
)

from medgan.errors import MedganError
from medgan.volume import nifti
from medgan.volume.dicom import read as dicom
from medgan.volume.volume import Volume, same_grid

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")


def refused(path: Path, match: str, **options) -> str:
    with pytest.raises(MedganError, match=match) as caught:
        dicom.read(path, **options)
    message = str(caught.value)
    assert "DOE" not in message
    assert "00412345" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("left_handed", [False, True])
def test_nifti_and_dicom_of_one_phantom_give_the_same_world_coordinates(tmp_path, left_handed):
    volume = box_volume(affine=oblique_affine(left_handed=left_handed))
    nifti.write(volume, tmp_path / "ct.nii.gz")
    write_dicom_series(tmp_path / "series", volume, seed=1)
    assert_same_world(nifti.read(tmp_path / "ct.nii.gz"), dicom.read(tmp_path / "series"))


def test_slices_come_sorted_by_position_whatever_their_names(tmp_path):
    affine = np.diag([-1.5, -2.0, 3.0, 1.0])  # DICOM's own axes
    volume = box_volume(affine=affine)
    again = dicom.read(write_dicom_series(tmp_path / "s", volume, seed=3))
    np.testing.assert_allclose(again.affine, affine, atol=1e-9)
    np.testing.assert_array_equal(again.data, volume.data)
    assert again.data.dtype == np.float32


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless]
)
def test_every_transfer_syntax_gives_the_same_values(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="pyjpegls writes the JPEG-LS phantom")
    volume = box_volume((12, 10, 3))
    assert_same_world(dicom.read(write_dicom_series(tmp_path / "s", volume, transfer_syntax=syntax)), volume)


def test_every_slice_has_its_own_rescale(tmp_path):
    def doubled(dataset, k):
        if k == 1:
            dataset.RescaleSlope = "2"

    volume = box_volume()
    again = dicom.read(write_dicom_series(tmp_path / "s", volume, edit=doubled))
    expected = volume.data.copy()
    expected[..., 1] = (expected[..., 1] + 1024) * 2 - 1024
    assert_same_world(again, Volume(expected, volume.affine))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEGLSLossless])
def test_monochrome1_is_not_inverted(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="pyjpegls writes the JPEG-LS phantom")

    def inverted(dataset, k):
        dataset.PhotometricInterpretation = "MONOCHROME1"

    volume = box_volume((12, 10, 2))
    folder = write_dicom_series(tmp_path / "s", volume, transfer_syntax=syntax, edit=inverted)
    assert_same_world(dicom.read(folder), volume)


def test_one_slice_is_as_thick_as_it_says(tmp_path):
    volume = dicom.read(write_dicom_series(tmp_path / "s", box_volume((12, 10, 1))))
    assert volume.shape == (12, 10, 1)
    assert volume.spacing_mm == pytest.approx((1.5, 2.0, 3.0))


def test_one_file_stands_for_its_whole_series(tmp_path):
    first, second = box_volume(), box_volume((6, 5, 4))
    write_dicom_series(tmp_path / "s", first)
    write_dicom_series(tmp_path / "other", second)
    for file in (tmp_path / "other").iterdir():
        file.rename(tmp_path / "s" / f"other_{file.name}")
    assert dicom.read(tmp_path / "s" / "IM0003.dcm").shape == first.shape
    assert dicom.read(tmp_path / "s" / "other_IM0000.dcm").shape == second.shape
    message = refused(tmp_path / "s", "must hold one series, but holds 2")
    assert "(CT, 8 slices, 12x10, 1.5x2x3 mm)" in message
    assert "(CT, 4 slices, 6x5, 1.5x2x3 mm)" in message


def test_what_is_not_a_slice_is_left_out(tmp_path):
    folder = write_dicom_series(tmp_path / "s", box_volume())
    (folder / "README.txt").write_text("notes")
    (folder / "lock").touch()
    (folder / "cache").write_bytes(b"\x08\0" + bytes(range(256)))  # begins like a data set without preamble
    (folder / "._IM0001.dcm").write_bytes(b"\0\5\x16\7")
    (folder / "sub").mkdir()
    (folder / "loop").symlink_to(folder)
    report = dcmread(folder / "IM0000.dcm")
    del report.PixelData, report.Rows
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(folder / "report.dcm")
    segmentation = dcmread(folder / "IM0000.dcm")
    segmentation.SOPClassUID, segmentation.SeriesInstanceUID = SegmentationStorage, generate_uid()
    segmentation.save_as(folder / "seg.dcm")
    shutil.copy(folder / "IM0004.dcm", folder / "IM0004 (copy).dcm")
    assert_same_world(dicom.read(folder), box_volume())
    refused(folder / "seg.dcm", "DICOM SEG")


def test_a_localizer_is_left_out_and_told(tmp_path):
    def scout(dataset, k):
        if k == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    folder = write_dicom_series(tmp_path / "s", box_volume(), edit=scout)
    with pytest.warns(UserWarning, match=r"left out of the series: 1 localizer image \(scout\)"):
        assert dicom.read(folder).shape == (12, 10, 7)


def test_a_data_set_without_preamble_is_read(tmp_path):
    folder = write_dicom_series(tmp_path / "s", box_volume(), transfer_syntax=ImplicitVRLittleEndian)
    for file in folder.iterdir():
        data = file.read_bytes()
        file.write_bytes(data[144 + int.from_bytes(data[140:144], "little") :])
    assert_same_world(dicom.read(folder), box_volume())


def test_a_missing_slice_is_refused_with_the_gap_named(tmp_path):
    folder = write_dicom_series(tmp_path / "ct_12", box_volume(), drop=[3, 6], seed=2)
    message = refused(folder, "slice missing between")
    assert "slice missing between 6 and 12 mm, between 15 and 21 mm (step 3 mm)" in message


def shifted(axis, amount, *, at):
    def position(dataset, k):
        found = [float(x) for x in dataset.ImagePositionPatient]
        found[axis] += amount * (k if at is None else k == at)
        return found

    return position


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImagePositionPatient": shifted(2, 1.0, at=4)}, "found a step of 2 mm at 13 mm and of 4 mm at 9 mm"),
        ({"ImagePositionPatient": shifted(2, -3.0, at=4)}, "IM0003.dcm and IM0004.dcm lie at the same position, 9 mm"),
        ({"ImagePositionPatient": shifted(0, 5.0, at=4)}, "in one line, but the position of IM0004.dcm is 5 mm off"),
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"ImagePositionPatient": ["0", "0"]}, "3 finite numbers in ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "no ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8660254, 0]}, "perpendicular unit vectors"),
        (
            {"ImageOrientationPatient": lambda d, k: [0, 1, 0, 1, 0, 0] if k == 2 else d.ImageOrientationPatient},
            "one orientation.*IM0002.dcm has",
        ),
        ({"PixelSpacing": None}, "no PixelSpacing"),
        ({"PixelSpacing": [0, 0]}, "PixelSpacing above zero"),
        ({"PixelSpacing": lambda d, k: [1, 1] if k == 2 else d.PixelSpacing}, "one PixelSpacing.*IM0002.dcm has"),
        ({"RescaleSlope": "0"}, "RescaleSlope other than 0"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "CT slice without RescaleSlope"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, r"8 colour image \(RGB\)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"NumberOfFrames": 4}, "calls for 960 bytes, found 240"),
        ({"Rows": 60000, "Columns": 60000}, "truncated.*calls for 7,200,000,000 bytes, found 240"),
        ({"Rows": 4}, "calls for 96 bytes of pixels, but it holds 240"),
        ({"PixelData": None}, "no pixel data"),
        ({"PatientID": lambda d, k: f"P{k % 2}"}, "more than one patient"),
        ({"FrameOfReferenceUID": lambda d, k: generate_uid()}, "more than one frame of reference"),
        ({"SOPInstanceUID": "1.2.3"}, "duplicates by SOPInstanceUID"),
    ],
)
def test_a_series_that_would_load_wrong_is_refused(tmp_path, elements, message):
    folder = write_dicom_series(tmp_path / "series_a", box_volume(), edit=change(**elements))
    with pytest.raises(MedganError, match=message) as caught:
        dicom.read(folder)
    assert "series_a" in str(caught.value)


def test_a_slice_of_another_size_is_named(tmp_path):
    def larger(dataset, k):
        if k == 5:
            set_pixels(dataset, np.zeros((20, 24), np.int16))

    folder = write_dicom_series(tmp_path / "s", box_volume(), edit=larger)
    refused(folder, r"one size, most have \(12, 10\), but IM0005.dcm has \(24, 20\)")


def test_positions_rounded_by_the_scanner_are_even_enough(tmp_path):
    affine = np.diag([-1.0, -1.0, 2.0 / 3, 1.0])
    rounded = change(ImagePositionPatient=lambda d, k: [f"{float(x):.2f}" for x in d.ImagePositionPatient])
    volume = dicom.read(write_dicom_series(tmp_path / "s", box_volume(affine=affine), edit=rounded))
    assert same_grid(volume, box_volume(affine=affine))


def test_every_truncation_of_a_slice_is_refused(tmp_path):
    folder = write_dicom_series(tmp_path / "s", box_volume((12, 10, 3)))
    data = (folder / "IM0002.dcm").read_bytes()
    for length in range(0, len(data), 11):
        (folder / "IM0002.dcm").write_bytes(data[:length])
        with pytest.raises(MedganError, match=r"s(/IM0002.dcm|\b)"):
            dicom.read(folder)


def test_a_truncated_rle_frame_is_refused(tmp_path):
    folder = write_dicom_series(tmp_path / "s", box_volume((12, 10, 1)), transfer_syntax=RLELossless)
    dataset = dcmread(folder / "IM0000.dcm")
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: len(frame) - 10]])
    dataset.save_as(folder / "IM0000.dcm")
    refused(folder / "IM0000.dcm", r"pixel data \(RLE Lossless\) are truncated or cannot be decoded")


def test_a_file_that_only_calls_itself_dicom_is_named(tmp_path):
    folder = write_dicom_series(tmp_path / "s", box_volume())
    (folder / "IM0007.dcm").write_bytes(b"")
    with pytest.raises(MedganError, match=r"IM0007.dcm is empty \(0 bytes\)"):
        dicom.read(folder)


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path, "there is no DICOM image series here .found 1 not DICOM;")


def test_the_size_limit_holds_for_the_whole_series(tmp_path):
    folder = write_dicom_series(tmp_path / "s", box_volume())
    refused(folder, "at most 959 voxels", max_voxels=959)
    assert dicom.read(folder, max_voxels=960).shape == (12, 10, 8)


def test_padding_outside_the_field_of_view_stays_as_stored(tmp_path):
    def padded(dataset, k):
        stored = dataset.pixel_array.copy()
        stored[0, :4] = -2000
        set_pixels(dataset, stored)
        dataset.PixelPaddingValue = -2000

    volume = dicom.read(write_dicom_series(tmp_path / "s", box_volume(), edit=padded))
    assert (volume.data[0, :4, 0] == -3024).all()
    assert volume.data[0, 4, 0, 0] == box_volume().data[0, 4, 0, 0]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("padding", "limit"), [(1000, None), (-3000, 1000)])
def test_padding_that_reads_as_tissue_is_told(tmp_path, syntax, padding, limit):
    def padded(dataset, k):
        stored = dataset.pixel_array.copy()
        stored[1:3, :2] = 1000
        set_pixels(dataset, np.where(stored == 1000, 1000, stored.clip(1100)).astype(np.int16))
        dataset.PixelPaddingValue = padding
        if limit is not None:
            dataset.PixelPaddingRangeLimit = limit
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            if keyword in dataset:
                dataset[keyword].VR = "SS"

    folder = write_dicom_series(tmp_path / "s", box_volume(), transfer_syntax=syntax, edit=padded)
    with pytest.warns(UserWarning, match=r"s: 32 voxels are padding outside the field of view"):
        assert (dicom.read(folder).data[0, :2, 1:3] == -24).all()


@needs_shared
def test_a_real_series_is_ordered_as_gdcm_orders_it():
    folder = SHARED / "data/totalsegmentator_ct/example_ct_dicom"
    volume = dicom.read(folder)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(volume.data[0], sitk.GetArrayViewFromImage(image).T)
    far = [n - 1 for n in volume.shape]
    for index in ([0, 0, 0], far):
        lps = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3] * [-1, -1, 1], lps, atol=1e-3)


@needs_shared
def test_a_real_label_stored_las_lies_on_the_series_it_was_made_from():
    label = nifti.read(SHARED / "data/totalsegmentator_ct/example_seg_dicom.nii.gz")
    series = dicom.read(SHARED / "data/totalsegmentator_ct/example_ct_dicom")
    assert (label.orientation, series.orientation) == ("LAS", "LPS")
    flipped = series.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 511], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert same_grid(Volume(series.data, flipped), label)
    hu = series.data[0, :, ::-1]
    assert hu[label.data[0] > 0].mean() > hu[label.data[0] == 0].mean() + 200  # organs, not the air around the body

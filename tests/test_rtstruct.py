"""RTSTRUCT: contours land on the right voxels of the right series, or one sentence says why not."""

import struct
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from phantoms import SHARED, box_volume, oblique_affine, write_dicom_series
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from medgan.errors import MedganError
from medgan.labels import CodedTerm
from medgan.volume import nifti
from medgan.volume.affine import lps_to_ras
from medgan.volume.dicom.rtstruct import read_rtstruct
from medgan.volume.dicom.stack import read_stack
from medgan.volume.volume import Volume

THORAX = SHARED / "data" / "thorax_ct_dicom_rtstruct"
HEART_LUNG = SHARED / "data" / "rtstruct_heart_lung"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")

Contour = tuple[str, np.ndarray]
GRID = Volume(np.zeros((1, 12, 10, 8), np.uint8), lps_to_ras(np.diag([1.0, 1.0, 2.0, 1.0])))  # voxels are LPS mm, z / 2


def square(low: float, high: float, *, z: float, kind: str = "CLOSED_PLANAR") -> Contour:
    """Return a square in x and y (LPS mm) at z."""
    return kind, np.array([(low, low, z), (high, low, z), (high, high, z), (low, high, z)])


def contour_item(contour: Contour) -> Dataset:
    item = Dataset()
    item.ContourGeometricType, points = contour
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{value:.6g}" for value in points.ravel()]
    return item


def structure_set(
    path: Path,
    rois: Mapping[int, Sequence[Contour] | None],
    *,
    images: Sequence[str] = (),
    series: str = "1.2.3",
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write an RTSTRUCT of ROIs named "organ 1" and so on; None for one without a contour sequence."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "RTSTRUCT", generate_uid(), "1.2"
    dataset.PatientName, dataset.PatientID = "DOE^JANE", "MRN-00412345"
    frame, study, referenced = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = series
    referenced.ContourImageSequence = [Dataset() for _ in images]
    for item, uid in zip(referenced.ContourImageSequence, images, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [referenced], [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, contours in rois.items():
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, f"organ {number}", "MANUAL"
        item.ReferencedROINumber, item.ROIDisplayColor = number, [255, 10 * number, 0]
        if contours is not None:
            item.ContourSequence = [contour_item(contour) for contour in contours]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(item)
    if edit:
        edit(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def marked(path: Path, *, reference: Volume = GRID) -> set[tuple[int, ...]]:
    """Return the voxels of the first ROI."""
    segment = read_rtstruct(path, reference=reference).segments[0]
    return {tuple(index) for index in (np.argwhere(segment.mask) + segment.start).tolist()}


def voxels(low: int, high: int, *, k: int) -> set[tuple[int, int, int]]:
    return {(i, j, k) for i in range(low, high + 1) for j in range(low, high + 1)}


def refused(path: Path, match: str, *, reference: Volume | Path | None = GRID, **options: int) -> str:
    with pytest.raises(MedganError, match=match) as caught:
        read_rtstruct(path, reference=reference, **options)
    message = str(caught.value)
    assert "DOE" not in message
    assert "organ" not in message.replace("no organs have", "")
    assert path.name in message
    return message


def test_contour_marks_the_voxels_whose_centres_it_encloses(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.6, 4.4, z=6.0)]})
    assert marked(path) == voxels(2, 4, k=3)


def test_roi_keeps_number_name_color_and_code(tmp_path):
    def add_code(dataset: Dataset) -> None:
        observation, code = Dataset(), Dataset()
        observation.ReferencedROINumber, observation.RTROIIdentificationCodeSequence = 9, [code]
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "80891009", "SCT", "Heart"
        dataset.RTROIObservationsSequence = [observation]

    path = structure_set(tmp_path / "rt.dcm", {7: [square(1, 3, z=2)], 9: [square(4, 6, z=2)]}, edit=add_code)
    first, second = read_rtstruct(path, reference=GRID).segments
    assert (first.number, first.name, first.color, first.code) == (7, "organ 7", (255, 70, 0), None)
    assert (second.number, second.name, second.color) == (9, "organ 9", (255, 90, 0))
    assert second.code == CodedTerm("SCT", "80891009", "Heart")


@pytest.mark.parametrize("contours", [None, []])
def test_roi_without_contours_is_an_empty_segment(tmp_path, contours):
    path = structure_set(tmp_path / "rt.dcm", {3: contours, 5: [square(1, 3, z=2)]})
    empty, other = read_rtstruct(path, reference=GRID).segments
    assert (empty.number, empty.num_voxels, empty.mask.shape) == (3, 0, (0, 0, 0))
    assert other.num_voxels == 4


def test_hole_and_island_follow_the_even_odd_rule(tmp_path):
    contours = [square(0.5, 7.5, z=2), square(1.5, 6.5, z=2), square(3.5, 4.5, z=2)]
    path = structure_set(tmp_path / "rt.dcm", {1: contours})
    assert marked(path) == (voxels(1, 7, k=1) - voxels(2, 6, k=1)) | voxels(4, 4, k=1)


def test_contours_combined_by_exclusive_or_are_read(tmp_path):
    contours = [square(low, high, z=2, kind="CLOSEDPLANAR_XOR") for low, high in [(0.5, 4.5), (2.5, 6.5)]]
    path = structure_set(tmp_path / "rt.dcm", {1: contours})
    assert marked(path) == voxels(1, 4, k=1) ^ voxels(3, 6, k=1)


def test_contour_that_is_there_twice_counts_once(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=2), square(1.5, 4.5, z=2)]})
    with pytest.warns(UserWarning, match=r"contours of ROI 1 \(1 in all\) repeat another one and count once"):
        assert marked(path) == voxels(2, 4, k=1)


def test_points_and_open_lines_are_left_out_with_a_warning(tmp_path):
    point = ("POINT", np.array([(3.0, 3.0, 2.0)]))
    path = structure_set(
        tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=2), point, square(6, 9, z=2, kind="OPEN_PLANAR")]}
    )
    with pytest.warns(UserWarning, match=r"ROI 1 \(2 in all\) are points or open lines"):
        assert marked(path) == voxels(2, 4, k=1)


def test_contour_between_slices_is_drawn_on_the_nearest_with_a_warning(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {4: [square(1.5, 4.5, z=2.7)]})
    with pytest.warns(UserWarning, match=r"ROI 4 \(1 in all\) lie between slices and are drawn on the nearest one"):
        assert marked(path) == voxels(2, 4, k=1)


def test_contours_closer_together_than_slices_do_not_cancel(tmp_path):
    contours = [square(1.5, 4.5, z=1.3), square(0.5, 5.5, z=2.1), square(1.5, 4.5, z=2.8)]
    path = structure_set(tmp_path / "rt.dcm", {1: contours})
    with pytest.warns(UserWarning, match="ROI 1") as caught:
        assert marked(path) == voxels(1, 5, k=1)
    told = "\n".join(str(each.message) for each in caught)
    assert "ROI 1 (2 in all) are left out, as others lie nearer to the same slice" in told


def test_contours_on_every_second_slice_leave_gaps_with_a_warning(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=z) for z in (0, 4, 8, 12)]})
    with pytest.warns(UserWarning, match="lie 2 slices apart; the slices between are left empty"):
        assert marked(path) == set().union(*(voxels(2, 4, k=k) for k in (0, 2, 4, 6)))


def test_contour_reaching_outside_the_image_is_cut_off_with_a_warning(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(-50, 2.5, z=2)], 2: [square(1, 3, z=40), square(1, 3, z=2)]})
    with pytest.warns(UserWarning, match="ROI") as caught:
        assert marked(path) == voxels(0, 2, k=1)
    told = "\n".join(str(each.message) for each in caught)
    assert "ROI 1 (1 in all) reach outside the image and are cut off" in told
    assert "ROI 2 (1 in all) lie outside the image and are left out" in told


def test_all_contours_outside_the_image_are_refused(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1, 3, z=40)], 2: [square(100, 120, z=2)]})
    refused(path, "all are outside the reference image")


def test_contour_oblique_to_the_slices_is_refused(tmp_path):
    oblique = ("CLOSED_PLANAR", np.array([(1.0, 1.0, 2.0), (5.0, 1.0, 4.0), (5.0, 5.0, 6.0), (1.0, 5.0, 4.0)]))
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1, 3, z=2)], 2: [oblique]})
    refused(path, "parallel to the slices of the image, but some of ROI 2 are oblique")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("is_flipped", [False, True])
def test_reference_may_have_its_axes_in_any_order(tmp_path, order, is_flipped):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=2), square(0.5, 2.5, z=4)]})
    data = np.moveaxis(GRID.data[0], order, (0, 1, 2))
    affine = GRID.affine[:, [*order, 3]]
    if is_flipped:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, 0] * (data.shape[0] - 1)
        affine[:3, 0] *= -1
    found = {
        tuple(np.rint(np.linalg.inv(GRID.affine) @ affine @ [*index, 1])[:3].astype(int).tolist())
        for index in marked(path, reference=Volume(data[None], affine))
    }
    assert found == voxels(2, 4, k=1) | voxels(1, 2, k=2)


@pytest.mark.parametrize("left_handed", [False, True])
def test_contours_on_oblique_slices_are_read(tmp_path, left_handed):
    affine = oblique_affine(left_handed=left_handed)
    corners = np.array([(2.5, 1.5, 3, 1), (6.5, 1.5, 3, 1), (6.5, 7.5, 3, 1), (2.5, 7.5, 3, 1)])
    points = (lps_to_ras(affine) @ corners.T).T[:, :3]
    path = structure_set(tmp_path / "rt.dcm", {1: [("CLOSED_PLANAR", points)]})
    found = marked(path, reference=Volume(np.zeros((1, 12, 10, 8), np.uint8), affine))
    assert found == {(i, j, 3) for i in range(3, 7) for j in range(2, 8)}


def test_rois_of_one_name_are_told_of(tmp_path):
    def rename(dataset: Dataset) -> None:
        for roi in dataset.StructureSetROISequence:
            roi.ROIName = "lung"

    path = structure_set(tmp_path / "rt.dcm", {2: [square(1, 3, z=2)], 5: [square(4, 6, z=2)]}, edit=rename)
    with pytest.warns(UserWarning, match="ROIs 2, 5 do not have names of their own"):
        assert read_rtstruct(path, reference=GRID).names == ("lung", "lung")


def test_roi_numbers_below_one_are_counted_anew(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {0: [square(1, 3, z=2)], 1: [square(4, 6, z=2)]})
    with pytest.warns(UserWarning, match="must be above 0 to be label values"):
        assert [segment.number for segment in read_rtstruct(path, reference=GRID).segments] == [1, 2]


def edit_contour(**changes: object) -> Callable[[Dataset], None]:
    """Return what changes, or with None removes, elements of the first contour."""

    def edit(dataset: Dataset) -> None:
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        for keyword, value in changes.items():
            delattr(contour, keyword)
            if value is not None:
                contour.add_new(keyword, "LO", value)

    return edit


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ContourData": None}, "ROI 6 has no ContourData"),
        ({"ContourData": ""}, "ROI 6 has no ContourData"),
        ({"ContourData": "1\\2\\3\\4"}, "three coordinates for each of its 4 points, found 4 numbers"),
        ({"ContourData": "1\\2\\2", "NumberOfContourPoints": None}, None),
        ({"ContourData": "1\\2", "NumberOfContourPoints": None}, "three coordinates for each"),
        ({"ContourData": "nan\\2\\3"}, "finite numbers in ContourData"),
        ({"ContourData": "1e999\\2\\3"}, "finite numbers in ContourData"),
        ({"ContourData": "1,5\\2\\3"}, "finite numbers in ContourData"),
        ({"ContourData": "1\\\\3"}, "finite numbers in ContourData"),
        ({"ContourData": "1_0\\2\\3"}, "finite numbers in ContourData"),
        ({"ContourData": "1e300\\2\\3", "NumberOfContourPoints": "1"}, "reaches more than 524,288 voxels away"),
        ({"NumberOfContourPoints": "5"}, "each of its 5 points, found 12 numbers"),
        ({"NumberOfContourPoints": "x"}, "finite numbers in NumberOfContourPoints"),
        ({"ContourGeometricType": "BANANA"}, "ContourGeometricType says neither"),
        ({"ContourGeometricType": None}, "ContourGeometricType says neither"),
    ],
)
def test_damaged_contour_is_refused(tmp_path, changes, match):
    path = structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)]}, edit=edit_contour(**changes))
    if match is None:
        assert marked(path) == set()
    else:
        assert "ROI 6" in refused(path, match)


def test_contours_of_an_unnamed_roi_are_refused(tmp_path):
    def forget(dataset: Dataset) -> None:
        dataset.StructureSetROISequence = []

    path = structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)]}, edit=forget)
    refused(path, "contours of ROI 6, but names no such ROI")


def test_two_rois_of_one_number_are_refused(tmp_path):
    def repeat(dataset: Dataset) -> None:
        dataset.StructureSetROISequence = [dataset.StructureSetROISequence[0]] * 2

    path = structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)]}, edit=repeat)
    refused(path, "has ROI 6 twice")


def test_two_lists_of_contours_of_one_roi_are_refused(tmp_path):
    def misname(dataset: Dataset) -> None:
        dataset.ROIContourSequence[1].ReferencedROINumber = 6

    path = structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)], 7: [square(1, 3, z=4)]}, edit=misname)
    refused(path, "has the contours of ROI 6 twice")


def explicit(path: Path, kinds: Mapping[int, str]) -> Path:
    """Write a structure set again with explicit VRs, of which some are damaged."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    content = path.read_bytes()
    for tag, kind in kinds.items():
        at = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF)) + 4
        content = content[:at] + kind.encode() + content[at + 2 :]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["UT", "UC", "OB", "OF", "OD", "KS"])
@pytest.mark.parametrize("tag", [0x30060020, 0x30060039, 0x30060040])
def test_sequence_of_another_kind_is_refused(tmp_path, tag, kind):
    path = structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)]})
    refused(explicit(path, {tag: kind}), "is no sequence|is damaged|is truncated|is a damaged DICOM file")


@pytest.mark.parametrize(("tag", "kind"), [(0x30060042, "LO"), (0x30060046, "US"), (0x30060050, "FD")])
def test_contour_of_another_kind_is_refused(tmp_path, tag, kind):
    path = structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)]})
    refused(explicit(path, {tag: kind}), "of another kind than it must be")


@pytest.mark.parametrize("kind", ["US", "FD", "KS"])
def test_color_of_another_kind_is_forgotten(tmp_path, kind):
    path = explicit(structure_set(tmp_path / "rt.dcm", {6: [square(1, 3, z=2)]}), {0x3006002A: kind})
    assert read_rtstruct(path, reference=GRID).segments[0].color is None
    assert marked(path) == voxels(1, 2, k=1)


def test_truncated_file_is_refused(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=z) for z in (0, 2, 4, 6)]})
    whole = path.read_bytes()
    for length in range(500, len(whole), 37):
        path.write_bytes(whole[:length])
        refused(path, "truncated|damaged")


def test_contours_swallowed_by_a_damaged_length_are_missed(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=z) for z in (0, 2, 4, 6)]})
    content = bytearray(path.read_bytes())
    content[content.index(b"\x06\x30\x42\x00") - 2] = 1  # the length of the first contour's item: 64 KiB more
    path.write_bytes(content)
    refused(path, "items of its ContourSequence run into one another")


@pytest.mark.parametrize("element", [b"\x4d\x00", b"\x8c\x00"])
def test_contours_under_a_damaged_tag_are_missed(tmp_path, element):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1.5, 4.5, z=z) for z in (0, 2, 4, 6)]})
    path.write_bytes(path.read_bytes().replace(b"\x06\x30\x40\x00", b"\x06\x30" + element, 1))
    refused(path, "ROI 1 has no contours but an element .* instead")


def test_other_files_are_refused(tmp_path):
    write_dicom_series(tmp_path / "ct", box_volume())
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "ct" / "IM0000.dcm", "must be an RTSTRUCT .* but is of modality CT")
    refused(tmp_path / "notes.txt", "must be an RTSTRUCT .* but is not DICOM")
    refused(tmp_path / "ct", "must be an RTSTRUCT file, but is a folder")
    refused(tmp_path / "none.dcm", "must be an RTSTRUCT file, but is not there")


@pytest.mark.parametrize("length", [0xFFFFFFFF, 16_000_000])
def test_file_with_countless_items_is_refused_before_it_is_parsed(tmp_path, length, parsed_items):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1, 3, z=2)]})
    content = path.read_bytes()
    start = content.index(b"\x06\x30\x39\x00")
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2_000_000 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    path.write_bytes(content[: start + 4] + struct.pack("<I", length) + items)
    parsed_items.clear()
    refused(path, "ROIContourSequence has 2,000,000 sequence items|is a damaged DICOM file")
    assert len(parsed_items) <= 75_000  # where the header reader stops


def test_thousands_of_contours_of_undefined_length_are_read(tmp_path):
    def undefine(dataset: Dataset) -> None:
        for sequence in (dataset[0x30060039], *(item[0x30060040] for item in dataset.ROIContourSequence)):
            sequence.is_undefined_length = True
            for item in sequence.value:
                item.is_undefined_length_sequence_item = True

    rois = {n: [square(x / 10, x / 10 + 2, z=2 * (x % 8)) for x in range(50)] for n in range(1, 101)}
    path = structure_set(tmp_path / "rt.dcm", rois, edit=undefine)
    assert path.read_bytes().count(b"\xfe\xff\x0d\xe0") > 5000
    segments = read_rtstruct(path, reference=GRID)
    assert len(segments.segments) == 100
    assert len({segment.num_voxels for segment in segments.segments}) == 1
    assert segments.segments[0].num_voxels > 0


def test_contours_without_measure_are_refused(tmp_path):
    grid = Volume(np.zeros((1, 600, 600, 1), np.uint8), lps_to_ras(np.eye(4)))
    zigzag = np.array([(n % 600, 600 * (n % 2), 0) for n in range(60_000)], float)
    path = structure_set(tmp_path / "rt.dcm", {1: [("CLOSED_PLANAR", zigzag)]})
    refused(path, "cross the rows of the image some .* times", reference=grid)


def test_too_many_large_rois_are_refused(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {n: [square(-0.5, 9.5, z=z) for z in (0, 14)] for n in range(1, 8)})
    refused(path, "7 ROIs are too large to hold at once", max_voxels=1000)


def test_too_large_a_reference_is_refused(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1, 3, z=2)]})
    with pytest.raises(MedganError, match="at most 900 voxels"):
        read_rtstruct(path, reference=GRID, max_voxels=900)


# --- the series it refers to


def series_beside(folder: Path, rt: str, **options: object) -> tuple[Path, Volume]:
    """Write a CT series to `folder/ct`, and at `folder/rt` the contour of a square on its slice 2."""
    volume = box_volume(affine=GRID.affine)
    write_dicom_series(folder / "ct", volume, **options)
    stack = read_stack(folder / "ct")
    images = [each.file.text("SOPInstanceUID") for each in stack.slices]
    path = structure_set(folder / rt, {1: [square(1.5, 4.5, z=4)]}, images=images, series=stack.uid)
    return path, volume


@pytest.mark.parametrize("rt", ["rt.dcm", "ct/rt.dcm", "rt/rt.dcm"])
def test_referenced_series_is_found_below_the_folder_or_the_one_above(tmp_path, rt):
    path, volume = series_beside(tmp_path / "case", rt)
    segments = read_rtstruct(path)
    assert segments.shape == volume.shape
    np.testing.assert_allclose(segments.affine, volume.affine)
    assert segments.segments[0].start == (2, 2, 2)
    assert segments.segments[0].num_voxels == 9


def test_referenced_series_is_found_among_others(tmp_path):
    write_dicom_series(tmp_path / "other", box_volume((6, 6, 6)))
    path, volume = series_beside(tmp_path, "rt.dcm")
    assert read_rtstruct(path).shape == volume.shape
    assert read_rtstruct(path, reference=tmp_path).shape == volume.shape


def test_empty_items_among_the_referenced_images_do_not_matter(tmp_path):
    def add_empty(dataset: Dataset) -> None:
        study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence[0].ContourImageSequence.append(Dataset())

    path, volume = series_beside(tmp_path, "rt.dcm")
    dataset = dcmread(path)
    add_empty(dataset)
    dataset.save_as(path)
    assert read_rtstruct(path).shape == volume.shape


def test_images_named_by_contours_alone_lead_to_the_series(tmp_path):
    path, volume = series_beside(tmp_path, "rt.dcm")
    dataset = dcmread(path)
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    images = study.RTReferencedSeriesSequence[0].ContourImageSequence
    dataset.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = images[2:3]
    del dataset.ReferencedFrameOfReferenceSequence
    dataset.save_as(path)
    assert read_rtstruct(path).shape == volume.shape


def test_missing_series_is_refused_with_the_way_out(tmp_path):
    path = structure_set(tmp_path / "a" / "rt.dcm", {1: [square(1, 3, z=2)]}, images=["1.2.3.4", "1.2.3.5"])
    write_dicom_series(tmp_path / "a" / "ct", box_volume())
    message = refused(path, "images of the referenced series are missing", reference=None)
    assert "it refers to 2 images of series 1.2.3, of which 0 are below its folder or the one above" in message
    assert "pass reference=" in message


def test_missing_image_is_refused(tmp_path):
    path, _ = series_beside(tmp_path / "case", "rt.dcm")
    (tmp_path / "case" / "ct" / "IM0007.dcm").unlink()
    refused(path, "refers to 8 images of series .*, of which 7 are below", reference=None)
    with pytest.warns(UserWarning, match="rt.dcm refers to 8 images, of which 7 are in .*ct; its contours are drawn"):
        assert read_rtstruct(path, reference=tmp_path / "case" / "ct").shape == (12, 10, 7)


def test_drawing_on_the_series_of_somebody_else_is_told(tmp_path):
    path, _ = series_beside(tmp_path / "case", "rt.dcm")
    series_beside(tmp_path / "other", "rt.dcm")
    with pytest.warns(UserWarning, match="refers to 8 images, of which 0 are in"):
        read_rtstruct(path, reference=tmp_path / "other" / "ct")


def test_structure_set_that_refers_to_nothing_needs_a_reference(tmp_path):
    def forget(dataset: Dataset) -> None:
        del dataset.ReferencedFrameOfReferenceSequence

    path = structure_set(tmp_path / "rt.dcm", {1: [square(1, 3, z=2)]}, edit=forget)
    refused(path, "refers to no image series.* pass reference=", reference=None)


def test_reference_may_be_a_nifti_file_or_one_slice_of_a_series(tmp_path):
    path, volume = series_beside(tmp_path, "rt.dcm")
    nifti.write(volume, tmp_path / "ct.nii.gz")
    for reference in (tmp_path / "ct.nii.gz", tmp_path / "ct" / "IM0003.dcm", str(tmp_path / "ct")):
        segments = read_rtstruct(path, reference=reference)
        assert (segments.shape, segments.segments[0].num_voxels) == (volume.shape, 9)


def test_reference_that_is_not_there_is_refused(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {1: [square(1, 3, z=2)]})
    with pytest.raises(MedganError, match="none: there is no reference image here"):
        read_rtstruct(path, reference=tmp_path / "none")


def test_contours_on_sheared_slices_are_read(tmp_path):
    sheared = GRID.affine.copy()
    sheared[1, 2] = 0.4  # every slice a little further to the front
    corners = np.array([(2.5, 1.5, 3, 1), (6.5, 1.5, 3, 1), (6.5, 7.5, 3, 1), (2.5, 7.5, 3, 1)])
    points = (lps_to_ras(sheared) @ corners.T).T[:, :3]
    path = structure_set(tmp_path / "rt.dcm", {1: [("CLOSED_PLANAR", points)]})
    found = marked(path, reference=Volume(GRID.data, sheared))
    assert found == {(i, j, 3) for i in range(3, 7) for j in range(2, 8)}


# --- real ones


@needs_shared
def test_thorax_rois_have_the_published_number_of_voxels():
    path = next(file for file in THORAX.rglob("1-1.dcm") if file.parent.name.endswith("47.35"))
    segments = read_rtstruct(path)
    assert segments.shape == (512, 512, 99)
    num_voxels = {segment.name: segment.num_voxels for segment in segments.segments}
    published = {"Tumor_c40": 23_611, "LN_c40": 2_239, "Carina_c40": 170, "Vertebra_c40": 3_448}
    assert num_voxels == pytest.approx(published, rel=0.01)
    assert [segment.number for segment in segments.segments] == [17, 18, 19, 20]
    assert segments.segments[0].color == (255, 0, 0)


@needs_shared
def test_images_that_were_not_shipped_are_missed():
    message = refused(HEART_LUNG / "rtss.dcm", "referenced series are missing", reference=None)
    assert "it refers to 98 images of series 2.16.840.1.113662.2.12.0.3057.1241703565.43, of which 1 are" in message


@needs_shared
def test_heart_and_lung_have_the_volume_their_contours_enclose():
    affine = np.eye(4)
    affine[:3, 3] = (-330.0, -520.0, -170.44)
    grid = Volume(np.broadcast_to(np.uint8(0), (1, 660, 560, 100)), lps_to_ras(affine @ np.diag([1.0, 1.0, 3.0, 1.0])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segments = {each.name: each for each in read_rtstruct(HEART_LUNG / "rtss.dcm", reference=grid).segments}
    dataset = dcmread(HEART_LUNG / "rtss.dcm")
    numbers = {roi.ROIName: roi.ROINumber for roi in dataset.StructureSetROISequence}
    assert segments["Areola"].num_voxels == 0
    for name in ("Heart", "Lt Lung"):
        item = next(roi for roi in dataset.ROIContourSequence if roi.ReferencedROINumber == numbers[name])
        points = [np.array(contour.ContourData, float).reshape(-1, 3) for contour in item.ContourSequence]
        areas = [abs(np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1))) / 2 for p in points]
        assert segments[name].num_voxels == pytest.approx(sum(areas), rel=0.02)


def test_large_roi_is_read_in_seconds(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = np.c_[256 + 150 * np.cos(angle), 256 + 100 * np.sin(angle), np.zeros(300)]
    contours = [("CLOSED_PLANAR", circle + np.array([0, 0, z])) for z in range(500)]
    path = structure_set(tmp_path / "rt.dcm", {1: contours})
    grid = Volume(np.broadcast_to(np.uint8(0), (1, 512, 512, 500)), lps_to_ras(np.eye(4)))
    start = time.process_time()
    segment = read_rtstruct(path, reference=grid).segments[0]
    assert time.process_time() - start < 2
    assert segment.num_voxels == pytest.approx(500 * np.pi * 150 * 100, rel=0.001)

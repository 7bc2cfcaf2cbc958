"""RTSTRUCT: the labels come back voxel for voxel, by our reader and by plastimatch, and the standard is kept."""

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conformance import errors_of, needs_dciodvfy
from phantoms import SHARED, box_volume, oblique_affine, write_dicom_series
from pydicom import dcmread

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap
from medgan.phantom.cohort import LABELS as THORAX
from medgan.phantom.cohort import Scan, make_case
from medgan.phantom.dicom import write_ct_series
from medgan.volume.affine import lps_to_ras
from medgan.volume.dicom.rtstruct import read_rtstruct
from medgan.volume.dicom.stack import Stack, read_stack
from medgan.volume.dicom.write_rtstruct import write_rtstruct
from medgan.volume.volume import Volume

CT = SHARED / "data" / "thorax_ct_dicom_rtstruct"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not there")
needs_plastimatch = pytest.mark.skipif(
    shutil.which("plastimatch") is None, reason="plastimatch is not installed (apt-get install plastimatch)"
)
PERSONAL = (b"DOE^JANE", b"MRN-00412345")
LABELS = LabelMap.from_mapping(
    {
        "left_lung": {
            "value": 1,
            "color": "#ff0080",
            "code": {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"},
        },
        "nodule": 2,
        "Rückenmark": 3,
        "spleen": 300,
    }
)
AXIAL = np.diag([-1.5, -2.0, 3.0, 1.0])


def series(folder: Path, affine: np.ndarray = AXIAL, **options: int) -> tuple[Stack, Volume]:
    """Write a CT series; return it with three boxes on its grid, values 1 to 3 of `LABELS`."""
    stack = read_stack(write_dicom_series(folder, box_volume(affine=affine), **options))
    return stack, box_volume(stack.shape, stack.affine, labels=True)


def written(label: Volume, stack: Stack, path: Path, **options: bool) -> Path:
    write_rtstruct(label, LABELS, stack, path, **options)
    return path


def assert_reads_back(path: Path, label: Volume, labels: LabelMap, *, reference: Path | Volume | None = None) -> None:
    read = read_rtstruct(path, reference=reference).to_label(labels, where="test")
    np.testing.assert_array_equal(read.data, label.data)
    np.testing.assert_allclose(read.affine, label.affine, atol=1e-6)


def holes_and_islands(shape: tuple[int, int, int]) -> np.ndarray:
    """Return random specks of values 0 to 3: holes, islands, corners that touch, at the edges of the grid too."""
    return np.random.default_rng(5).integers(0, 4, (1, *shape)).astype(np.uint8)


SHEARED = AXIAL.copy()
SHEARED[1, 2] = 0.7
AFFINES = {
    "axial": AXIAL,
    "reversed": AXIAL @ np.diag([1.0, 1.0, -1.0, 1.0]),
    "oblique": oblique_affine(),
    "left-handed": oblique_affine(left_handed=True),
    "coronal": np.array([[-1.5, 0, 0, 40], [0, 0, 3, -20], [0, -2, 0, 900], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("name", AFFINES)
def test_labels_come_back_voxel_for_voxel(tmp_path, name):
    stack, label = series(tmp_path / "ct", AFFINES[name], seed=4)
    path = written(label, stack, tmp_path / "rt.dcm")
    assert_reads_back(path, label, LABELS)
    specks = Volume(holes_and_islands(stack.shape), stack.affine)
    assert_reads_back(written(specks, stack, path), specks, LABELS)


@pytest.mark.filterwarnings("ignore:.*gantry tilt")
def test_labels_on_a_tilted_gantry_come_back_voxel_for_voxel(tmp_path):
    stack, label = series(tmp_path / "ct", SHEARED)
    np.testing.assert_allclose(stack.affine, SHEARED)
    assert_reads_back(written(label, stack, tmp_path / "rt.dcm"), label, LABELS)


def test_every_contour_lies_on_the_slice_it_refers_to(tmp_path):
    stack, label = series(tmp_path / "ct", oblique_affine())
    slices = {each.file.text("SOPInstanceUID"): each for each in stack.slices}
    num_contours = 0
    for roi in dcmread(written(label, stack, tmp_path / "rt.dcm")).ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            source = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert np.abs((points - source.position) @ source.normal).max() < 1e-3
            assert contour.NumberOfContourPoints == len(points)
            num_contours += 1
    assert num_contours == sum(np.unique(plane).size - (0 in plane) for plane in np.moveaxis(label.data[0], 2, 0))


def test_frames_of_a_multi_frame_file_are_referred_to_by_number(tmp_path):
    stack, label = series(tmp_path / "ct")
    first = stack.slices[0].file
    frames = tuple(replace(each, file=first, frame=frame) for frame, each in enumerate(stack.slices))
    dataset = dcmread(written(label, replace(stack, slices=frames), tmp_path / "rt.dcm"))
    referenced = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert len(referenced[0].ContourImageSequence) == 1
    assert "ReferencedFrameNumber" not in referenced[0].ContourImageSequence[0]
    images = [contour.ContourImageSequence[0] for contour in dataset.ROIContourSequence[0].ContourSequence]
    assert [image.ReferencedFrameNumber for image in images] == list(range(1, len(images) + 1))


def test_rois_say_what_they_are(tmp_path):
    stack, label = series(tmp_path / "ct")
    path = written(label, stack, tmp_path / "rt.dcm")
    segments = read_rtstruct(path).segments
    assert [each.number for each in segments] == [1, 2, 3, 300]
    assert [each.name for each in segments] == ["left_lung", "nodule", "Rückenmark", "spleen"]
    assert segments[0].color == (255, 0, 128)
    assert segments[0].code == CodedTerm("SCT", "44029006", "Left lung")
    assert segments[3].num_voxels == 0
    dataset = dcmread(path)
    assert {roi.ROIGenerationAlgorithm for roi in dataset.StructureSetROISequence} == {"AUTOMATIC"}
    assert (dataset.ApprovalStatus, dataset.StructureSetLabel, dataset.Manufacturer) == (
        "UNAPPROVED",
        "medgan",
        "medgan",
    )
    assert dataset.FrameOfReferenceUID == stack.frame_of_reference_uid


def test_labels_of_unknown_making_are_not_called_automatic(tmp_path):
    stack, label = series(tmp_path / "ct")
    dataset = dcmread(written(label, stack, tmp_path / "rt.dcm", is_prediction=False))
    assert {roi.ROIGenerationAlgorithm for roi in dataset.StructureSetROISequence} == {""}


def test_decimal_strings_have_at_most_16_characters(tmp_path):
    affine = oblique_affine()
    affine[:3, 3] = (-31234.123456, 17512.987654, -99240.25)
    stack, label = series(tmp_path / "ct", affine)
    dataset = dcmread(written(label, stack, tmp_path / "rt.dcm"))
    texts = [text for c in dataset.ROIContourSequence[0].ContourSequence for text in str(c.ContourData).split(",")]
    assert max(len(text.strip(" []'")) for text in texts) <= 16


def test_large_contour_keeps_all_its_vertices(tmp_path):
    stack = read_stack(write_dicom_series(tmp_path / "ct", box_volume((150, 150, 1), AXIAL)))
    label = Volume(holes_and_islands(stack.shape).clip(max=1), stack.affine)  # its outline takes more than 64 KiB
    path = written(label, stack, tmp_path / "rt.dcm")
    contours = dcmread(path).ROIContourSequence[0].ContourSequence
    assert max(len(contour.get_item("ContourData").value) for contour in contours) > 2**16
    assert_reads_back(path, label, LABELS)


def test_thousands_of_small_contours_come_back(tmp_path):
    stack = read_stack(write_dicom_series(tmp_path / "ct", box_volume((180, 180, 1), AXIAL)))
    label = np.zeros((1, *stack.shape), np.uint8)
    label[:, ::2, ::2] = 1
    path = written(Volume(label, stack.affine), stack, tmp_path / "rt.dcm")
    assert len(dcmread(path).ROIContourSequence[0].ContourSequence) == 8100
    assert_reads_back(path, Volume(label, stack.affine), LABELS)


def test_deidentified_object_names_nobody_and_still_reads_back(tmp_path):
    stack, label = series(tmp_path / "ct")
    open_path = written(label, stack, tmp_path / "open.dcm")
    path = written(label, stack, tmp_path / "rt.dcm", deidentify=True)
    assert all(text in open_path.read_bytes() for text in PERSONAL)
    assert not any(text in path.read_bytes() for text in PERSONAL)
    assert not any(each.file.text("SOPInstanceUID").encode() in path.read_bytes() for each in stack.slices)
    assert_reads_back(path, label, LABELS, reference=label)


def test_label_on_another_grid_is_refused(tmp_path):
    stack, label = series(tmp_path / "ct")
    moved = Volume(label.data, label.affine @ np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    with pytest.raises(MedganError, match=r"must lie on the grid of its series, 12x10x8 .* resample the label"):
        written(moved, stack, tmp_path / "rt.dcm")
    assert not (tmp_path / "rt.dcm").exists()


@pytest.mark.parametrize(
    ("organ", "match"),
    [
        ({"x" * 65: 1}, "at most 64 characters"),
        ({"heart": 2**31}, r"value must be at most 2,147,483,647 to be an ROI number, found 2,147,483,648"),
        ({"heart": {"value": 1, "code": {"scheme": "S" * 17, "value": "1", "meaning": "m"}}}, "scheme of 1 to 16"),
    ],
)
def test_organ_that_does_not_fit_into_dicom_is_refused(tmp_path, organ: Mapping[str, object], match):
    stack, label = series(tmp_path / "ct")
    with pytest.raises(MedganError, match=match):
        write_rtstruct(label, LabelMap.from_mapping(organ), stack, tmp_path / "rt.dcm")


def test_value_that_is_no_organ_is_refused(tmp_path):
    stack, label = series(tmp_path / "ct")
    with pytest.raises(MedganError, match=r"label values \[4\] are not in the label map"):
        written(Volume(label.data + (label.data == 3), label.affine), stack, tmp_path / "rt.dcm")


# --- judged by others


def as_plastimatch_reads(path: Path, ct: Path, folder: Path, *options: str) -> dict[str, np.ndarray]:
    """Return the mask of every ROI on the grid of the CT, axes (I, J, K) of DICOM, read by plastimatch."""
    command = ["plastimatch", "convert", "--input", str(path), "--referenced-ct", str(ct), *options]
    command += ["--output-prefix", str(folder), "--prefix-format", "nii.gz"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return {file.name.removesuffix(".nii.gz"): np.asarray(nibabel.load(file).dataobj) > 0 for file in folder.iterdir()}


def thorax_labels(stack: Stack) -> Volume:
    """Return two ellipsoids with holes on the thorax CT: 1 has the size of lungs, 2 that of a heart."""
    i, j, k = np.ogrid[: stack.shape[0], : stack.shape[1], : stack.shape[2]]
    lungs = ((i - 256) / 160) ** 2 + ((j - 256) / 100) ** 2 + ((k - 45) / 40) ** 2 < 1
    holes = (i % 37 < 5) & (j % 29 < 3)
    heart = ((i - 280) / 50) ** 2 + ((j - 240) / 45) ** 2 + ((k - 40) / 15) ** 2 < 1
    label = (lungs & ~holes).astype(np.uint8)
    label[heart] = 2
    return Volume(label[None], stack.affine)


def thorax_series() -> Path:
    return next(file.parent for file in CT.rglob("1-01.dcm"))


@needs_shared
@needs_dciodvfy
def test_thorax_object_keeps_the_standard_and_reads_back(tmp_path):
    stack = read_stack(thorax_series())
    label = thorax_labels(stack)
    path = written(label, stack, tmp_path / "rt.dcm")
    assert errors_of(path) == []
    assert_reads_back(path, label, LABELS, reference=thorax_series())


@needs_shared
@needs_plastimatch
@pytest.mark.parametrize("options", [(), ("--xor-contours",)])
def test_plastimatch_reads_the_very_same_voxels(tmp_path, options):
    stack = read_stack(thorax_series())
    label = thorax_labels(stack)
    path = written(label, stack, tmp_path / "rt.dcm")
    masks = as_plastimatch_reads(path, thorax_series(), tmp_path / "masks", *options)
    np.testing.assert_array_equal(masks["left_lung"], label.data[0] == 1)
    np.testing.assert_array_equal(masks["nodule"], label.data[0] == 2)


@needs_dciodvfy
@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("name", AFFINES)
def test_objects_of_all_orientations_keep_the_standard(tmp_path, name, deidentify):
    stack, label = series(tmp_path / "ct", AFFINES[name])
    assert errors_of(written(label, stack, tmp_path / "rt.dcm", deidentify=deidentify)) == []


@needs_plastimatch
@pytest.mark.parametrize("name", AFFINES)
def test_plastimatch_reads_objects_of_all_orientations(tmp_path, name):
    stack, label = series(tmp_path / "ct", AFFINES[name])
    path = written(label, stack, tmp_path / "rt.dcm")
    masks = as_plastimatch_reads(path, tmp_path / "ct", tmp_path / "masks")
    for organ in LABELS.organs[:2]:
        np.testing.assert_array_equal(masks[organ.name], label.data[0] == organ.value)


@needs_dciodvfy
@needs_plastimatch
def test_phantom_object_keeps_the_standard_and_is_read_by_plastimatch(tmp_path):
    image, label = make_case(Scan((3.0, 3.0, 5.0), "LPS"), np.random.default_rng(0))
    write_ct_series(image, tmp_path / "ct", case_id="phantom_01", seed=0)
    path = tmp_path / "rt.dcm"
    write_rtstruct(label, THORAX, read_stack(tmp_path / "ct"), path)
    assert errors_of(path) == []
    assert_reads_back(path, label, THORAX)
    masks = as_plastimatch_reads(path, tmp_path / "ct", tmp_path / "masks")
    for organ in THORAX.organs:
        np.testing.assert_array_equal(masks[organ.name], label.data[0] == organ.value)


@needs_shared
def test_lung_sized_organ_is_written_and_read_in_seconds(tmp_path):
    stack = read_stack(thorax_series())
    label = thorax_labels(stack)
    start = time.process_time()
    path = written(label, stack, tmp_path / "rt.dcm")
    read_rtstruct(path, reference=label)
    assert time.process_time() - start < 5


def test_coordinates_are_those_of_the_patient(tmp_path):
    stack, label = series(tmp_path / "ct", oblique_affine())
    dataset = dcmread(written(label, stack, tmp_path / "rt.dcm"))
    points = np.array(dataset.ROIContourSequence[0].ContourSequence[0].ContourData, float).reshape(-1, 3)
    voxels = np.linalg.inv(lps_to_ras(stack.affine)) @ np.c_[points, np.ones(len(points))].T
    marked = np.argwhere(label.data[0, :, :, 0] == 1)
    np.testing.assert_allclose(voxels[:2].min(axis=1), marked.min(axis=0) - 0.5, atol=1e-3)
    np.testing.assert_allclose(voxels[:2].max(axis=1), marked.max(axis=0) + 0.5, atol=1e-3)

"""DICOM SEG: the labels come back voxel for voxel, by our reader and by highdicom's, and the standard is kept."""

from pathlib import Path

import highdicom
import numpy as np
import pytest
from conformance import errors_of, needs_dciodvfy
from phantoms import SHARED, box_volume, oblique_affine, set_pixels, write_dicom_series
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.phantom.cohort import LABELS as THORAX
from medgan.phantom.dicom import write_ct_series
from medgan.volume.affine import lps_to_ras
from medgan.volume.dicom.seg import read_seg
from medgan.volume.dicom.stack import Stack, read_stack
from medgan.volume.dicom.write_seg import write_seg
from medgan.volume.volume import Volume

CT = SHARED / "data" / "thorax_ct_dicom_rtstruct"
PERSONAL = (b"DOE^JANE", b"MRN-00412345")
LABELS = LabelMap.from_mapping(
    {
        "left_lung": {
            "value": 1,
            "color": "#ff0000",
            "code": {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"},
        },
        "nodule": {"value": 2, "code": {"scheme": "SCT", "value": "27925004", "meaning": "Nodule"}},
        "Rückenmark": 3,
        "spleen": 300,
    }
)


def labelled(stack: Stack) -> Volume:
    """Return three boxes on the grid of a series, values 1 to 3 of `LABELS`; 300 stands nowhere."""
    return box_volume(stack.shape, stack.affine, labels=True)


def as_highdicom_reads(path: Path, like: Volume) -> np.ndarray:
    """Return the label volume on the grid of `like`, of values of `LABELS`, placed by highdicom's geometry alone."""
    seg = highdicom.seg.segread(path)
    read = seg.get_volume(combine_segments=True, allow_missing_positions=True)
    value_of = {organ.name: organ.value for organ in LABELS.organs} | {"Background": 0}
    values = np.zeros(256, np.uint16)
    for segment in seg.SegmentSequence:
        values[segment.SegmentNumber] = value_of[segment.SegmentLabel]
    indices = np.argwhere(read.array)
    world = lps_to_ras(read.affine) @ np.c_[indices, np.ones(len(indices))].T
    i, j, k = np.rint(np.linalg.inv(like.affine) @ world)[:3].astype(int)
    label = np.zeros(like.shape, np.uint16)
    label[i, j, k] = values[read.array[tuple(indices.T)]]
    return label


def write_multi_frame(path: Path, volume: Volume) -> None:
    """Write an enhanced CT object whose frames are stored from the last slice to the first."""
    dataset, shared, frames = Dataset(), Dataset(), []
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (generate_uid() for _ in "abc")
    dataset.Modality, dataset.PatientName, dataset.NumberOfFrames = "CT", "DOE^JANE", volume.shape[2]
    affine, spacing = lps_to_ras(volume.affine), volume.spacing_mm
    for sequence, keyword, value in (
        (
            "PlaneOrientationSequence",
            "ImageOrientationPatient",
            [*affine[:3, 0] / spacing[0], *affine[:3, 1] / spacing[1]],
        ),
        ("PixelMeasuresSequence", "PixelSpacing", [spacing[1], spacing[0]]),
        ("PixelValueTransformationSequence", "RescaleSlope", 1),
    ):
        setattr(shared, sequence, [Dataset()])
        setattr(shared[sequence].value[0], keyword, value)
    shared.PixelValueTransformationSequence[0].RescaleIntercept = -1024
    for k in reversed(range(volume.shape[2])):
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [*(affine @ [0, 0, k, 1])[:3]]
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    stored = (volume.data[0].T[::-1] + 1024).astype(np.int16)
    set_pixels(dataset, stored[0])
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def axial(folder: Path) -> Path:
    return write_dicom_series(folder, box_volume(), seed=3)


def oblique(folder: Path) -> Path:
    return write_dicom_series(folder, box_volume(affine=oblique_affine()), seed=3)


def reversed_order(folder: Path) -> Path:
    def number_backwards(dataset: Dataset, k: int) -> None:
        dataset.InstanceNumber = 100 - k

    return write_dicom_series(folder, box_volume(affine=oblique_affine(left_handed=True)), edit=number_backwards)


def single_slice(folder: Path) -> Path:
    return write_dicom_series(folder, box_volume((12, 10, 1)))


def multi_frame(folder: Path) -> Path:
    folder.mkdir()
    write_multi_frame(folder / "enhanced.dcm", box_volume(affine=oblique_affine()))
    return folder


def phantom(folder: Path) -> Path:
    write_ct_series(box_volume(affine=np.diag([-2.0, -2.0, 3.0, 1.0])), folder, case_id="phantom_15", seed=0)
    return folder


SERIES = [axial, oblique, reversed_order, single_slice, multi_frame, phantom]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("series", SERIES)
def test_labels_come_back_voxel_for_voxel(tmp_path, series, kind):
    stack = read_stack(series(tmp_path / "ct"))
    label = labelled(stack)
    left_out = write_seg(label, LABELS, stack, tmp_path / "a.seg.dcm", kind=kind)
    assert left_out == tuple(organ.name for organ in LABELS.organs if organ.value not in label.data)
    read = read_seg(tmp_path / "a.seg.dcm", reference=label)
    assert np.array_equal(read.to_label(LABELS, where="a").data, label.data)
    assert np.array_equal(as_highdicom_reads(tmp_path / "a.seg.dcm", label), label.data[0])


def test_tilted_gantry_keeps_its_planes_where_they_are(tmp_path):
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    affine[1, 2] = 0.8
    with pytest.warns(UserWarning, match="gantry tilt"):
        stack = read_stack(write_dicom_series(tmp_path / "ct", box_volume(affine=affine)))
    label = labelled(stack)
    write_seg(label, LABELS, stack, tmp_path / "a.seg.dcm")
    assert np.array_equal(
        read_seg(tmp_path / "a.seg.dcm", reference=label).to_label(LABELS, where="a").data, label.data
    )
    dataset = dcmread(tmp_path / "a.seg.dcm")
    assert dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 3.0
    written = {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in dataset.PerFrameFunctionalGroupsSequence}
    assert written <= {tuple(each.position) for each in stack.slices}


@needs_dciodvfy
@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("series", SERIES)
def test_seg_keeps_the_standard(tmp_path, series, deidentify):
    stack = read_stack(series(tmp_path / "ct"))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm", deidentify=deidentify)
    assert errors_of(tmp_path / "a.seg.dcm") == []


@needs_dciodvfy
@pytest.mark.skipif(not CT.is_dir(), reason=f"{CT} is absent")
def test_seg_of_a_real_thorax_keeps_the_standard(tmp_path):
    stack = read_stack(next(CT.glob("*/*/*Gated*29543")))
    label = labelled(stack)
    write_seg(label, THORAX, stack, tmp_path / "a.seg.dcm")
    assert errors_of(tmp_path / "a.seg.dcm") == []
    assert np.array_equal(
        read_seg(tmp_path / "a.seg.dcm", reference=label).to_label(THORAX, where="a").data, label.data
    )


def test_segments_say_what_they_are_and_who_made_them(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm")
    dataset = dcmread(tmp_path / "a.seg.dcm")
    lung, nodule, cord = dataset.SegmentSequence
    assert [segment.SegmentNumber for segment in dataset.SegmentSequence] == [1, 2, 3]
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == ["left_lung", "nodule", "Rückenmark"]
    types = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in dataset.SegmentSequence]
    assert [(t.CodeValue, t.CodingSchemeDesignator) for t in types[:2]] == [("44029006", "SCT"), ("27925004", "SCT")]
    assert (types[2].CodingSchemeDesignator, types[2].CodeMeaning) == ("99MEDGAN", "Rückenmark")
    categories = [segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning for segment in (lung, nodule, cord)]
    assert categories == ["Anatomical Structure", "Morphologically Abnormal Structure", "Anatomical Structure"]
    lightness, a, b = (65535 * share for share in (53.23 / 100, (80.11 + 128) / 255, (67.22 + 128) / 255))  # of red
    assert lung.RecommendedDisplayCIELabValue == pytest.approx([lightness, a, b], abs=65)
    assert (lung.SegmentAlgorithmType, lung.SegmentAlgorithmName, lung.TrackingID) == (
        "AUTOMATIC",
        "medgan",
        "left_lung",
    )
    assert len({segment.TrackingUID for segment in dataset.SegmentSequence}) == 3
    assert (dataset.Manufacturer, dataset.SeriesNumber, dataset.SegmentationType) == ("medgan", 1000, "BINARY")


def test_labels_that_medgan_did_not_make_are_not_called_automatic(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm", is_prediction=False)
    (algorithm, *_) = {s.SegmentAlgorithmType for s in dcmread(tmp_path / "a.seg.dcm").SegmentSequence}
    assert algorithm == "SEMIAUTOMATIC"


@pytest.mark.parametrize("series", [axial, multi_frame])
def test_every_frame_refers_to_the_image_it_lies_on(tmp_path, series):
    stack = read_stack(series(tmp_path / "ct"))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm")
    dataset = dcmread(tmp_path / "a.seg.dcm")
    lies_at = {
        (each.file.header.SOPInstanceUID, each.frame): tuple(np.round(each.position, 6)) for each in stack.slices
    }
    instances = {uid for uid, _ in lies_at}
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        ((image,),) = (derivation.SourceImageSequence for derivation in frame.DerivationImageSequence)
        number = image.get("ReferencedFrameNumber")
        position = lies_at[image.ReferencedSOPInstanceUID, None if number is None else number - 1]
        assert tuple(np.round(frame.PlanePositionSequence[0].ImagePositionPatient, 6)) == position
        assert image.ReferencedSOPClassUID == stack.slices[0].file.header.SOPClassUID
    (referenced,) = dataset.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == stack.uid
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == instances
    assert {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence} == instances
    assert dataset.StudyInstanceUID == stack.slices[0].file.header.StudyInstanceUID
    assert dataset.FrameOfReferenceUID == stack.frame_of_reference_uid


def test_planes_without_a_voxel_are_left_out(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    label = labelled(stack)
    write_seg(label, LABELS, stack, tmp_path / "a.seg.dcm")
    marked = sum(int((label.data[0] == value).any(axis=(0, 1)).sum()) for value in (1, 2, 3))
    assert dcmread(tmp_path / "a.seg.dcm").NumberOfFrames == marked < 3 * stack.shape[2]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_nothing_found_is_a_seg_that_says_so(tmp_path, kind):
    stack = read_stack(axial(tmp_path / "ct"))
    empty = Volume(np.zeros((1, *stack.shape), np.uint8), stack.affine)
    assert write_seg(empty, LABELS, stack, tmp_path / "a.seg.dcm", kind=kind) == ()
    read = read_seg(tmp_path / "a.seg.dcm", reference=empty)
    assert set(LABELS.names) <= set(read.names)
    assert not read.to_label(LABELS, where="a").data.any()


def test_label_map_is_compressed(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm", kind="LABELMAP")
    assert dcmread(tmp_path / "a.seg.dcm").file_meta.TransferSyntaxUID == RLELossless


@needs_dciodvfy
def test_source_without_what_the_standard_requires_is_no_obstacle(tmp_path):
    def strip(dataset: Dataset, k: int) -> None:
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SliceThickness"):
            if keyword in dataset:
                delattr(dataset, keyword)
        dataset.SeriesNumber = None

    stack = read_stack(write_dicom_series(tmp_path / "ct", box_volume(), edit=strip))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm")
    assert errors_of(tmp_path / "a.seg.dcm") == []


def test_loss_of_the_source_is_passed_on(tmp_path):
    def lose(dataset: Dataset, k: int) -> None:
        dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", "8.5"

    stack = read_stack(write_dicom_series(tmp_path / "ct", box_volume(), edit=lose))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm")
    dataset = dcmread(tmp_path / "a.seg.dcm")
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 8.5)


def test_deidentified_seg_leads_to_no_patient_and_no_image(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm")
    assert all(text in (tmp_path / "a.seg.dcm").read_bytes() for text in PERSONAL)
    write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm", deidentify=True)
    content = (tmp_path / "a.seg.dcm").read_bytes()
    source = stack.slices[0].file.header
    uids = [source.StudyInstanceUID, stack.uid, stack.frame_of_reference_uid, source.SOPInstanceUID]
    assert not [text for text in (*PERSONAL, *(uid.encode() for uid in uids)) if text in content]
    dataset = dcmread(tmp_path / "a.seg.dcm")
    referenced = {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence}
    of_frames = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in dataset.PerFrameFunctionalGroupsSequence
    }
    assert of_frames <= referenced
    assert dataset.SegmentSequence[0].SegmentLabel == "left_lung"


def test_label_on_another_grid_is_refused(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    moved = np.array(stack.affine)
    moved[0, 3] += 1.5
    with pytest.raises(MedganError, match=r"a\.seg\.dcm: a DICOM SEG must lie on the grid of its series, 12x10x8"):
        write_seg(box_volume(stack.shape, moved, labels=True), LABELS, stack, tmp_path / "a.seg.dcm")
    assert not (tmp_path / "a.seg.dcm").exists()


def test_value_of_no_organ_is_refused(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    with pytest.raises(MedganError, match=r"label values \[2\] are not in the label map"):
        write_seg(labelled(stack), LabelMap.from_mapping({"a": 1, "b": 3}), stack, tmp_path / "a.seg.dcm")


def test_text_too_long_for_dicom_is_told_by_organ(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    code = {"scheme": "a scheme of my own", "value": "1", "meaning": "x"}
    labels = LabelMap.from_mapping({"x" * 65: 1, "b": {"value": 2, "code": code}, "c": 3})
    with pytest.raises(MedganError, match="2 problems") as caught:
        write_seg(labelled(stack), labels, stack, tmp_path / "a.seg.dcm")
    assert "must have at most 64 characters" in str(caught.value)
    assert "organ b: its code must have a scheme of 1 to 16 characters" in str(caught.value)


def test_image_without_an_identity_is_refused(tmp_path):
    stack = read_stack(axial(tmp_path / "ct"))
    header = stack.slices[2].file.header
    del header.SOPInstanceUID, header.file_meta.MediaStorageSOPInstanceUID
    with pytest.raises(MedganError, match="has no valid SOPInstanceUID, so a derived object cannot refer to it"):
        write_seg(labelled(stack), LABELS, stack, tmp_path / "a.seg.dcm")

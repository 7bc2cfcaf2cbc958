"""RTSTRUCT from a label volume: outlines of every organ on every slice of the series it was made from.

Contours run halfway between voxel centres (`contours.trace`), so whoever fills them by the centre-of-voxel rule gets
the very same voxels. Holes are joined to the contour around them by keyholes, the technique the standard describes for
CLOSED_PLANAR: it is read right by the even-odd rule, by exclusive or, and by readers that take the union of contours.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, RTStructureSetStorage
from scipy.ndimage import find_objects

from medgan.errors import MedganError, raise_all
from medgan.labels import CodedTerm, LabelMap, Organ
from medgan.volume.dicom import derived
from medgan.volume.dicom.contours import trace
from medgan.volume.dicom.stack import Slice, Stack
from medgan.volume.volume import Volume, describe_grid, same_grid

_STUDY_CLASS = UID("1.2.840.10008.3.1.2.3.1")  # Detached Study Management: retired, but the standard has no other here
_MAX_NAME = 64  # characters of a DICOM LO
_MAX_NUMBER = 2**31 - 1  # of a DICOM IS
_MAX_SHORT_TEXT = 16  # characters of a DICOM SH


def write_rtstruct(
    label: Volume,
    labels: LabelMap,
    source: Stack,
    path: str | Path,
    *,
    is_prediction: bool = True,
    deidentify: bool = False,
) -> None:
    """Write a label volume as an RTSTRUCT, atomically; `read_rtstruct` gives back exactly its voxels.

    ROI numbers are the organs' values. An organ without a voxel is an ROI without contours: it was looked for. Contours
    lie in each slice's own geometry, so a tilted gantry needs no resampling.

    Args:
        label: label volume (1, I, J, K) of values, on the grid of `source`.
        labels: the organs.
        source: the series it was made from; its headers give patient and study.
        path: the file.
        is_prediction: medgan made the labels: the algorithm is automatic. False for labels of unknown making.
        deidentify: leave patient and study blank and give every UID a new value; see `derived.deidentify`.

    Raises:
        MedganError: if the label is not on the source's grid, holds a value that is no organ's, or an organ does not
            fit into DICOM.

    Example:
        >>> write_rtstruct(label, labels, read_stack("scans/ct_12"), "ct_12.rtstruct.dcm")  # doctest: +SKIP
    """
    _check(label, labels, source, path)
    dataset = derived.new_object(source.slices[0].file.header, sop_class_uid=RTStructureSetStorage, modality="RTSTRUCT")
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # explicit ones have 64 KiB at most for ContourData
    if source.frame_of_reference_uid:
        dataset.FrameOfReferenceUID = source.frame_of_reference_uid
    dataset.OperatorsName, dataset.StructureSetLabel = "", "medgan"
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(dataset, source)]
    dataset.StructureSetROISequence = [
        _roi(organ, dataset.FrameOfReferenceUID, is_prediction=is_prediction) for organ in labels.organs
    ]
    dataset.ROIContourSequence = _contours(label, labels, source, path)
    dataset.RTROIObservationsSequence = [_observation(n, organ) for n, organ in enumerate(labels.organs, start=1)]
    dataset.ApprovalStatus = "UNAPPROVED"
    if deidentify:
        derived.deidentify(dataset)
    derived.write_dataset(dataset, path)


def _check(label: Volume, labels: LabelMap, source: Stack, path: str | Path) -> None:
    if label.shape != source.shape or not same_grid(label, Volume(label.data, source.affine)):
        raise MedganError(
            f"{path}: an RTSTRUCT must lie on the grid of its series, {describe_grid(source.shape, source.affine)}, "
            f"but the label has {label.describe_grid()}; resample the label to the series."
        )
    problems = [
        f"organ name {organ.name!r:.80} must have at most {_MAX_NAME} characters in DICOM."
        for organ in labels.organs
        if len(organ.name) > _MAX_NAME
    ]
    problems += [
        f"organ {organ.name:.80}: its value must be at most {_MAX_NUMBER:,} to be an ROI number, found {organ.value:,}."
        for organ in labels.organs
        if organ.value > _MAX_NUMBER
    ]
    problems += [
        f"organ {organ.name:.80}: its code must have a scheme of 1 to {_MAX_SHORT_TEXT} characters, a value, and a "
        f"meaning of 1 to {_MAX_NAME}."
        for organ in labels.organs
        if organ.code and not _fits(organ.code)
    ]
    if any(not each.file.uid("SOPInstanceUID") for each in source.slices):
        problems.append("every slice of the series must have a SOPInstanceUID to refer to, and some have none.")
    raise_all(problems, where=str(path))


def _fits(code: CodedTerm) -> bool:
    return bool(0 < len(code.scheme) <= _MAX_SHORT_TEXT and code.value and 0 < len(code.meaning) <= _MAX_NAME)


def _referenced_frame(dataset: Dataset, source: Stack) -> Dataset:
    """Return the frame of reference with the study, the series and every image of it."""
    images = {each.file.uid("SOPInstanceUID"): _image(each, with_frame=False) for each in source.slices}
    series = Dataset()
    series.SeriesInstanceUID = source.slices[0].file.uid("SeriesInstanceUID") or source.uid
    series.ContourImageSequence = list(images.values())
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, dataset.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = dataset.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(source: Slice, *, with_frame: bool) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = source.file.uid("SOPClassUID")
    image.ReferencedSOPInstanceUID = source.file.uid("SOPInstanceUID")
    if with_frame and source.frame is not None:
        image.ReferencedFrameNumber = source.frame + 1
    return image


def _roi(organ: Organ, frame_of_reference_uid: str, *, is_prediction: bool) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName = organ.value, organ.name
    roi.ReferencedFrameOfReferenceUID = frame_of_reference_uid
    roi.ROIGenerationAlgorithm = "AUTOMATIC" if is_prediction else ""
    return roi


def _observation(number: int, organ: Organ) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = number, organ.value
    observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", ""
    if organ.code:
        code = Dataset()
        setattr(code, "CodeValue" if len(organ.code.value) <= _MAX_SHORT_TEXT else "LongCodeValue", organ.code.value)
        code.CodingSchemeDesignator, code.CodeMeaning = organ.code.scheme, organ.code.meaning
        observation.RTROIIdentificationCodeSequence = [code]
    return observation


def _contours(label: Volume, labels: LabelMap, source: Stack, path: str | Path) -> list[Dataset]:
    classes = labels.to_classes(label.data[0], where=str(path))
    boxes = find_objects(classes, max_label=len(labels.organs))
    items = []
    for number, (organ, box) in enumerate(zip(labels.organs, boxes, strict=True), start=1):
        item = Dataset()
        item.ROIDisplayColor = list(organ.color)
        if box:
            item.ContourSequence = list(_contours_of(classes[box] == number, box, source.slices))
        item.ReferencedROINumber = organ.value
        items.append(item)
    return items


def _contours_of(mask: np.ndarray, box: tuple[slice, slice, slice], slices: Sequence[Slice]) -> Iterator[Dataset]:
    offset = np.array([box[0].start, box[1].start])
    for source, plane in zip(slices[box[2]], np.moveaxis(mask, 2, 0), strict=True):
        for outline in trace(plane):
            contour = Dataset()
            contour.ContourImageSequence = [_image(source, with_frame=True)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(outline)
            text = _decimal_strings(_in_patient(outline + offset, source))
            contour.add(DataElement("ContourData", "DS", text, already_converted=True))  # pydicom would take a minute
            yield contour


def _in_patient(outline: np.ndarray, source: Slice) -> np.ndarray:
    """Return (N, 2) voxel coordinates within a slice as (N, 3) DICOM patient coordinates in mm."""
    points: np.ndarray = source.position + (outline * source.spacing_mm) @ source.axes.T
    return points


def _decimal_strings(points: np.ndarray) -> str:
    """Return coordinates to 0.1 micrometres; a decimal string has 16 characters, which is enough for 10 km."""
    return "\\".join(map("{:.4f}".format, points.ravel().tolist()))

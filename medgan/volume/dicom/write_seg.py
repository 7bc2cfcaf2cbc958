"""DICOM SEG from a label volume, through highdicom, in the geometry and with references to the series it was made from.

highdicom is handed a stand-in for every slice, made of nothing but its geometry: it then neither stumbles over what
scanners leave out of a header, or write wrongly into it, nor copies more of a patient than `derived` does.
"""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import DSfloat

from medgan.errors import MedganError, raise_all
from medgan.labels import LabelMap, Organ
from medgan.volume.affine import lps_to_ras
from medgan.volume.dicom import derived
from medgan.volume.dicom.stack import Slice, Stack
from medgan.volume.volume import Volume, describe_grid, same_grid

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

Kind = Literal["BINARY", "LABELMAP"]

_SYNTAX = {
    "BINARY": ExplicitVRLittleEndian,
    "LABELMAP": RLELossless,
}  # bits are packed, and few readers unpack RLE ones
_MOST_SEGMENTS = 65535
_MAX_TEXT = 64  # characters of a DICOM LO
_STAND_IN_UID = "2.25."  # followed by the slice's number, from 1


def write_seg(
    label: Volume,
    labels: LabelMap,
    source: Stack,
    path: str | Path,
    *,
    kind: Kind = "BINARY",
    is_prediction: bool = True,
    deidentify: bool = False,
) -> tuple[str, ...]:
    """Write a label volume as one DICOM SEG object, atomically; return the organs left out for want of a voxel.

    Segments are numbered from 1 in the order of the organs, each with its coded term (SNOMED CT where the label map has
    one), its colour and a tracking id. Planes without a voxel of a segment are left out. If no organ has a voxel, all
    are described, with one empty plane each, because a SEG must have a segment.

    Args:
        label: label volume (1, I, J, K) of values, on the grid of `source`.
        labels: the organs.
        source: the series it was made from; its headers give patient and study.
        path: the file.
        kind: BINARY, which every viewer reads: a bit a voxel and segment. LABELMAP: one plane for all segments,
            compressed, for readers of DICOM 2024d and later.
        is_prediction: medgan made the labels: the algorithm is automatic. False for labels of unknown making.
        deidentify: leave patient and study blank and give every UID a new value; see `derived.deidentify`.

    Raises:
        MedganError: if the label is not on the source's grid, holds a value that is no organ's, or an organ's name or
            coded term does not fit into DICOM.

    Example:
        >>> write_seg(label, labels, read_stack("scans/ct_12"), "ct_12.seg.dcm")  # doctest: +SKIP
        ('spleen',)
    """
    _check_grid(label, source, path)
    _check_texts(labels, path)
    planes = _planes_of(label, labels, path)
    has_voxels = np.bincount(np.concatenate([np.unique(plane) for plane in planes]), minlength=labels.num_classes) > 0
    present = [organ for organ, found in zip(labels.organs, has_voxels[1:], strict=True) if found]
    described, slices = (present, source.slices) if present else (list(labels.organs), source.slices[:1])
    planes = _renumbered(planes[: len(slices)], labels, described)
    dataset = _segmentation(planes, described, source, slices, kind=kind, is_prediction=is_prediction)
    _refer_to_sources(dataset, slices)
    derived.add_patient_and_study(dataset, slices[0].file.header)
    if source.frame_of_reference_uid:
        dataset.FrameOfReferenceUID = source.frame_of_reference_uid
    if deidentify:
        derived.deidentify(dataset)
    derived.write_dataset(dataset, path)
    return tuple(organ.name for organ in labels.organs if organ not in described)


def _check_grid(label: Volume, source: Stack, path: str | Path) -> None:
    if label.shape != source.shape or not same_grid(label, Volume(label.data, source.affine)):
        raise MedganError(
            f"{path}: a DICOM SEG must lie on the grid of its series, {describe_grid(source.shape, source.affine)}, "
            f"but the label has {label.describe_grid()}; resample the label to the series."
        )


def _check_texts(labels: LabelMap, path: str | Path) -> None:
    """Refuse what DICOM has no room for, which highdicom would tell without the organ's name."""
    problems = []
    for organ in labels.organs:
        code = organ.code
        if len(organ.name) > _MAX_TEXT:
            problems.append(f"organ name {organ.name!r:.80} must have at most {_MAX_TEXT} characters in DICOM.")
        if code and not (0 < len(code.scheme) <= 16 and code.value and 0 < len(code.meaning) <= _MAX_TEXT):
            problems.append(
                f"organ {organ.name:.80}: its code must have a scheme of 1 to 16 characters, a value, and a meaning of "
                f"1 to {_MAX_TEXT}."
            )
    if len(labels.organs) > _MOST_SEGMENTS:
        problems.append(f"the label map must have at most {_MOST_SEGMENTS} organs, found {len(labels.organs)}.")
    raise_all(problems, where=str(path))


def _planes_of(label: Volume, labels: LabelMap, path: str | Path) -> np.ndarray:
    """Return class indices, axes (slices, rows, columns), made slice by slice to save memory."""
    i, j, k = label.shape
    planes = np.empty((k, j, i), np.min_scalar_type(labels.num_classes - 1))
    for number in range(k):
        planes[number] = labels.to_classes(label.data[0, :, :, number].T, where=str(path))
    return planes


def _renumbered(planes: np.ndarray, labels: LabelMap, described: Sequence[Organ]) -> np.ndarray:
    """Return planes of segment numbers from those of class indices."""
    if len(described) == len(labels.organs):
        return planes
    number_of = {organ: number for number, organ in enumerate(described, start=1)}
    table = np.array([0, *(number_of.get(organ, 0) for organ in labels.organs)], planes.dtype)
    for plane in planes:
        plane[...] = table[plane]
    return planes


def _segmentation(
    planes: np.ndarray,
    organs: Sequence[Organ],
    source: Stack,
    slices: Sequence[Slice],
    *,
    kind: Kind,
    is_prediction: bool,
) -> Dataset:
    from highdicom.seg import Segmentation  # noqa: PLC0415  (takes a second to load)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries among themselves
        dataset: Dataset = Segmentation(
            source_images=_stand_ins(source, slices),
            pixel_array=planes,
            segmentation_type=kind,
            segment_descriptions=[
                _segment(organ, number, is_prediction=is_prediction) for number, organ in enumerate(organs, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=derived.series_number(slices[0].file.header),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=derived.MANUFACTURER,
            manufacturer_model_name=derived.MANUFACTURER,
            software_versions=version("medgan"),
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_description="Organs by medgan" if is_prediction else "Converted by medgan",
            transfer_syntax_uid=_SYNTAX[kind],
            series_description="medgan segmentation",
        )
    return dataset


def _stand_ins(source: Stack, slices: Sequence[Slice]) -> list[Dataset]:
    """Return a header per slice that holds its geometry and no more; its UID is its number, see `_STAND_IN_UID`."""
    lps = lps_to_ras(source.affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    columns, rows = (lps[:3, axis] / spacing[axis] for axis in (0, 1))
    between_slices = abs(float(np.cross(columns, rows) @ lps[:3, 2]))  # planes of a tilted gantry are closer than steps
    first = slices[0].file
    study, series, frame_of_reference = (generate_uid() for _ in range(3))
    stand_ins = []
    for number, each in enumerate(slices, start=1):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"{_STAND_IN_UID}{number}"
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame_of_reference
        image.Modality = first.text("Modality") or "OT"
        image.PatientName = image.PatientID = image.PatientBirthDate = image.PatientSex = ""
        image.AccessionNumber = image.StudyID = image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
        image.Columns, image.Rows = source.shape[:2]
        image.ImagePositionPatient = _decimals(each.position)
        image.ImageOrientationPatient = _decimals([*columns, *rows])
        image.PixelSpacing = _decimals([spacing[1], spacing[0]])  # between rows, then between columns
        image.SliceThickness = image.SpacingBetweenSlices = _decimals([between_slices])[0]
        _note_lossy_compression(image, first.header)
        stand_ins.append(image)
    return stand_ins


def _decimals(values: Sequence[float] | np.ndarray) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]


def _note_lossy_compression(image: Dataset, header: Dataset) -> None:
    """Pass on that the source had lost something before it was segmented, which must be said of what is derived."""
    if str(header.get("LossyImageCompression") or "") == "01":
        image.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if header.get(keyword):
                setattr(image, keyword, header.get(keyword))


def _segment(organ: Organ, number: int, *, is_prediction: bool) -> "SegmentDescription":
    from highdicom import AlgorithmIdentificationSequence  # noqa: PLC0415
    from highdicom.color import CIELabColor  # noqa: PLC0415
    from highdicom.seg import SegmentDescription  # noqa: PLC0415

    category, term = _coded(organ)
    return SegmentDescription(
        segment_number=number,
        segment_label=organ.name,
        segmented_property_category=category,
        segmented_property_type=term,
        algorithm_type="AUTOMATIC" if is_prediction else "SEMIAUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="medgan" if is_prediction else "unknown, converted by medgan",
            family=codes.cid7162.ArtificialIntelligence if is_prediction else codes.cid7162.ManualProcessing,
            version=version("medgan"),
        ),
        tracking_uid=generate_uid(),
        tracking_id=organ.name,
        display_color=CIELabColor.from_rgb(*organ.color),
    )


def _coded(organ: Organ) -> tuple[Code, Code]:
    """Return category and type of a segment.

    An organ without a coded term gets one of medgan's own, which is the same for the same name and reads as the name.
    """
    if organ.code is None:
        own = Code(f"{crc32(organ.name.encode()):08X}", "99MEDGAN", organ.name)
        return codes.cid7150.AnatomicalStructure, own
    term = Code(organ.code.value, organ.code.scheme, organ.code.meaning)
    is_lesion = any(term == getattr(codes.cid7159, name) for name in codes.cid7159.dir())
    return codes.cid7150.MorphologicallyAbnormalStructure if is_lesion else codes.cid7150.AnatomicalStructure, term


def _refer_to_sources(dataset: Dataset, slices: Sequence[Slice]) -> None:
    """Put the images that the stand-ins stood for in their places."""
    of_slice = [derived.reference_to(each.file) for each in slices]
    instances = {reference.ReferencedSOPInstanceUID: reference for reference in of_slice}  # one for all its frames
    (series,) = dataset.ReferencedSeriesSequence
    series.SeriesInstanceUID = UID(slices[0].file.text("SeriesInstanceUID"))
    dataset.SourceImageSequence = list(instances.values())
    series.ReferencedInstanceSequence = [deepcopy(reference) for reference in instances.values()]
    for plane in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in plane.DerivationImageSequence:
            derivation.SourceImageSequence = [
                _derived_from(image, slices, of_slice) for image in derivation.SourceImageSequence
            ]


def _derived_from(stand_in: Dataset, slices: Sequence[Slice], of_slice: Sequence[Dataset]) -> Dataset:
    """Return a frame's reference to its source, of its own: highdicom shares one among the segments."""
    number = int(stand_in.ReferencedSOPInstanceUID.removeprefix(_STAND_IN_UID)) - 1
    image = deepcopy(stand_in)
    image.update(of_slice[number])
    if (frame := slices[number].frame) is not None:
        image.ReferencedFrameNumber = frame + 1
    return image

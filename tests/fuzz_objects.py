"""DICOM SEG and RTSTRUCT for the tests, written element by element. Their UIDs are new each time."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)

from medgan.volume.affine import lps_to_ras
from medgan.volume.volume import Volume

LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
CONTOURS = {  # ROI number: polygons of (column, row) vertices, none on a voxel's centre; the second of 1 is a hole
    1: (((0.6, 0.7), (5.4, 0.7), (5.4, 8.3), (0.6, 8.3)), ((1.6, 2.7), (4.4, 2.7), (3.1, 6.3))),
    2: (((6.7, 5.6), (10.3, 5.6), (10.3, 8.7)),),
}


def segmentation(label: Volume, kind: str) -> Dataset:
    """Return a SEG object, BINARY, FRACTIONAL or LABELMAP, of a label volume; planes where nothing is are left out."""
    is_map = kind == "LABELMAP"
    dataset = _object(LABEL_MAP_STORAGE if is_map else SegmentationStorage, "SEG")
    dataset.SegmentationType, dataset.ImageType = kind, ["DERIVED", "PRIMARY"]
    values = [int(value) for value in np.unique(label.data) if value]
    dataset.SegmentSequence = Sequence([_segment(value) for value in values])
    frames, groups = [], []
    for value in [None] if is_map else values:
        for k in range(label.shape[2]):
            plane = label.data[0, :, :, k].T if value is None else value == label.data[0, :, :, k].T
            if not plane.any():
                continue
            frames.append(plane.astype(np.uint8) * (255 if kind == "FRACTIONAL" else 1))
            groups.append(_frame_groups(label, k))
            if value is not None:
                identification = _item(ReferencedSegmentNumber=value)
                groups[-1].SegmentIdentificationSequence = Sequence([identification])
    _set_pixels(dataset, frames)
    if kind == "FRACTIONAL":
        dataset.SegmentationFractionalType, dataset.MaximumFractionalValue = "PROBABILITY", 255
    if kind == "BINARY":
        bits = np.packbits(np.stack(frames).ravel(), bitorder="little").tobytes()
        dataset.PixelData = bits + bytes(len(bits) % 2)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.SharedFunctionalGroupsSequence = Sequence([_shared_groups(label)])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


def structure_set(grid: Volume) -> tuple[Dataset, Volume]:
    """Return an RTSTRUCT object with `CONTOURS` on the inner slices of a grid, and the label volume it stands for."""
    dataset = _object(RTStructureSetStorage, "RTSTRUCT")
    dataset.StructureSetLabel, dataset.StructureSetDate, dataset.StructureSetTime = "test", "20200101", "120000"
    frame = dataset.FrameOfReferenceUID
    names = {1: "Lt Lung", 2: "Heart"}
    dataset.StructureSetROISequence = Sequence(
        [
            _item(ROINumber=n, ReferencedFrameOfReferenceUID=frame, ROIName=names[n], ROIGenerationAlgorithm="MANUAL")
            for n in CONTOURS
        ]
    )
    dataset.RTROIObservationsSequence = Sequence(
        [
            _item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="ORGAN", ROIInterpreter="")
            for n in CONTOURS
        ]
    )
    dataset.ROIContourSequence = Sequence()
    affine, truth = lps_to_ras(grid.affine), np.zeros(grid.shape, np.uint8)
    for number, polygons in CONTOURS.items():
        contours, (columns, rows) = Sequence(), np.indices(grid.shape[:2])
        inside = np.zeros(grid.shape[:2], bool)
        for polygon in polygons:
            inside ^= crossings_are_odd(np.array(polygon), columns, rows)
        for k in range(1, grid.shape[2] - 1):
            truth[:, :, k][inside] = number
            for polygon in polygons:
                points = np.array([affine[:3] @ [column, row, k, 1] for column, row in polygon])
                contours.append(
                    _item(
                        ContourGeometricType="CLOSED_PLANAR",
                        NumberOfContourPoints=len(points),
                        ContourData=_texts(points.ravel()),
                    )
                )
        roi = _item(ROIDisplayColor=[255, 128, 0], ReferencedROINumber=number, ContourSequence=contours)
        dataset.ROIContourSequence.append(roi)
    return dataset, Volume(truth[None], grid.affine)


def crossings_are_odd(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points (x, y) lie in a polygon of vertices (N, 2): a ray crosses its border oddly often."""
    odd = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            odd ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return odd


def _object(storage: UID, modality: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = storage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.Modality, dataset.InstanceNumber = modality, 1
    dataset.PatientName, dataset.PatientID = "QUARTZ^JANE", "MRN-00412345"
    return dataset


def _set_pixels(dataset: Dataset, frames: list[np.ndarray]) -> None:
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = len(frames), *frames[0].shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * frames[0].dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(frames[0].dtype.kind == "i")
    dataset.PixelData = np.stack(frames).tobytes()
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"


def _shared_groups(volume: Volume) -> Dataset:
    affine, spacing = lps_to_ras(volume.affine), volume.spacing_mm
    thickness = _texts([spacing[2]])[0]
    measures = _item(PixelSpacing=_texts([spacing[1], spacing[0]]), SliceThickness=thickness)
    measures.SpacingBetweenSlices = thickness
    orientation = _item(ImageOrientationPatient=_texts((affine[:3, :2] / spacing[:2]).T.ravel()))
    return _item(PixelMeasuresSequence=Sequence([measures]), PlaneOrientationSequence=Sequence([orientation]))


def _frame_groups(volume: Volume, k: int) -> Dataset:
    content = _item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])
    position = _item(ImagePositionPatient=_texts((lps_to_ras(volume.affine) @ [0, 0, k, 1])[:3]))
    return _item(FrameContentSequence=Sequence([content]), PlanePositionSequence=Sequence([position]))


def _segment(value: int) -> Dataset:
    organ = _item(CodeValue="39607008", CodingSchemeDesignator="SCT", CodeMeaning="Lung")
    category = _item(CodeValue="123037004", CodingSchemeDesignator="SCT", CodeMeaning="Anatomical Structure")
    segment = _item(SegmentNumber=value, SegmentLabel=f"organ {value}", SegmentAlgorithmType="MANUAL")
    segment.SegmentedPropertyTypeCodeSequence = Sequence([organ])
    segment.SegmentedPropertyCategoryCodeSequence = Sequence([category])
    return segment


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _texts(numbers: np.ndarray | list[float]) -> list[str]:
    """Return DICOM decimal strings, at most 16 characters each."""
    return [next(text for n in range(12, 0, -1) if len(text := f"{float(x):.{n}g}") <= 16) for x in numbers]

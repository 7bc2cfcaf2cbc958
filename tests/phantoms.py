"""Inputs for the tests, built in memory: small, asymmetric, every number known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from medgan.volume.affine import lps_to_ras
from medgan.volume.volume import Volume

SHARED = Path(__file__).parents[2] / "shared"


def box_volume(shape: Sequence[int] = (12, 10, 8), affine: np.ndarray | None = None, *, labels: bool = False) -> Volume:
    """Return three boxes no flip, turn or shift of which equals itself: HU as float32, or labels 0 to 3 as uint8."""
    i, j, k = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
    label = np.zeros(tuple(shape), np.uint8)
    label[(i < 0.6) & (j > 0.2) & (k < 0.8)] = 1
    label[(i > 0.7) & (j < 0.5) & (k > 0.3)] = 2
    label[(i < 0.3) & (j > 0.6) & (k > 0.5)] = 3
    affine = np.diag([1.5, 2.0, 3.0, 1.0]) if affine is None else affine
    if labels:
        return Volume(label[None], affine)
    ramp = np.arange(label.size).reshape(label.shape) % 97  # tells neighbouring voxels apart
    hu = np.array([-1000, 40, 300, 700])[label] + ramp
    return Volume(hu[None].astype(np.float32), affine)


def oblique_affine(*, left_handed: bool = False) -> np.ndarray:
    """Return an affine turned by 20 and 10 degrees with spacing (1.5, 2, 3) mm; its axes are at right angles."""
    a, b = np.deg2rad([20.0, 10.0])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([1.5, 2.0, -3.0 if left_handed else 3.0])
    affine[:3, 3] = (-31.0, 17.5, -240.25)
    return affine


def write_dicom_series(
    folder: Path,
    volume: Volume,
    *,
    drop: Sequence[int] = (),
    transfer_syntax: UID = ExplicitVRLittleEndian,
    seed: int | None = None,
    edit: Callable[[Dataset, int], None] | None = None,
) -> Path:
    """Write a volume of whole HU as a CT series, one file per k, and return the folder.

    Args:
        folder: made if need be.
        volume: the HU to write.
        drop: the k that are left out.
        transfer_syntax: an uncompressed one, RLE or JPEG-LS (needs pyjpegls).
        seed: shuffles the file names.
        edit: changes the dataset of slice k before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    num_slices = volume.shape[2]
    numbers = np.arange(num_slices) if seed is None else np.random.default_rng(seed).permutation(num_slices)
    study, series, frame = (generate_uid() for _ in range(3))
    for k in range(num_slices):
        dataset = _ct_slice(volume, k, transfer_syntax)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        if edit:
            edit(dataset, k)
        if k not in drop:
            dataset.save_as(folder / f"IM{numbers[k]:04d}.dcm", enforce_file_format=True)
    return folder


def _ct_slice(volume: Volume, k: int, transfer_syntax: UID) -> Dataset:
    affine = lps_to_ras(volume.affine)
    spacing = volume.spacing_mm
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "DOE^JANE", "MRN-00412345", "CT"
    dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
    dataset.ImagePositionPatient = [_decimal(x) for x in (affine @ [0, 0, k, 1])[:3]]
    dataset.ImageOrientationPatient = [_decimal(x) for axis in (0, 1) for x in affine[:3, axis] / spacing[axis]]
    dataset.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    dataset.SliceThickness = _decimal(spacing[2])
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    set_pixels(dataset, (volume.data[0, :, :, k].T + 1024).astype(np.int16))
    return dataset


def change(**elements: object) -> Callable[[Dataset, int], None]:
    """Return an edit for `write_dicom_series` that sets elements of every slice, or deletes those that are None.

    A function as the value is called with the dataset and k.
    """

    def edit(dataset: Dataset, k: int) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value(dataset, k) if callable(value) else value)

    return edit


def write_enhanced(
    path: Path,
    volume: Volume,
    *,
    order: Sequence[int] | None = None,
    series: str | None = None,
    edit: Callable[[Dataset], None] | None = None,
    edit_frame: Callable[[Dataset, int], None] | None = None,
) -> Path:
    """Write a volume of whole HU as one enhanced multi-frame CT object, and return its path.

    Args:
        path: the file.
        volume: the HU to write.
        order: frame f holds slice order[f]; a slice may come more than once. None: as they lie.
        series: its SeriesInstanceUID; None for a new one.
        edit: changes the dataset before it is written.
        edit_frame: changes the functional groups of frame f.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    order = range(volume.shape[2]) if order is None else order
    slices = [_ct_slice(volume, k, ExplicitVRLittleEndian) for k in order]
    dataset = slices[0]
    shared, per_frame = Dataset(), []
    shared.PixelMeasuresSequence = [_moved(dataset, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_moved(dataset, "ImageOrientationPatient")]
    for f, each in enumerate(slices):
        frame, content = Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber = "1", order[f] + 1
        frame.FrameContentSequence = [content]
        frame.PlanePositionSequence = [_moved(each, "ImagePositionPatient")]
        frame.PixelValueTransformationSequence = [_moved(each, "RescaleSlope", "RescaleIntercept")]
        if edit_frame:
            edit_frame(frame, f)
        per_frame.append(frame)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], per_frame
    dataset.NumberOfFrames = len(slices)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), series or generate_uid()
    dataset.PixelData = b"".join(each.PixelData for each in slices)
    if edit:
        edit(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _moved(dataset: Dataset, *keywords: str) -> Dataset:
    """Return an item with elements that are taken out of a dataset."""
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, dataset[keyword].value)
        delattr(dataset, keyword)
    return item


def assert_same_world(a: Volume, b: Volume) -> None:
    """Compare the values of b at the world points of the voxels of a."""
    indices = np.indices(a.shape).reshape(3, -1)
    world = a.affine[:3, :3] @ indices + a.affine[:3, 3:]
    inverse = np.linalg.inv(b.affine)
    found = inverse[:3, :3] @ world + inverse[:3, 3:]
    nearest = np.rint(found).astype(int)
    np.testing.assert_allclose(found, nearest, atol=0.01)
    np.testing.assert_array_equal(b.data[0][tuple(nearest)], a.data[0][tuple(indices)])


def set_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Put a (rows, columns) integer array into a dataset, encoded as its transfer syntax says."""
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(stored.dtype.kind == "i")
    syntax = dataset.file_meta.TransferSyntaxUID
    order = "<" if syntax.is_little_endian else ">"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    if syntax.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)


def _decimal(value: float) -> str:
    """Return a DICOM decimal string, at most 16 characters."""
    return next(text for digits in range(12, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Draw any rigid placement: rotation, left or right hand, axes in any order, spacing 0.2 to 8 mm, origin."""
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)))
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    rotation[:, 2] *= draw(st.sampled_from([1.0, -1.0]))
    affine = np.eye(4)
    affine[:3, :3] = rotation[:, draw(st.permutations([0, 1, 2]))] * draw(st.tuples(*[st.floats(0.2, 8.0)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine

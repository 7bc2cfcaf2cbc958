"""The phantom as a DICOM CT series, as a scanner hands it over. Not an exporter: axial grids and integer HU only."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medgan.files import atomic_path
from medgan.volume.affine import lps_to_ras
from medgan.volume.volume import Volume

_INTERCEPT_HU = -1024


def write_ct_series(image: Volume, folder: Path, *, case_id: str, seed: int) -> None:
    """Write an axial image (orientation "LPS", integer HU from -1024 to 3071) as one file per slice.

    File names do not follow the slice order, as in many archives. The same image and seed give the same bytes.
    """
    study = f"medgan phantom {seed} {case_id}"
    data, affine = image.data[0], lps_to_ras(image.affine)
    num_slices = data.shape[2]
    file_numbers = np.random.default_rng([seed, num_slices]).permutation(num_slices) + 1
    for k, number in enumerate(file_numbers.tolist()):
        dataset = _series_of(study, case_id)
        _place(dataset, affine, k)
        _set_pixels(dataset, data[:, :, k])
        with atomic_path(folder / f"IM{number:04d}.dcm") as path:
            dataset.save_as(path, enforce_file_format=True)


def _series_of(study: str, case_id: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.Manufacturer = "medgan phantom"
    dataset.PatientName = dataset.PatientID = case_id
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientPosition = "HFS"
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyDate = dataset.SeriesDate = "20260101"
    dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = "120000", "", "1", ""
    dataset.SeriesNumber = 1
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[study, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[study, "series"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[study, "frame of reference"])
    dataset.PositionReferenceIndicator = ""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.KVP = 120
    return dataset


def _place(dataset: Dataset, affine: np.ndarray, k: int) -> None:
    """Set the geometry of slice `k` from the LPS affine of the volume."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    columns, rows = (affine[:3, axis] / spacing[axis] for axis in (0, 1))
    position = affine @ [0, 0, k, 1]
    dataset.InstanceNumber = k + 1
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[dataset.SeriesInstanceUID, str(k)])
    dataset.ImagePositionPatient = [f"{value:.6g}" for value in position[:3]]
    dataset.ImageOrientationPatient = [f"{value:.6g}" for value in (*columns, *rows)]
    dataset.PixelSpacing = [f"{spacing[1]:.6g}", f"{spacing[0]:.6g}"]  # between rows, then between columns
    dataset.SliceThickness = f"{spacing[2]:.6g}"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _set_pixels(dataset: Dataset, data: np.ndarray) -> None:
    stored = (data.T - _INTERCEPT_HU).astype("<u2")  # rows are j
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = _INTERCEPT_HU, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"

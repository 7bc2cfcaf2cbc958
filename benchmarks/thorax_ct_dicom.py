"""A real thorax CT, as a hospital's DICOM series, through `predict` with the quickstart model.

    medgan quickstart --out runs/quickstart
    python benchmarks/thorax_ct_dicom.py

The model has seen nothing but phantoms, so its labels need not be right; the grid must be. The series' geometry is read
here by pydicom alone, slice by slice, and held against the written labels. How wrong the lungs are is measured against
a threshold segmentation, which on this scan without lung disease is close to the truth.
"""

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from experiment import PROJECT, SHARED_DATA
from scipy import ndimage
from skimage.segmentation import clear_border

import medgan
from medgan.errors import MedganError
from medgan.report.overlay import write_overlay


def series_folder(root: Path) -> Path:
    """Return the folder with the CT slices; the one RTSTRUCT lies in another."""
    counts = {folder: len(list(folder.glob("*.dcm"))) for folder in root.rglob("*") if folder.is_dir()}
    return max(counts, key=lambda folder: counts[folder])


def corner_positions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return LPS positions of the corner pixels of every slice, and their (column, row, slice) indices, by pydicom."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")]
    normal = np.cross(*np.array(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3))
    headers.sort(key=lambda header: float(normal @ np.array(header.ImagePositionPatient, dtype=float)))
    positions, indices = [], []
    for number, header in enumerate(headers):
        along_row, along_column = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
        row_mm, column_mm = (float(x) for x in header.PixelSpacing)
        origin = np.array(header.ImagePositionPatient, dtype=float)
        for column in (0, header.Columns - 1):
            for row in (0, header.Rows - 1):
                positions.append(origin + along_row * column * column_mm + along_column * row * row_mm)
                indices.append((column, row, number))
    return np.array(positions), np.array(indices)


def lungs_by_threshold(hu: np.ndarray) -> np.ndarray:
    """Return the air inside the body, (I, J, K) bool: under -400 HU, not touching the picture's edge in the slice."""
    air = hu < -400
    inside = np.stack([clear_border(air[:, :, k]) for k in range(air.shape[2])], axis=2)
    components, _ = ndimage.label(ndimage.binary_opening(inside, iterations=2))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    kept = np.isin(components, [n for n in np.argsort(sizes)[-2:] if sizes[n] > 0.1 * sizes.max()])
    return np.asarray(ndimage.binary_closing(kept, iterations=3))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of the public images")
    options.add_argument("--model", type=Path, default=PROJECT / "runs" / "quickstart" / "model")
    options.add_argument("--out", type=Path, default=PROJECT / "runs" / "thorax_ct_dicom")
    chosen = options.parse_args()

    folder = series_folder(chosen.data / "thorax_ct_dicom_rtstruct")
    predictor = medgan.Predictor(chosen.model)
    started = time.monotonic()
    outcome = medgan.predict(predictor, [folder], chosen.out)
    if outcome.failed:
        raise MedganError(str(outcome.failed))
    seconds = time.monotonic() - started
    path = next(chosen.out.glob("*.nii.gz"))
    written = nib.load(path)
    positions, indices = corner_positions(folder)
    placed = (nib.affines.apply_affine(written.affine, indices)) * (-1, -1, 1)  # RAS to LPS
    error_mm = np.abs(placed - positions).max()

    image, labels = medgan.read_volume(folder), medgan.read_label(path)
    lungs, truth = np.isin(labels.data[0], (1, 2)), lungs_by_threshold(image.data[0])
    dice = 2 * (lungs & truth).sum() / (lungs.sum() + truth.sum())
    write_overlay(image, labels, predictor.labels, chosen.out / "overlay.png")
    print(f"{len(indices) // 4} slices, grid {labels.describe_grid()}; {seconds:.1f} s")
    print(f"largest distance of a slice corner from pydicom's position: {error_mm:.2e} mm")
    print(
        f"both lungs: {lungs.sum() * labels.voxel_ml:.0f} ml, by threshold {truth.sum() * labels.voxel_ml:.0f} ml, ",
        end="",
    )
    print(f"Dice {dice:.3f}")
    for organ in predictor.labels.organs:
        print(f"{organ.name}: {(labels.data == organ.value).sum() * labels.voxel_ml:.0f} ml")


if __name__ == "__main__":
    main()

"""Hold medgan's reading of the real DICOM series against dcm2niix, an independent reader, voxel by voxel.

Both volumes are compared at the same points in the patient: how far apart their voxels lie, and by how much the values
differ. dcm2niix (`pip install dcm2niix`) is a program of its own; give its path.

    python benchmarks/real_series.py --dcm2niix PATH
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from medgan.volume.readers import read_volume
from medgan.volume.volume import Volume

DATA = Path(__file__).parents[2] / "shared" / "data"
SERIES = {
    "thorax CT (4D-Lung)": DATA / "thorax_ct_dicom_rtstruct",
    "CT, 3 slices (dcmqi)": DATA / "ct_dicom_seg/ct-3slice",
    "CT, JPEG 2000 (TotalSegmentator)": DATA / "totalsegmentator_ct/example_ct_dicom",
}


def by_dcm2niix(program: Path, series: Path, folder: Path) -> Volume:
    """Return the one volume that dcm2niix makes of a series."""
    command = [str(program), "-z", "n", "-b", "n", "-f", "series", "-o", str(folder), str(series)]
    subprocess.run(command, check=True, capture_output=True)
    image = nib.load(folder / "series.nii")
    return Volume(np.asarray(image.dataobj, dtype=np.float32)[None], image.affine)


def compare(volume: Volume, other: Volume) -> tuple[float, float]:
    """Return the largest distance between voxels that should coincide, in mm, and the largest difference of values."""
    to_other = np.linalg.inv(other.affine) @ volume.affine
    indices = np.indices(volume.shape).reshape(3, -1)
    places = to_other[:3, :3] @ indices + to_other[:3, 3:]
    nearest = np.rint(places).astype(int)
    apart_mm = np.linalg.norm(other.affine[:3, :3] @ (places - nearest), axis=0).max()
    values = other.data[0][tuple(nearest)]
    return float(apart_mm), float(np.abs(values - volume.data[0].ravel()).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcm2niix", type=Path, required=True, help="the program")
    program = parser.parse_args().dcm2niix
    print("| series | voxels | farthest apart (mm) | largest difference (HU) |\n|---|---|---|---|")
    for name, series in SERIES.items():
        volume = read_volume(series)
        with tempfile.TemporaryDirectory() as folder:
            apart_mm, difference = compare(volume, by_dcm2niix(program, series, Path(folder)))
        print(f"| {name} | {'x'.join(map(str, volume.shape))} | {apart_mm:.1e} | {difference:g} |")


if __name__ == "__main__":
    main()

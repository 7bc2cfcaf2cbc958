"""Time reading and writing .nii.gz by medgan against nibabel, on real images, in one run.

Both write gzip at their fast level and read to voxels in the stored type; medgan also verifies the checksum and checks
the header. The labels are held in memory in file order (i fastest), and with k fastest, as arrays from a network are.
Runs alternate, after one that is not counted; the table holds medians and the median of the paired ratios.

    python benchmarks/gzip_nifti.py [--repeats 9]
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from medgan.volume import nifti
from medgan.volume.dicom import read as dicom
from medgan.volume.volume import Volume

DATA = Path(__file__).parents[2] / "shared" / "data"
THORAX = (
    DATA / "thorax_ct_dicom_rtstruct/113_HM10395/11-26-1999-NA-p4-13296/1.000000-P4P113S303I10349 Gated 40.0B-29543"
)
TOTAL = DATA / "totalsegmentator_ct"


def images() -> dict[str, Volume]:
    """Return the images by name, i fastest in memory unless the name says otherwise."""
    thorax = dicom.read(THORAX)
    thorax = Volume(np.asfortranarray(thorax.data[0].astype(np.int16))[None], thorax.affine)
    body = Volume(np.asfortranarray((thorax.data[0] > -300).astype(np.uint8))[None], thorax.affine)
    organs = nifti.read(TOTAL / "example_seg_dicom.nii.gz")
    organs = Volume(np.asfortranarray(organs.data[0].astype(np.uint8))[None], organs.affine)
    return {
        "CT, int16": thorax,
        "body mask, uint8": body,
        "body mask, k fastest": Volume(np.ascontiguousarray(body.data), body.affine),
        "organs, uint8": organs,
        "organs, k fastest": Volume(np.ascontiguousarray(organs.data), organs.affine),
    }


def write_nibabel(volume: Volume, path: Path) -> None:
    nib.save(nib.Nifti1Image(volume.data[0], volume.affine), path)


def read_nibabel(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def paired(a: Callable[[], object], b: Callable[[], object], *, repeats: int) -> tuple[float, float, float]:
    """Return the medians of both, and of the ratio b : a of runs side by side."""
    pairs = [(seconds(a), seconds(b)) for _ in range(repeats + 1)][1:]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second), statistics.median(y / x for x, y in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    print("| image | voxels | | medgan | nibabel | faster by | medgan, MB | nibabel, MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "medgan.nii.gz", Path(folder) / "nibabel.nii.gz"
        for name, volume in images().items():
            for job, a, b in (
                ("write", lambda v=volume: nifti.write(v, ours), lambda v=volume: write_nibabel(v, theirs)),
                ("read", lambda: nifti.read(ours), lambda: read_nibabel(theirs)),
            ):
                x, y, ratio = paired(a, b, repeats=repeats)
                sizes = f"{ours.stat().st_size / 1e6:.2f} | {theirs.stat().st_size / 1e6:.2f}"
                size = "x".join(map(str, volume.shape))
                print(f"| {name} | {size} | {job} | {x:.3f} s | {y:.3f} s | {ratio:.1f}x | {sizes} |")
            assert np.array_equal(nifti.read(theirs).data, volume.data)
            assert np.array_equal(read_nibabel(ours), volume.data[0])


if __name__ == "__main__":
    main()

"""A synthetic thorax cohort: images like CT with labelled lungs and heart, for trying everything without any data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case, Split
from medgan.manifest.read import write_manifest
from medgan.phantom.anatomy import Anatomy, draw_anatomy, structures_of
from medgan.phantom.dicom import write_ct_series
from medgan.phantom.shapes import Structure
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

LABELS = LabelMap.from_mapping(
    {
        "left_lung": {
            "value": 1,
            "color": "#4c9be8",
            "code": {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"},
        },
        "right_lung": {
            "value": 2,
            "color": "#58c48d",
            "code": {"scheme": "SCT", "value": "3341006", "meaning": "Right lung"},
        },
        "heart": {"value": 3, "color": "#e2585a", "code": {"scheme": "SCT", "value": "80891009", "meaning": "Heart"}},
    }
)
Region = tuple[slice, slice, slice]

_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_CORNERS = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])


@dataclass(frozen=True)
class Scan:
    """How a patient is scanned.

    Attributes:
        spacing_mm: voxel spacing along R, A, S.
        orientation: where the axes of the stored array point; "LAS" and its like are left-handed.
        tilt_degrees: rotation of the grid against the patient, about x and about z.
        extent_mm: field of view along R, A, S.
        centre_mm: the middle of the field of view.
        noise_hu: standard deviation of the noise.
        consolidation: part of the right lung is dense with disease; it still counts as lung.
        as_dicom: stored as a DICOM series instead of NIfTI.
    """

    spacing_mm: tuple[float, float, float]
    orientation: str = "RAS"
    tilt_degrees: tuple[float, float] = (0.0, 0.0)
    extent_mm: tuple[float, float, float] = (304.0, 224.0, 250.0)
    centre_mm: tuple[float, float, float] = (0.0, -4.0, -8.0)
    noise_hu: float = 25.0
    consolidation: bool = False
    as_dicom: bool = False

    def grid(self) -> tuple[tuple[int, int, int], np.ndarray]:
        """Return the size in voxels and the affine."""
        axes = [_AXES[letter] for letter in self.orientation]
        shape = [max(round(self.extent_mm[axis] / self.spacing_mm[axis]), 1) for axis, _ in axes]
        affine = np.eye(4)
        affine[:3, :3] = 0.0
        for column, (axis, sign) in enumerate(axes):
            affine[axis, column] = sign * self.spacing_mm[axis]
        affine[:3, :3] = _rotation(*self.tilt_degrees) @ affine[:3, :3]
        affine[:3, 3] = np.array(self.centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        return (shape[0], shape[1], shape[2]), affine


_SCANS: dict[Split, tuple[Scan, ...]] = {
    "train": (
        Scan((2.0, 2.0, 2.0)),
        Scan((1.0, 1.0, 3.0), "LPS", noise_hu=35.0),
        Scan((3.0, 3.0, 5.0), extent_mm=(420.0, 360.0, 250.0), noise_hu=15.0),
        Scan((2.0, 2.0, 2.5), "LPS", consolidation=True),
        Scan((2.5, 2.5, 2.5), noise_hu=20.0),
        Scan((1.5, 1.5, 1.5), extent_mm=(120.0, 110.0, 60.0), centre_mm=(-5.0, 0.0, -10.0), noise_hu=30.0),
        Scan((1.5, 1.5, 1.5), "LPS", noise_hu=40.0),
        Scan((4.0, 4.0, 4.0), extent_mm=(480.0, 480.0, 260.0), noise_hu=15.0),
        Scan((2.0, 2.0, 3.0), "ASR"),
        Scan((1.2, 1.2, 4.0), "LPS", noise_hu=20.0),
    ),
    "val": (Scan((2.2, 2.2, 2.5), "LPS"), Scan((3.0, 3.0, 3.0), noise_hu=30.0)),
    "test": (
        Scan((1.8, 1.8, 1.8), tilt_degrees=(12.0, 10.0)),
        Scan((2.0, 2.0, 2.5), "LAS", noise_hu=30.0),
        Scan((1.6, 1.6, 4.0), "LPS", as_dicom=True),
        Scan((0.8, 0.8, 5.0), "LPS", noise_hu=35.0),
    ),
}


def make_cohort(
    folder: str | Path, *, num_cases: int = 16, seed: int = 0, on_case: Callable[[Case], None] | None = None
) -> Path:
    """Write a cohort of synthetic patients and return its manifest.

    `folder` gets `images/`, `labels/`, `manifest.csv` and `labels.yaml`. 16 cases have spacings from 0.8 to 5 mm, one
    with an oblique and one with a left-handed affine, one DICOM series, one lung with a consolidation, and one volume
    much smaller than a chest; other numbers repeat or shorten that list. Equal seeds and versions give equal bytes.

    Args:
        folder: where to write.
        num_cases: at least 4; an eighth of them (at least one) is `val`, a quarter `test`.
        seed: seed of the patients.
        on_case: called with every case that has been written.

    Raises:
        MedganError: if `num_cases` is too small or the folder cannot be written to.
    """
    folder = Path(folder)
    cases = []
    for number, (case, scan) in enumerate(plan_cohort(folder, num_cases=num_cases), start=1):
        image, label = make_case(scan, np.random.default_rng([seed, number]))
        _write_case(case, scan, image, label, seed=seed)
        cases.append(case)
        if on_case:
            on_case(case)
    LABELS.to_yaml(folder / "labels.yaml")
    write_manifest(cases, folder / "manifest.csv")
    return folder / "manifest.csv"


def plan_cohort(folder: str | Path, *, num_cases: int = 16) -> list[tuple[Case, Scan]]:
    """Return the cases of a cohort in `folder` and how each is scanned, without writing anything."""
    if num_cases < 4:
        raise MedganError(f"a phantom cohort needs at least 4 cases for its three splits, found {num_cases}.")
    num_test, num_val = round(num_cases / 4), max(round(num_cases / 8), 1)
    counts: dict[Split, int] = {"train": num_cases - num_test - num_val, "val": num_val, "test": num_test}
    planned: list[tuple[Case, Scan]] = []
    for split, count in counts.items():
        for n in range(count):
            scan = _SCANS[split][n % len(_SCANS[split])]
            planned.append((_plan_case(Path(folder), len(planned) + 1, split, scan), scan))
    return planned


def make_case(scan: Scan, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Return the image (int16, HU) and the label volume (uint8, values of `LABELS`) of a random patient.

    Voxels at a surface are sampled nine times, so that they hold a mixture of densities as in a scanner (partial
    volume), and belong to the organ that fills more than half of them.
    """
    anatomy = draw_anatomy(rng)
    image, label = sample_anatomy(anatomy, scan)
    data = image.data
    data += scan.noise_hu * _correlated_noise(data.shape[1:], rng)
    return replace(image, data=np.clip(np.rint(data), -1024, 3071).astype(np.int16)), label


def sample_anatomy(anatomy: Anatomy, scan: Scan) -> tuple[Volume, Volume]:
    """Return the noise-free image (float32, HU) and the label volume of one patient on the grid of a scan."""
    shape, affine = scan.grid()
    to_patient = np.linalg.inv(anatomy.pose()) @ affine
    hu = np.full(shape, -1000.0, np.float32)
    label = np.zeros(shape, np.uint8)
    values = dict(zip(LABELS.names, LABELS.values, strict=True))
    for structure in structures_of(anatomy, consolidation=scan.consolidation):
        region = _region_of(structure, shape, to_patient)
        if region is None:
            continue
        filled = _filled_fraction(structure, region, to_patient)
        density = structure.hu(*_coordinates(region, to_patient)) if callable(structure.hu) else structure.hu
        hu[region] += filled * (density - hu[region])
        if structure.organ:
            label[region][filled > 0.5] = values[structure.organ]
    return Volume(hu[None], affine), Volume(label[None], affine)


def _region_of(structure: Structure, shape: tuple[int, int, int], to_patient: np.ndarray) -> Region | None:
    """Return the part of the grid that a structure's box covers, or None if it lies outside."""
    if structure.box is None:
        return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    low, high = np.array(structure.box)
    corners = low + _CORNERS * (high - low)
    indices = np.linalg.solve(to_patient[:3, :3], (corners - to_patient[:3, 3]).T)
    first = np.maximum(np.floor(indices.min(axis=1)).astype(int), 0)
    last = np.minimum(np.ceil(indices.max(axis=1)).astype(int) + 1, shape)
    if (first >= last).any():
        return None
    i, j, k = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return i, j, k


def _coordinates(region: Region, to_patient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, z of the voxels of a region, each only as large as it must be to broadcast."""
    steps = np.meshgrid(*[np.arange(part.start, part.stop) for part in region], indexing="ij", sparse=True)
    x, y, z = (
        sum((row[n] * steps[n] for n in range(3) if abs(row[n]) > 1e-9), np.full((1, 1, 1), row[3])).astype(np.float32)
        for row in to_patient[:3]
    )
    return x, y, z


def _filled_fraction(structure: Structure, region: Region, to_patient: np.ndarray) -> np.ndarray:
    """Return which fraction of every voxel of a region lies inside a structure, by nine samples at its surface."""
    distance = structure.surface(*_coordinates(region, to_patient))
    shape = [part.stop - part.start for part in region]
    distance = np.broadcast_to(distance, shape)
    filled = (distance < 0).astype(np.float32, order="C")
    reach = 0.7 * float(np.linalg.norm(np.linalg.norm(to_patient[:3, :3], axis=0)))
    near = np.flatnonzero(abs(distance) < reach)
    indices = np.stack(np.unravel_index(near, shape)) + np.array([[part.start] for part in region])
    centres = to_patient[:3, :3] @ indices + to_patient[:3, 3:]
    inside = filled.reshape(-1)[near]  # the centre is the ninth sample, so that no voxel is undecided
    for corner in _CORNERS:
        x, y, z = (centres + to_patient[:3, :3] @ ((corner - 0.5) / 2)[:, None]).astype(np.float32)
        inside += structure.surface(x, y, z) < 0
    filled.reshape(-1)[near] = inside / 9
    return filled


def _correlated_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return noise of deviation 1 in which neighbours along i and j share half of their variance."""
    white = rng.standard_normal((shape[0] + 1, shape[1] + 1, shape[2]), dtype=np.float32)
    pairs = white[1:] + white[:-1]
    noise: np.ndarray = (pairs[:, 1:] + pairs[:, :-1]) / 2
    return noise


def _rotation(about_x: float, about_z: float) -> np.ndarray:
    (a, b), (c, d) = ((np.cos(angle), np.sin(angle)) for angle in np.deg2rad([about_x, about_z]))
    turn: np.ndarray = np.array([[c, -d, 0], [d, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, a, -b], [0, b, a]])
    return turn


def _plan_case(folder: Path, number: int, split: Split, scan: Scan) -> Case:
    case_id = f"phantom_{number:02d}"
    image = folder / "images" / (case_id if scan.as_dicom else f"{case_id}.nii.gz")
    return Case(case_id, (image,), folder / "labels" / f"{case_id}.nii.gz", split, f"phantom_p{number:02d}")


def _write_case(case: Case, scan: Scan, image: Volume, label: Volume, *, seed: int) -> None:
    (path,) = case.images
    if scan.as_dicom:
        write_ct_series(image, path, case_id=case.case_id, seed=seed)
    else:
        write_volume(image, path)
    if case.label:
        write_volume(label, case.label)

"""The grid an RTSTRUCT's contours are drawn on: that of the image series it refers to, or of another image if asked."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.volume.dicom.archive import is_archive
from medgan.volume.dicom.files import DicomFile, looks_like_dicom
from medgan.volume.dicom.rtstruct_file import ReferencedSeries, referenced_series
from medgan.volume.dicom.series import Scan, Series, choose_series, scan
from medgan.volume.dicom.stack import stack_of
from medgan.volume.volume import Volume

GIVE_THE_IMAGE = "pass reference= with the image (on a command line --reference; for evaluate --images)"
_MAX_FILES_ABOVE = 20_000  # in the folder above, which may hold a whole archive


@dataclass(frozen=True, eq=False)
class Grid:
    """Size (I, J, K), affine (RAS+, mm), and what messages call it."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    name: str


@dataclass(frozen=True, eq=False)
class _Match:
    """A series that holds images a structure set refers to."""

    series: Series
    wanted: ReferencedSeries
    num_found: int

    @property
    def is_complete(self) -> bool:
        return self.num_found == len(self.wanted.image_uids)


def grid_of(file: DicomFile, reference: Volume | str | Path | None, *, max_voxels: int) -> Grid:
    """Return the grid of the reference, or of the series that a structure set refers to.

    Raises:
        MedganError: if the series cannot be found with all images the file refers to; if a reference holds several to
            choose from; or for any fault of the image.
    """
    if isinstance(reference, Volume):
        return Grid(reference.shape, reference.affine, "the reference image")
    wanted = referenced_series(file)
    if reference is None:
        return _grid_beside(file, wanted)
    path = Path(reference)
    if not path.exists():
        raise MedganError(f"{path}: there is no reference image here; check the path.")
    if path.is_dir() or is_archive(path) or _is_dicom(path):
        with scan(path) as found:
            match = _best(found, wanted) if found.file is None else None  # a file says which series is meant
            series = match.series if match else choose_series(found, where=str(path))
            _warn_if_foreign(file, wanted, series, path)
            return _grid_of_series(series, path)
    from medgan.volume.readers import read_volume  # noqa: PLC0415 - it imports this room's readers, this one too

    volume = read_volume(path, max_voxels=max_voxels)
    return Grid(volume.shape, volume.affine, str(path))


def _warn_if_foreign(file: DicomFile, wanted: Sequence[ReferencedSeries], series: Series, path: Path) -> None:
    """Tell when a series that was given is not the one referred to, or lacks some of its images."""
    named: set[str] = set().union(*(want.image_uids for want in wanted))
    num_found = len(named & {each.text("SOPInstanceUID") for each in series.files})
    if named and num_found < len(named):
        warnings.warn(
            f"{file.name} refers to {len(named)} images, of which {num_found} are in {path}; its contours are drawn "
            "there by their positions all the same.",
            stacklevel=4,
        )


def _grid_beside(file: DicomFile, wanted: Sequence[ReferencedSeries]) -> Grid:
    """Return the grid of the referenced series, looked for below the file's folder, then below the one above."""
    if not wanted:
        raise MedganError(f"{file.name} refers to no image series, so there is no grid to draw on; {GIVE_THE_IMAGE}.")
    num_found = 0
    for folder in _folders_near(file):
        with scan(folder) as found:
            match = _best(found, wanted)
            if match and match.is_complete:
                return _grid_of_series(match.series, folder)
            num_found = max(num_found, match.num_found if match else 0)
    raise MedganError(
        f"{file.name}: images of the referenced series are missing: it refers to {len(wanted[0].image_uids)} images of "
        f"series {wanted[0].uid or 'unknown'}, of which {num_found} are below its folder or the one above; put them "
        f"there, or {GIVE_THE_IMAGE}."
    )


def _folders_near(file: DicomFile) -> Iterator[Path]:
    folder = file.path.resolve().parent
    yield folder
    if file.shown:  # in an archive, and above its temporary folder lie things of others
        return
    num_above = sum(1 for _ in islice(folder.parent.rglob("*"), _MAX_FILES_ABOVE + 1))
    if num_above <= _MAX_FILES_ABOVE:
        yield folder.parent


def _best(found: Scan, wanted: Sequence[ReferencedSeries]) -> _Match | None:
    """Return the series with most of the images referred to; by UID alone where no image is named."""
    matches = []
    for want in wanted:
        for series in found.series:
            uids = {file.text("SOPInstanceUID") for file in series.files}
            num_found = len(want.image_uids & uids)
            if want.uid in ("", series.uid) and (num_found or not want.image_uids):
                matches.append(_Match(series, want, num_found))
    return max(matches, key=lambda match: match.num_found, default=None)


def _grid_of_series(series: Series, path: Path) -> Grid:
    stack = stack_of(series, where=str(path))
    return Grid(stack.shape, stack.affine, str(path))


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return looks_like_dicom(file.read(144))

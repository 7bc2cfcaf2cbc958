"""Reading an image or a label volume from any supported format.

To support another format, write a function `read(path, *, max_voxels) -> Volume` and add a line to `READERS`. Files
that name their segments (DICOM SEG, RTSTRUCT, .seg.nrrd, a folder of masks) are labels too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume import image2d, itk, mgh, nifti
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.dicom import read as dicom
from medgan.volume.dicom.archive import is_archive
from medgan.volume.dicom.files import DicomFile, read_header
from medgan.volume.dicom.rtstruct_file import is_rtstruct
from medgan.volume.dicom.seg import is_seg, read_segments_of
from medgan.volume.dicom.series import scan
from medgan.volume.dicom.stack import read_stack
from medgan.volume.mask_folder import is_mask_folder, read_mask_folder
from medgan.volume.regrid import label_on_grid_of, segments_on_grid_of
from medgan.volume.seg_nrrd import read_seg_nrrd
from medgan.volume.segments import Segments
from medgan.volume.volume import Volume


class Reader(Protocol):
    """Returns the volume in a file, in its stored type, or raises `MedganError` naming the file."""

    def __call__(self, path: str | Path, *, max_voxels: int) -> Volume:
        """Read one file, or a folder for DICOM."""


READERS: dict[str, Reader] = {
    ".nii": nifti.read,
    ".nii.gz": nifti.read,
    ".hdr": nifti.read,
    ".hdr.gz": nifti.read,
    ".img": nifti.read,
    ".img.gz": nifti.read,
    ".dcm": dicom.read,
    ".ima": dicom.read,
    ".mha": itk.read,
    ".mhd": itk.read,
    ".nrrd": itk.read,
    ".nhdr": itk.read,
    ".mgh": mgh.read,
    ".mgz": mgh.read,
    ".mgh.gz": mgh.read,
    ".gipl": itk.refuse,
    ".gipl.gz": itk.refuse,
    ".vtk": itk.refuse,
    ".mrc": itk.refuse,
    ".png": image2d.read,
    ".jpg": image2d.read,
    ".jpeg": image2d.read,
    ".bmp": image2d.read,
    ".tif": image2d.read,
    ".tiff": image2d.read,
}


def read_volume(path: str | Path, *, series: str | None = None, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return an image as float32, axes (1, I, J, K), RAS+ mm; a 2D image has K = 1.

    A folder or a zip is read as one DICOM series, a file by its suffix (`READERS`); a file with another suffix, or
    none, is read if it is DICOM, together with the other slices of its series beside it.

    Args:
        path: a file, a folder of DICOM files, or a zip of them.
        series: where there are several DICOM series, the SeriesInstanceUID, key or description of the one meant.
        max_voxels: a file that claims more is refused before memory is taken.

    Raises:
        MedganError: if the input cannot be read with all its values and its geometry, or holds NaN or infinite voxels:
            no network or metric gives a meaningful result on those, and what they stand for only the user knows.

    Example:
        >>> volume = read_volume("thorax.nii.gz")  # doctest: +SKIP
        >>> volume.shape, volume.spacing_mm, volume.data.dtype  # doctest: +SKIP
        ((512, 512, 99), (0.977, 0.977, 3.0), dtype('float32'))
    """
    volume = read_stored(path, series=series, max_voxels=max_voxels)
    _check_finite(path, volume.data)
    with np.errstate(over="ignore"):
        data = volume.data.astype(np.float32, copy=False)
    if data is not volume.data:
        _check_finite(path, data)
    return Volume(data, volume.affine)


def read_label(
    path: str | Path,
    *,
    labels: LabelMap | None = None,
    reference: Volume | str | Path | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Return a label volume in the smallest unsigned integer type that holds its values, axes (1, I, J, K).

    Floating-point files are taken if every value is a whole number. Of files that name their segments (`read_segments`)
    those that are organs of `labels` are taken, with the organs' values.

    Args:
        path: a label volume in any format of `READERS`, or whatever `read_segments` takes.
        labels: the organs, for files that name their segments; None takes every segment, with its number as the value.
        reference: the image the label belongs to, or where it is. The label is laid on its grid where that takes no
            resampling (axes in another order or direction, planes or borders left out); a label on another grid is
            returned on its own.
        max_voxels: a file that claims more is refused before memory is taken.

    Raises:
        MedganError: as for `read_volume`, and if a value is negative, fractional or NaN, or no segment is an organ.
    """
    found = read_label_or_segments(path, reference=reference, max_voxels=max_voxels)
    return found.to_label(labels, where=str(path)) if isinstance(found, Segments) else found


def read_label_or_segments(
    path: str | Path, *, reference: Volume | str | Path | None = None, max_voxels: int = MAX_VOXELS
) -> Volume | Segments:
    """Return the segments of a file that names them, of any other its label volume; see `read_label`.

    Raises:
        MedganError: as for `read_label`.
    """
    path = Path(path)
    segments = _read_segments(path, reference=reference, max_voxels=max_voxels)
    if segments is not None:
        return segments
    label = _as_label(path, read_stored(path, max_voxels=max_voxels))
    return label if reference is None else label_on_grid_of(_grid_of(reference), label)


def read_segments(
    path: str | Path, *, reference: Volume | str | Path | None = None, max_voxels: int = MAX_VOXELS
) -> Segments:
    """Return the named masks of a DICOM SEG or RTSTRUCT, a .seg.nrrd, or a folder with a mask file for each organ.

    A folder or zip of DICOM must hold one such object, and no image.

    Args:
        path: the file, folder or zip.
        reference: the image they belong to, or where it is; see `read_label`. An RTSTRUCT is drawn on its grid.
        max_voxels: a file that claims more is refused before memory is taken.

    Raises:
        MedganError: if it is none of these, or cannot be read.

    Example:
        >>> read_segments("segmentations").names  # doctest: +SKIP
        ('heart', 'lung_left', 'lung_right')
    """
    path = Path(path)
    segments = _read_segments(path, reference=reference, max_voxels=max_voxels)
    if segments is None:
        raise MedganError(
            f"{path} names no segments: it must be a DICOM SEG or RTSTRUCT, a .seg.nrrd file or a folder of masks."
        )
    return segments


def segments_of(
    file: DicomFile, *, reference: Volume | str | Path | None = None, max_voxels: int = MAX_VOXELS
) -> Segments | None:
    """Return the segments of a DICOM SEG or RTSTRUCT whose header has been read, None if it is neither.

    Raises:
        MedganError: as for `read_segments`.
    """
    if is_seg(file):
        grid = None if reference is None else _grid_of(reference)
        return read_segments_of(file, reference=grid, max_voxels=max_voxels)
    if is_rtstruct(file):
        from medgan.volume.dicom.rtstruct import read_rois_of  # noqa: PLC0415 - brings scikit-image, few need it

        return read_rois_of(file, reference=reference, max_voxels=max_voxels)
    return None


def names_segments(path: str | Path) -> bool:
    """Return whether `read_segments` takes a file, folder or zip, going by its name and headers.

    Raises:
        MedganError: if it is not there, or its headers are damaged.
    """
    path = Path(path)
    with _told(path):
        if path.name.lower().endswith(".seg.nrrd") or _reader_for(path) is not dicom.read or is_mask_folder(path):
            return path.name.lower().endswith(".seg.nrrd") or path.is_dir()
        if path.is_file() and not is_archive(path):
            return (file := read_header(path)) is not None and (is_seg(file) or is_rtstruct(file))
        with scan(path) as found:
            return bool(found.derived) and not found.series


def read_stored(path: str | Path, *, series: str | None = None, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return an image or a plain label in its stored type, NaN included; see `read_volume`.

    Raises:
        MedganError: if it cannot be read.
    """
    path = Path(path)
    with _told(path):
        reader = _reader_for(path)
        if reader is dicom.read:
            if path.is_file() and (file := _dicom_header(path)) is not None and (is_seg(file) or is_rtstruct(file)):
                raise MedganError(f"{path} must be an image, but is a DICOM SEG or RTSTRUCT; read it with read_label.")
            return dicom.read(path, series=series, max_voxels=max_voxels)
        if series is not None:
            raise MedganError(f"{path} is no DICOM folder or zip, so no series can be chosen; leave series out.")
        return reader(path, max_voxels=max_voxels)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what the system refuses as errors about `path`."""
    try:
        yield
    except OSError as error:
        raise MedganError(f"{path} could not be read: {error.strerror or type(error).__name__}.") from error
    except MemoryError as error:
        raise MedganError(f"{path} does not fit in memory; crop it, or use a machine with more.") from error


def _reader_for(path: Path) -> Reader:
    if not path.exists():
        raise MedganError(f"{path} does not exist; check the path.")
    if path.is_dir():
        return dicom.read
    if not path.is_file():
        raise MedganError(f"{path} must be a file or a folder of DICOM slices; it is neither.")
    name = path.name.lower()
    suffix = max((s for s in READERS if name.endswith(s)), key=len, default=None)
    if suffix is not None:
        return READERS[suffix]
    if not path.suffix or is_archive(path) or _has_dicom_preamble(path):
        return dicom.read
    raise MedganError(
        f"{path} has an unsupported format: suffix {path.suffix!r} is not one of {', '.join(READERS)}, "
        "and it is not a DICOM file."
    )


def _read_segments(path: Path, *, reference: Volume | str | Path | None, max_voxels: int) -> Segments | None:
    """Return the segments of a file that names them, None for any other."""
    with _told(path):
        if path.name.lower().endswith(".seg.nrrd"):
            segments = read_seg_nrrd(path, max_voxels=max_voxels)
        elif _reader_for(path) is not dicom.read:
            return None
        elif is_mask_folder(path):
            segments = read_mask_folder(path, max_voxels=max_voxels)
        else:
            return _read_dicom_segments(path, reference=reference, max_voxels=max_voxels)
    return segments if reference is None else segments_on_grid_of(_grid_of(reference), segments)


def _read_dicom_segments(path: Path, *, reference: Volume | str | Path | None, max_voxels: int) -> Segments | None:
    if path.is_file() and not is_archive(path):
        file = _dicom_header(path)
        return None if file is None else segments_of(file, reference=reference, max_voxels=max_voxels)
    with scan(path) as found:
        if found.series or not found.derived:
            return None
        if len(found.derived) > 1 or found.damaged:
            paths = [file.path for file in found.derived] + [file.path for file in found.damaged]
            names = ", ".join(each.name for each in paths[:8])
            raise MedganError(f"{path} must hold one DICOM SEG or RTSTRUCT, but holds {names}; give the one you want.")
        return segments_of(found.derived[0], reference=reference, max_voxels=max_voxels)


def _dicom_header(path: Path) -> DicomFile | None:
    """Return the header of a DICOM file, None if it is none or damaged, which reading it as an image will tell."""
    try:
        return read_header(path)
    except MedganError:
        return None


def _grid_of(reference: Volume | str | Path) -> Volume:
    """Return a volume on the grid of the reference; of a DICOM series without its pixels, which would take a while."""
    if isinstance(reference, Volume):
        return reference
    path = Path(reference)
    with _told(path):
        if _reader_for(path) is not dicom.read:
            return read_stored(path)
        stack = read_stack(path)
        return Volume(np.broadcast_to(np.uint8(0), (1, *stack.shape)), stack.affine)


def _as_label(path: Path, volume: Volume) -> Volume:
    data = volume.data
    _check_finite(path, data)
    if data.dtype.kind == "f" and (fractional := data[data != np.trunc(data)]).size:
        raise MedganError(
            f"{path} must hold whole numbers as a label, but has fractional values such as "
            f"{_examples(fractional)}; resample labels with nearest-neighbour interpolation."
        )
    if data.min() < 0:
        raise MedganError(
            f"{path} must hold no negative label values, found {_examples(data[data < 0])}; is it an image?"
        )
    return Volume(data.astype(np.min_scalar_type(int(data.max()))), volume.affine)


def _has_dicom_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_finite(path: str | Path, data: np.ndarray) -> None:
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return
    num_nan, num_inf = int(np.isnan(data).sum()), int(np.isinf(data).sum())
    raise MedganError(
        f"{path} must hold finite values, found NaN in {num_nan:,} and infinity (or too large for float32) in "
        f"{num_inf:,} of its voxels; replace them by the value they stand for."
    )


def _examples(values: np.ndarray) -> str:
    return ", ".join(f"{v:g}" for v in np.unique(values)[:5].tolist())

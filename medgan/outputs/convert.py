"""`medgan convert`: an image or labels in any format that can be read, into any that can be written.

Nothing of a DICOM header but geometry, values and segment names passes into another format.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.labels import RESERVED_NAMES, LabelMap, is_synonym
from medgan.outputs.formats import Format, check_grid, series_for, write_label
from medgan.outputs.save import labels_of
from medgan.preprocessing.shear import is_sheared, make_upright
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.dicom import read as dicom
from medgan.volume.dicom.stack import Stack, read_stack
from medgan.volume.readers import READERS, Reader, names_segments, read_label, read_segments, read_volume
from medgan.volume.segments import Segments
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume

_TARGETS: dict[str, Format] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".mha": "mha",
    ".seg.nrrd": "seg.nrrd",
    ".nrrd": "nrrd",
    ".seg.dcm": "dicom-seg",
    ".labelmap.dcm": "dicom-seg-labelmap",
    ".rtstruct.dcm": "rtstruct",
}
_OF_IMAGES: tuple[Format, ...] = ("nifti", "mha", "nrrd")
_MOST_UNNAMED = 255  # more distinct values than this are an image's
_MAX_NAME = 64  # characters, as DICOM allows


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        path: the file.
        grid: size, spacing, orientation and origin in words.
        organs: of labels, those written; None for an image.
    """

    path: Path
    grid: str
    organs: LabelMap | None


def convert(
    source: str | Path,
    target: str | Path,
    *,
    reference: str | Path | None = None,
    labels: LabelMap | str | Path | None = None,
    series: str | None = None,
    deidentify: bool = False,
) -> Converted:
    """Write what is in `source` as `target`, whose suffix decides the format.

    Labels (DICOM SEG, RTSTRUCT, .seg.nrrd, a folder of masks; a volume if `labels` are given, it names its organs as
    medgan's do, or the target is for labels alone) keep names, colours and codes where the target can hold them, and
    are read back and compared. An image keeps its values: those of a DICOM series, scaled to HU or other units, become
    int16 if all are whole and fit, else float32; other formats keep their type.

    Args:
        source: a file, folder or zip.
        target: ends in .nii, .nii.gz, .mha, .nrrd; for labels also .seg.nrrd, .seg.dcm, .labelmap.dcm, .rtstruct.dcm.
        reference: the image that labels belong to, on whose grid they are laid. DICOM targets need it to be a series.
        labels: organs, or a labels file: which segments to take, and their values. None takes all there are.
        series: UID, key or description of the DICOM series meant, in `reference` if it is given, else in `source`.
        deidentify: keep patient, study and their UIDs out of DICOM targets.

    Raises:
        MedganError: if the source cannot be read, or the target cannot hold it.

    Example:
        >>> convert("rtstruct.dcm", "organs.nii.gz", reference="ct").organs.names  # doctest: +SKIP
        ('heart', 'left_lung')
    """
    source, target = Path(source), Path(target)
    kind = _format_of(target)
    if source.resolve() == target.resolve():
        raise MedganError(f"{target} must not be the source itself.")
    organs = labels if isinstance(labels, LabelMap) or labels is None else LabelMap.from_yaml(labels)
    stack, grid = _grid_of(reference, kind, target, series=series)
    read = _labels_in(source, grid, organs, kind=kind)
    if read is None:
        return _convert_image(source, target, kind, reference=reference, series=series)
    label, organs = read
    if isinstance(grid, Volume) and not same_grid(label, grid):
        raise MedganError(
            f"{source} must lie on the grid of {reference}, {grid.describe_grid()}, found {label.describe_grid()}; "
            "give the image it was made from, or resample it."
        )
    write_label(label, organs, target, kind=kind, source=stack, is_prediction=False, deidentify=deidentify)
    return Converted(target, label.describe_grid(), organs)


def organs_of(segments: Segments, *, where: str) -> LabelMap:
    """Return a label map of named segments: their numbers as values, names in the form that organ names have.

    A name in another form becomes a synonym, so that the map finds its segment.

    Raises:
        MedganError: if there is no segment, or a number cannot be a value.
    """
    mapping: dict[str, object] = {}
    names: set[str] = set()
    for segment in segments.segments:
        name = re.sub(r"[^\w .-]+", "_", segment.name).lstrip(" .-")[:_MAX_NAME].rstrip() or f"segment_{segment.number}"
        if name in mapping or name in RESERVED_NAMES:
            name = f"{name[: _MAX_NAME - 12]}_{segment.number}"
        detail: dict[str, object] = {"value": segment.number}
        if name != segment.name and is_synonym(segment.name) and segment.name not in names:
            detail["synonyms"] = [segment.name]
        names.add(segment.name)
        if segment.color:
            detail["color"] = list(segment.color)
        if segment.code:
            detail["code"] = {key: getattr(segment.code, key) for key in ("scheme", "value", "meaning")}
        mapping[name] = detail
    if not mapping:
        raise MedganError(f"{where} describes no segment; check what it is.")
    return LabelMap.from_mapping(mapping, where=where)


def _format_of(target: Path) -> Format:
    kind = next((kind for suffix, kind in _TARGETS.items() if target.name.lower().endswith(suffix)), None)
    if kind is None:
        raise MedganError(f"{target} must end in one of {', '.join(_TARGETS)}, the formats that can be written.")
    return kind


def _grid_of(
    reference: str | Path | None, kind: Format, target: Path, *, series: str | None
) -> tuple[Stack | None, Volume | Path | None]:
    """Return the series that a DICOM target is derived from, and where labels are to lie."""
    if reference is None:
        if kind not in _OF_IMAGES and kind != "seg.nrrd":
            raise MedganError(f"{target} refers to the DICOM series it belongs to; give that as the reference.")
        return None, None
    stack = series_for([kind], Path(reference), series=series, where=str(target))
    if stack is None and series is not None:
        stack = read_stack(reference, series=series)
    if stack is None:
        return None, Path(reference)
    return stack, Volume(np.broadcast_to(np.uint8(0), (1, *stack.shape)), stack.affine)


def _labels_in(
    source: Path, grid: Volume | Path | None, organs: LabelMap | None, *, kind: Format
) -> tuple[Volume, LabelMap] | None:
    """Return the labels in a file and the organs they are of; None if it is an image."""
    if names_segments(source):
        segments = read_segments(source, reference=grid)
        if organs is not None:
            _tell_left_out(segments, organs, source)
        return segments.to_label(organs, where=str(source)), organs or organs_of(segments, where=str(source))
    organs = organs or labels_of(source)
    if organs is None and kind in _OF_IMAGES:
        return None
    if _reader_of_file(source) is None:
        raise MedganError(f"{source} is an image, and a DICOM series at that, which cannot become labels ({kind}).")
    label = read_label(source, reference=grid)
    values = np.unique(label.data)
    if organs is None:
        organs = _unnamed(values[values > 0].tolist(), source, kind)
    organs.to_classes(values, where=str(source))
    return label, organs


def _reader_of_file(path: Path) -> Reader | None:
    """Return what reads a file by its suffix; None for DICOM."""
    name = path.name.lower()
    suffix = max((each for each in READERS if name.endswith(each)), key=len, default="")
    reader = READERS.get(suffix)
    return None if path.is_dir() or reader is dicom.read else reader


def _tell_left_out(segments: Segments, organs: LabelMap, source: Path) -> None:
    left_out = [each.name for each in segments.segments if organs.find(each.name, code=each.code) is None]
    if left_out and len(left_out) < len(segments.segments):
        warnings.warn(
            f"{source}: {', '.join(left_out)} left out: the labels file has no such organ, by name, synonym or code.",
            stacklevel=4,
        )


def _unnamed(values: list[int], source: Path, kind: Format) -> LabelMap:
    if len(values) > _MOST_UNNAMED:
        raise MedganError(
            f"{source} looks like an image, with {len(values):,} different values, which cannot become labels "
            f"({kind}); if they are labels, name them in a labels file."
        )
    if not values:
        raise MedganError(f"{source} holds no label but 0, so there is nothing to name in {kind}; give a labels file.")
    return LabelMap.from_mapping({f"label_{value}": value for value in values}, where=str(source))


def _convert_image(
    source: Path, target: Path, kind: Format, *, reference: str | Path | None, series: str | None
) -> Converted:
    if reference is not None:
        raise MedganError(f"{source} is an image, and a reference only says where labels lie; leave the reference out.")
    volume = read_volume(source, series=series)
    reader = _reader_of_file(source)
    stored = reader(source, max_voxels=MAX_VOXELS) if reader else Volume(_as_integers(volume.data), volume.affine)
    if kind != "nifti" and is_sheared(stored.affine):
        stored = make_upright(stored)
        warnings.warn(
            f"{source} has a sheared grid (gantry tilt), which {kind} cannot hold: resampled to a straight one, "
            f"{stored.describe_grid()}; NIfTI would keep it as it is.",
            stacklevel=3,
        )
    check_grid([kind], stored.affine, where=str(target))
    write_volume(stored, target)
    return Converted(target, stored.describe_grid(), None)


def _as_integers(data: np.ndarray) -> np.ndarray:
    """Return values as int16 if all are whole and fit, else as they are; HU are exact either way."""
    limits = np.iinfo(np.int16)
    if data.min() < limits.min or data.max() > limits.max or any((plane % 1).any() for plane in data[0]):
        return data
    return data.astype(np.int16)

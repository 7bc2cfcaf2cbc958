"""The formats a label volume is written in; each file is read back and compared before it counts as written."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case_ids import VOLUME_SUFFIXES, suffix_of
from medgan.volume.dicom.rtstruct import read_rtstruct
from medgan.volume.dicom.seg import read_seg
from medgan.volume.dicom.stack import Stack, read_stack
from medgan.volume.dicom.write_rtstruct import write_rtstruct
from medgan.volume.dicom.write_seg import Kind, write_seg
from medgan.volume.readers import read_label
from medgan.volume.seg_nrrd import write_seg_nrrd
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume

Format = Literal["nifti", "mha", "nrrd", "seg.nrrd", "dicom-seg", "dicom-seg-labelmap", "rtstruct"]

SUFFIXES: dict[Format, str] = {
    "nifti": ".nii.gz",
    "mha": ".mha",
    "nrrd": ".nrrd",
    "seg.nrrd": ".seg.nrrd",
    "dicom-seg": ".seg.dcm",
    "dicom-seg-labelmap": ".labelmap.dcm",
    "rtstruct": ".rtstruct.dcm",
}
_SEG_KINDS: dict[Format, Kind] = {"dicom-seg": "BINARY", "dicom-seg-labelmap": "LABELMAP"}
_DICOM: tuple[Format, ...] = (*_SEG_KINDS, "rtstruct")
_STRAIGHT: tuple[Format, ...] = ("mha", "nrrd", "seg.nrrd")
_MAX_SKEW = 1e-4  # of the cosine between two axes, as ITK's formats are written
_MIN_DICE = 0.99
_MIN_ML = 5.0


def parse_formats(names: Sequence[str]) -> tuple[Format, ...]:
    """Return the formats of these names, each once.

    Raises:
        MedganError: if there is none, or one is unknown.
    """
    known: tuple[Format, ...] = get_args(Format)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "none"
        raise MedganError(f"format must be one or more of {', '.join(known)}, found {found}.")
    return tuple(dict.fromkeys(name for name in known if name in names))


def series_for(formats: Sequence[Format], image: Path, *, series: str | None, where: str) -> Stack | None:
    """Return the series that DICOM formats are to be derived from, None if there is no such format; headers only.

    Args:
        formats: what is to be written.
        image: where the (first) image is.
        series: which series of it, where there are several.
        where: names the case in messages.

    Raises:
        MedganError: if there is such a format, but the image is no DICOM series.
    """
    derived = [name for name in formats if name in _DICOM]
    if not derived:
        return None
    if not image.is_dir() and suffix_of(image) in VOLUME_SUFFIXES:
        raise MedganError(
            f"{where}: {derived[0]} is derived from a DICOM series, but the image is {image.name}; leave the format "
            "out, or give the series."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # reading the image says the same
        return read_stack(image, series=series)


def check_grid(formats: Sequence[Format], affine: np.ndarray, *, where: str) -> None:
    """Raise `MedganError` if one of the formats cannot hold a grid; to be told before any work is done."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    straight = [name for name in formats if name in _STRAIGHT]
    if straight and np.abs(directions.T @ directions - np.eye(3)).max() > _MAX_SKEW:
        raise MedganError(
            f"{where}: {straight[0]} cannot hold the sheared grid of a tilted gantry; write nifti, which keeps the "
            "shear, or a DICOM format."
        )


def write_label(
    label: Volume,
    labels: LabelMap,
    path: Path,
    *,
    kind: Format,
    source: Stack | None = None,
    is_prediction: bool = True,
    deidentify: bool = False,
) -> tuple[str, ...]:
    """Write a label volume and read it back; return the organs that the file leaves out for want of a voxel.

    Merged values are written as their organ's own, and ignored and background ones as 0. A SEG, and every file of
    voxels, must give back each voxel and the grid; an RTSTRUCT, whose contours run between
    voxels, Dice 0.99 for each organ over 5 ml.

    Args:
        label: label volume (1, I, J, K) of values.
        labels: the organs.
        path: the file; what is there is replaced.
        kind: how it is written.
        source: the series it belongs to, for a DICOM format.
        is_prediction: medgan made the labels; DICOM objects say so.
        deidentify: keep patient, study and their UIDs out of DICOM objects.

    Raises:
        MedganError: if the format cannot hold it, the file cannot be written, or it does not read back as it should;
            then there is no file.
    """
    check_grid([kind], label.affine, where=str(path))
    if (ignored := labels.ignored_voxels(label.data)) is not None:
        warnings.warn(
            f"{path}: {np.count_nonzero(ignored):,} voxels of values to ignore become background.", stacklevel=2
        )
    label = Volume(labels.to_own_values(label.data, where=str(path)), label.affine)
    left_out: tuple[str, ...] = ()
    if kind in _DICOM and source is None:
        raise MedganError(f"{path}: {kind} belongs to a DICOM series, and none is given; give it, or write nifti.")
    if kind == "rtstruct" and source:  # which lists empty organs, without contours
        write_rtstruct(label, labels, source, path, is_prediction=is_prediction, deidentify=deidentify)
    elif source and (encoding := _SEG_KINDS.get(kind)):
        left_out = write_seg(
            label, labels, source, path, kind=encoding, is_prediction=is_prediction, deidentify=deidentify
        )
    elif kind == "seg.nrrd":
        write_seg_nrrd(label, labels, path)
    else:
        extension = json.dumps({"medgan_labels": labels.to_mapping()}) if kind == "nifti" else None
        write_volume(label, path, extension=extension)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong shows in the comparison
            _check_written(label, labels, path, kind=kind)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return left_out


def _check_written(label: Volume, labels: LabelMap, path: Path, *, kind: Format) -> None:
    if kind == "rtstruct":
        _check_contours(label, labels, path)
        return
    if kind in _SEG_KINDS:
        read = read_seg(path, reference=label).to_label(labels, where=str(path))
    else:
        read = read_label(path, labels=labels if kind == "seg.nrrd" else None)
    if not same_grid(read, label) or not np.array_equal(read.data, label.data):
        raise MedganError(
            f"{path} was removed: read back, its voxels or grid differ from what was written; report this."
        )


def _check_contours(label: Volume, labels: LabelMap, path: Path) -> None:
    segments = {segment.name: segment for segment in read_rtstruct(path, reference=label).segments}
    for organ in labels.organs:
        marked = label.data[0] == organ.value
        num_voxels = int(np.count_nonzero(marked))
        if num_voxels * label.voxel_ml <= _MIN_ML:
            continue
        segment = segments.get(organ.name)
        shared = np.count_nonzero(marked[segment.box] & segment.mask) if segment else 0
        dice = 2 * shared / (num_voxels + (segment.num_voxels if segment else 0))
        if dice < _MIN_DICE:
            raise MedganError(
                f"{path} was removed: read back, the contours of {organ.name} agree with its voxels at Dice "
                f"{dice:.3f}, which must be {_MIN_DICE} or more; write dicom-seg, or report this."
            )

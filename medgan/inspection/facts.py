"""What checking needs to know about one case, small enough to cross a process border."""

import hashlib
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medgan.errors import MedganError
from medgan.inspection.geometry import Grid, grid_of
from medgan.inspection.hounsfield import Intensity, intensity_of
from medgan.inspection.regions import Region, regions_of
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.preprocessing.load import read_case_label, read_image
from medgan.preprocessing.prepare import require_same_grid
from medgan.volume.affine import nearest_axes
from medgan.volume.volume import Volume

Kind = Literal[
    "unreadable",
    "grid",
    "label_values",
    "worker",
    "reading",
    "empty_label",
    "intensity",
    "outlier",
    "channels",
    "sides",
    "duplicate",
    "leakage",
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd: what kind, and a sentence."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class CaseFacts:
    """What one case holds.

    Attributes:
        case_id: of the case.
        errors: why it cannot be used; empty if it can.
        notes: what its readers warned of.
        grid: of the image; None if it could not be read.
        spacing_mm: of the image along the nearest patient axes R, A, S.
        extent_mm: likewise.
        contents: for each channel, a hash of its voxels that no format, compression or axis order changes.
        intensities: of each channel.
        regions: of the label, organs of the map by their own values; None if there is none or it could not be read.
    """

    case_id: str
    errors: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    grid: Grid | None = None
    spacing_mm: tuple[float, ...] = ()
    extent_mm: tuple[float, ...] = ()
    contents: tuple[str, ...] = ()
    intensities: tuple[Intensity, ...] = ()
    regions: tuple[Region, ...] | None = None


def facts_of(case: Case, *, labels: LabelMap | None) -> CaseFacts:
    """Return what a case holds; whatever is wrong with it is in the result, never raised.

    Args:
        case: labelled or not.
        labels: the organs; None accepts any label value.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image = read_image(case)
        except MedganError as error:
            return CaseFacts(case.case_id, (Finding("unreadable", str(error)),), _told(caught))
        errors, regions = _label_of(case, image, labels)
    order, _ = nearest_axes(image.affine)
    grid = grid_of(image.shape, image.affine)
    return CaseFacts(
        case.case_id,
        errors,
        _told(caught),
        grid,
        spacing_mm=tuple(grid.spacing_mm[axis] for axis in order),
        extent_mm=tuple(grid.extent_mm[axis] for axis in order),
        contents=tuple(content_hash(image.data[channel], image.affine) for channel in range(image.num_channels)),
        intensities=tuple(intensity_of(channel) for channel in image.data),
        regions=regions,
    )


def content_hash(channel: np.ndarray, affine: np.ndarray) -> str:
    """Return the SHA-256 of voxels (I, J, K) as float32, laid along R, A, S; where they lie does not enter."""
    order, flips = nearest_axes(affine)
    laid = channel.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    digest = hashlib.sha256(repr(laid.shape).encode())
    for k in range(laid.shape[2]):
        plane = laid[:, :, k].astype("<f4") + np.float32(0.0)  # -0 becomes 0
        digest.update(plane.tobytes(order="F"))
    return digest.hexdigest()


def _label_of(
    case: Case, image: Volume, labels: LabelMap | None
) -> tuple[tuple[Finding, ...], tuple[Region, ...] | None]:
    """Return what is wrong with a case's label, and the regions it marks."""
    if case.label is None:
        return (), None
    where = f"case {case.case_id}"
    try:
        label = read_case_label(case, image, labels=labels)
    except MedganError as error:
        return (Finding("unreadable", str(error)),), None
    errors = []
    try:
        require_same_grid(image, label, where=where)
    except MedganError as error:
        errors.append(Finding("grid", str(error)))
    regions = regions_of(label)
    if labels is not None:
        try:
            labels.to_classes(np.array([region.value for region in regions], np.uint32), where=where)
            if not labels.is_plain:
                own = labels.to_own_values(label.data, where=where)
                regions = regions_of(Volume(own, label.affine))
        except MedganError as error:
            errors.append(Finding("label_values", str(error)))
    return tuple(errors), regions


def _told(caught: "list[warnings.WarningMessage]") -> tuple[str, ...]:
    """Return medgan's own warnings, each once; what libraries warn each other of is not for users."""
    return tuple(dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning))

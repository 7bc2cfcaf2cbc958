"""The scores of a predicted label volume against its reference, organ by organ.

Definitions, units and edge cases are written out in docs/metrics.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from medgan.errors import MedganError
from medgan.evaluation.overlap import Overlap, count_overlaps
from medgan.evaluation.surface import SurfaceDistances, boundary_voxel_distances, flat_axes_of
from medgan.labels import LabelMap
from medgan.volume.volume import Volume, same_grid

Better = Literal["higher", "lower", "near zero"]
_Box = tuple[slice, ...]


@dataclass(frozen=True)
class Score:
    """One organ of one case, scored. NaN where a metric is undefined; see docs/metrics.md.

    The field names are the columns of scores.csv; after `case_id` and `organ` they are the keys of `METRICS`.
    """

    case_id: str
    organ: str
    dice: float
    iou: float
    hausdorff_mm: float
    hd95_mm: float
    assd_mm: float
    surface_dice: float
    reference_ml: float
    prediction_ml: float
    volume_error_ml: float
    volume_error_percent: float

    @property
    def is_missed(self) -> bool:
        """Whether the reference has the organ and the prediction has none of it."""
        return self.reference_ml > 0 and self.prediction_ml == 0

    @property
    def is_invented(self) -> bool:
        """Whether the prediction has the organ and the reference has none of it."""
        return self.reference_ml == 0 and self.prediction_ml > 0

    @property
    def is_absent(self) -> bool:
        """Whether neither volume has the organ."""
        return self.reference_ml == 0 and self.prediction_ml == 0


@dataclass(frozen=True)
class Comparison:
    """What metrics are computed from: one organ in the reference and in the prediction."""

    overlap: Overlap
    distances: SurfaceDistances
    voxel_ml: float
    surface_tolerance_mm: float

    @property
    def reference_ml(self) -> float:
        """The organ's volume in the reference."""
        return self.overlap.reference_voxels * self.voxel_ml

    @property
    def prediction_ml(self) -> float:
        """The organ's volume in the prediction."""
        return self.overlap.prediction_voxels * self.voxel_ml

    @property
    def volume_error_ml(self) -> float:
        """Prediction minus reference."""
        return self.prediction_ml - self.reference_ml

    @property
    def volume_error_percent(self) -> float:
        """The volume error in percent of the reference; NaN without a reference."""
        return 100 * self.volume_error_ml / self.reference_ml if self.reference_ml else math.nan


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed and how it is told.

    Attributes:
        title: for tables and plots.
        unit: "mm", "ml", "%", or "" for a share from 0 to 1.
        better: which values are good; None for a plain measurement.
        definition: one sentence; R is the reference, P the prediction, S their surfaces.
        compute: the metric of a `Comparison`; NaN where undefined.
    """

    title: str
    unit: str
    better: Better | None
    definition: str
    compute: Callable[[Comparison], float]


# To add a metric: a line here and the field of that name in `Score`.
METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", "", "higher", "2 |R ∩ P| / (|R| + |P|).", lambda c: c.overlap.dice),
    "iou": Metric("IoU", "", "higher", "|R ∩ P| / |R ∪ P|.", lambda c: c.overlap.iou),
    "hausdorff_mm": Metric(
        "Hausdorff",
        "mm",
        "lower",
        "Largest distance from a point of either surface to the other surface.",
        lambda c: c.distances.hausdorff_mm,
    ),
    "hd95_mm": Metric(
        "HD95",
        "mm",
        "lower",
        "95th percentile of the distances from S(R) to S(P), and of those from S(P) to S(R); the larger of the two.",
        lambda c: c.distances.hd95_mm,
    ),
    "assd_mm": Metric(
        "ASSD",
        "mm",
        "lower",
        "Mean of all distances from S(R) to S(P) and from S(P) to S(R), taken together.",
        lambda c: c.distances.assd_mm,
    ),
    "surface_dice": Metric(
        "Surface Dice",
        "",
        "higher",
        "Share of both surfaces that lies within the tolerance of the other.",
        lambda c: c.distances.surface_dice(c.surface_tolerance_mm),
    ),
    "reference_ml": Metric("Reference volume", "ml", None, "Volume of R.", lambda c: c.reference_ml),
    "prediction_ml": Metric("Prediction volume", "ml", None, "Volume of P.", lambda c: c.prediction_ml),
    "volume_error_ml": Metric(
        "Volume error", "ml", "near zero", "Volume of P minus volume of R.", lambda c: c.volume_error_ml
    ),
    "volume_error_percent": Metric(
        "Volume error",
        "%",
        "near zero",
        "Volume of P minus volume of R, in percent of the volume of R.",
        lambda c: c.volume_error_percent,
    ),
}


def score_case(
    reference: Volume,
    prediction: Volume,
    labels: LabelMap,
    *,
    case_id: str,
    surface_tolerance_mm: float = 2.0,
) -> list[Score]:
    """Return one score per organ of `labels`, in class order.

    Args:
        reference: label values (not class indices), data (1, I, J, K) of an integer type.
        prediction: likewise, on the same grid.
        labels: the organs; any other value in a volume is refused.
        case_id: names the case in the scores and in messages.
        surface_tolerance_mm: how far apart surfaces may be for the surface Dice.

    Raises:
        MedganError: if the volumes are not label volumes on one grid, or hold values outside of `labels`.

    Example:
        >>> score, *_ = score_case(reference, prediction, labels, case_id="ct_12")
        >>> score.organ, round(score.dice, 2)
        ('left_lung', 0.97)
    """
    if not (math.isfinite(surface_tolerance_mm) and surface_tolerance_mm >= 0):
        raise MedganError(f"surface_tolerance_mm must be a distance of 0 mm or more, found {surface_tolerance_mm}.")
    if not same_grid(reference, prediction):
        raise MedganError(
            f"case {case_id}: reference and prediction must be on one grid, found {reference.describe_grid()} and "
            f"{prediction.describe_grid()}. Resample the prediction onto the reference's grid."
        )
    order = _axes_in_memory_order(reference)  # no metric depends on the order of the axes, speed does
    affine = reference.affine[:, [*order, 3]]
    reference_classes = _classes_of(reference, labels, name=f"case {case_id}, reference").transpose(order)
    prediction_classes = _classes_of(prediction, labels, name=f"case {case_id}, prediction").transpose(order)
    boxes = [ndimage.find_objects(c, labels.num_classes - 1) for c in (reference_classes, prediction_classes)]
    overlaps = count_overlaps(reference_classes, prediction_classes, values=range(1, labels.num_classes))
    scores = []
    for index, (organ, overlap, *sides) in enumerate(zip(labels.organs, overlaps, *boxes, strict=True), start=1):
        masked = [box for box in sides if box is not None]
        distances = _surface_distances(reference_classes, prediction_classes, index, affine, boxes=masked)
        comparison = Comparison(overlap, distances, reference.voxel_ml, surface_tolerance_mm)
        metrics = {name: float(metric.compute(comparison)) for name, metric in METRICS.items()}
        scores.append(Score(case_id=case_id, organ=organ.name, **metrics))
    return scores


def _axes_in_memory_order(volume: Volume) -> list[int]:
    """Return the axes from the one with the largest steps in memory: files are read first axis fastest."""
    strides = volume.data.strides[1:]
    return sorted(range(3), key=lambda axis: -abs(strides[axis]))


def _classes_of(volume: Volume, labels: LabelMap, *, name: str) -> np.ndarray:
    """Return the (I, J, K) class indices of a label volume."""
    if volume.num_channels != 1:
        raise MedganError(f"{name}: a label volume must have one channel, found {volume.num_channels}.")
    values: np.ndarray = volume.data[0]
    if values.dtype != bool and not np.issubdtype(values.dtype, np.integer):
        raise MedganError(
            f"{name}: a label volume must be of an integer type, found {values.dtype}. Save it as whole numbers."
        )
    return labels.to_classes(values, where=name)


def _surface_distances(
    reference: np.ndarray, prediction: np.ndarray, index: int, affine: np.ndarray, *, boxes: list[_Box]
) -> SurfaceDistances:
    """Return the distances between the surfaces of a class, looked for in the bounding box of all `boxes` only."""
    if not boxes:
        return SurfaceDistances(np.empty(0), np.empty(0))
    box = tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes, strict=True))
    masks = reference[box] == index, prediction[box] == index
    return boundary_voxel_distances(*masks, affine, flat_axes=flat_axes_of(reference.shape))

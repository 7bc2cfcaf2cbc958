"""What is measured: every metric with its unit, its definition, and what it counts as where it is undefined.

Definitions, units and edge cases are written out in docs/metrics.md.
"""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation.boundary_iou import boundary_iou, reach_voxels
from medgan.evaluation.component_count import count_components
from medgan.evaluation.masks import ClassPair, MaskPair
from medgan.evaluation.overlap import Overlap
from medgan.evaluation.surface import Surface, SurfaceDistances, flat_axes_of, surface_distances

if TYPE_CHECKING:
    from medgan.evaluation.scores import Score

Better = Literal["higher", "lower", "near zero"]
Undefined = Literal["count", "penalise"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One organ, or several as one, in reference and prediction: what metrics are computed from.

    Masks and distances are found when first asked for; what no metric asks for costs nothing.

    Attributes:
        pair: the case.
        classes: class indices of the organ, or organs.
        overlap: the voxels they have in both.
        affine: (4, 4), voxel index of `pair` to mm.
        surface: the definition of the surface.
        tolerance_mm: the organ's surface tolerance.
    """

    pair: ClassPair
    classes: tuple[int, ...]
    overlap: Overlap
    affine: np.ndarray
    surface: Surface
    tolerance_mm: float

    @property
    def reference_ml(self) -> float:
        """The organ's volume in the reference."""
        return self.overlap.reference_voxels * self._voxel_ml

    @property
    def prediction_ml(self) -> float:
        """The organ's volume in the prediction."""
        return self.overlap.prediction_voxels * self._voxel_ml

    @property
    def volume_error_ml(self) -> float:
        """Prediction minus reference."""
        return self.prediction_ml - self.reference_ml

    @property
    def volume_error_percent(self) -> float:
        """The volume error in percent of the reference; NaN without a reference."""
        return 100 * self.volume_error_ml / self.reference_ml if self.reference_ml else math.nan

    @cached_property
    def masks(self) -> MaskPair:
        """The organ in both, cropped."""
        return self.pair.masks_of(self.classes, margin=reach_voxels(self.affine, self.tolerance_mm))

    @cached_property
    def distances(self) -> SurfaceDistances:
        """The distances between the surfaces of the organ in both."""
        return surface_distances(
            self.masks.reference,
            self.masks.prediction,
            self.affine,
            surface=self.surface,
            flat_axes=flat_axes_of(self.pair.reference.shape),
            counted=self.masks.counted,
        )

    @property
    def boundary_iou(self) -> float:
        """The IoU of the bands along both boundaries, as wide as the tolerance."""
        return boundary_iou(
            self.masks.reference,
            self.masks.prediction,
            self.affine,
            width_mm=self.tolerance_mm,
            flat_axes=flat_axes_of(self.pair.reference.shape),
            counted=self.masks.counted,
        )

    @property
    def _voxel_ml(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed and how it is told.

    Attributes:
        title: for tables and plots.
        unit: "mm", "ml", "%", "" for a share from 0 to 1, "count" for whole numbers.
        better: which values are good; None for a plain measurement.
        definition: one sentence; R is the reference, P the prediction, S their surfaces.
        compute: the metric of a `Comparison`; NaN where undefined.
        worst: what it counts as, under the policy "penalise", in a case whose organ was missed or invented: a number,
            "diagonal" (of the case's grid, in mm), or None for a metric that stays undefined.
        missed: its value where the organ was missed: a number, NaN where it is undefined, None where it is as measured.
        invented: likewise where the organ was invented.
        by_area: the definition where surfaces are elements weighted by their area; empty if that changes nothing.
    """

    title: str
    unit: str
    better: Better | None
    definition: str
    compute: Callable[[Comparison], float]
    worst: float | Literal["diagonal"] | None = None
    missed: float | None = None
    invented: float | None = None
    by_area: str = ""

    def defined_by(self, surface: Surface) -> str:
        """Return the definition under a definition of the surface."""
        return self.by_area if surface == "area" and self.by_area else self.definition


# To add a metric: a line here.
METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", "", "higher", "2 |R ∩ P| / (|R| + |P|).", lambda c: c.overlap.dice, 0.0, 0.0, 0.0),
    "iou": Metric("IoU", "", "higher", "|R ∩ P| / |R ∪ P|.", lambda c: c.overlap.iou, 0.0, 0.0, 0.0),
    "sensitivity": Metric(
        "Sensitivity",
        "",
        "higher",
        "|R ∩ P| / |R|, the share of R that was found.",
        lambda c: c.overlap.sensitivity,
        0.0,
        missed=0.0,
        invented=math.nan,
    ),
    "precision": Metric(
        "Precision",
        "",
        "higher",
        "|R ∩ P| / |P|, the share of P that is right.",
        lambda c: c.overlap.precision,
        0.0,
        missed=math.nan,
        invented=0.0,
    ),
    "hausdorff_mm": Metric(
        "Hausdorff",
        "mm",
        "lower",
        "Largest distance from a point of either surface to the other surface.",
        lambda c: c.distances.hausdorff_mm,
        "diagonal",
        missed=math.nan,
        invented=math.nan,
    ),
    "assd_mm": Metric(
        "ASSD",
        "mm",
        "lower",
        "Mean of all distances from S(R) to S(P) and from S(P) to S(R), taken together.",
        lambda c: c.distances.assd_mm,
        "diagonal",
        missed=math.nan,
        invented=math.nan,
        by_area="Mean of all distances from S(R) to S(P) and from S(P) to S(R), taken together and weighted by area.",
    ),
    "surface_dice": Metric(
        "Surface Dice",
        "",
        "higher",
        "Share of both surfaces that lies within the tolerance of the other.",
        lambda c: c.distances.surface_dice(c.tolerance_mm),
        0.0,
        missed=0.0,
        invented=0.0,
        by_area="Share of the area of both surfaces that lies within the tolerance of the other.",
    ),
    "boundary_iou": Metric(
        "Boundary IoU",
        "",
        "higher",
        "IoU of the bands of R and P: their voxels within the tolerance of the nearest voxel outside, and at least the "
        "outermost.",
        lambda c: c.boundary_iou,
        0.0,
        missed=0.0,
        invented=0.0,
    ),
    "reference_ml": Metric("Reference volume", "ml", None, "Volume of R.", lambda c: c.reference_ml),
    "prediction_ml": Metric("Prediction volume", "ml", None, "Volume of P.", lambda c: c.prediction_ml),
    "volume_error_ml": Metric(
        "Volume error", "ml", "near zero", "Volume of P minus volume of R.", lambda c: c.volume_error_ml
    ),
    "volume_error_percent": Metric(
        "Relative volume error",
        "%",
        "near zero",
        "Volume of P minus volume of R, in percent of the volume of R.",
        lambda c: c.volume_error_percent,
        missed=-100.0,
        invented=math.nan,
    ),
    "reference_components": Metric(
        "Reference components",
        "count",
        None,
        "Number of pieces of R; voxels that share a face are one piece.",
        lambda c: count_components(c.masks.reference),
    ),
    "prediction_components": Metric(
        "Prediction components",
        "count",
        None,
        "Number of pieces of P; voxels that share a face are one piece.",
        lambda c: count_components(c.masks.prediction),
    ),
}
_PERCENTILES_AFTER = "hausdorff_mm"  # where their columns stand
_ALWAYS = ("reference_ml", "prediction_ml")


def metrics_of(settings: EvaluationConfig, names: Collection[str] | None = None) -> dict[str, Metric]:
    """Return the metrics of an evaluation by name, percentiles of the distances ("hd95_mm") among them, in order.

    Args:
        settings: which percentiles there are.
        names: of the metrics wanted; both volumes come along, as they tell what is missed or invented. None is all.

    Raises:
        MedganError: if there is no metric of a name.
    """
    chosen: dict[str, Metric] = {}
    for name, metric in METRICS.items():
        chosen[name] = metric
        if name == _PERCENTILES_AFTER:
            chosen |= {percentile_name(p): _percentile_metric(p) for p in settings.percentiles}
    if names is None:
        return chosen
    chosen |= {name: metric_named(name) for name in names if name not in chosen}
    return {name: metric for name, metric in chosen.items() if name in names or name in _ALWAYS}


def metric_named(name: str) -> Metric:
    """Return the metric of a column of scores.csv: one of `METRICS`, or a percentile such as "hd95_mm".

    Raises:
        MedganError: if there is none of that name.
    """
    if name in METRICS:
        return METRICS[name]
    if match := re.fullmatch(r"hd(\d+(?:\.\d+)?)_mm", name):
        return _percentile_metric(float(match[1]))
    raise MedganError(f"metric {name!r}: there is none of that name; known are {', '.join(METRICS)} and hdNN_mm.")


def percentile_name(percentile: float) -> str:
    """Return the name of a percentile of the Hausdorff distance: "hd95_mm" of 95."""
    return f"hd{percentile:g}_mm"


def value_of(score: "Score", name: str, *, undefined: Undefined) -> float:
    """Return a metric of a score under a policy: an organ missed or invented is NaN, or the worst possible value.

    An organ in neither volume is NaN under both.
    """
    value = score[name]
    if undefined == "count" or not math.isnan(value) or not (score.is_missed or score.is_invented):
        return value
    worst = metric_named(name).worst
    if worst is None:
        return math.nan
    return score.diagonal_mm if worst == "diagonal" else worst


def _percentile_metric(percentile: float) -> Metric:
    return Metric(
        f"HD{percentile:g}",
        "mm",
        "lower",
        f"{percentile:g}th percentile of the distances from S(R) to S(P), and of those from S(P) to S(R); the larger "
        "of the two.",
        lambda c: c.distances.percentile_mm(percentile),
        "diagonal",
        missed=math.nan,
        invented=math.nan,
        by_area=f"Smallest distance within which {percentile:g}% of the area of S(R) lies from S(P), and that within "
        f"which {percentile:g}% of the area of S(P) lies from S(R); the larger of the two.",
    )

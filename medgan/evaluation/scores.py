"""The scores of a predicted label volume against its reference, organ by organ.

Definitions, units and edge cases are written out in docs/metrics.md.
"""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from medgan.config import EvaluationConfig
from medgan.errors import MedganError, raise_all
from medgan.evaluation.masks import ClassPair
from medgan.evaluation.metrics import Comparison, metrics_of
from medgan.evaluation.overlap import count_overlaps
from medgan.labels import LabelMap
from medgan.volume.volume import Volume, describe_difference, same_grid


@dataclass(frozen=True)
class Score:
    """One organ, or group of organs, of one case, scored.

    Attributes:
        case_id: the case.
        organ: name of the organ or group.
        values: by metric (see `metrics_of`), in the order of the columns of scores.csv; NaN where undefined, whatever
            the policy for undefined values is, which `value_of` applies.
        diagonal_mm: length of the diagonal of the case's grid: what a distance counts as where undefined values are
            penalised.
    """

    case_id: str
    organ: str
    values: Mapping[str, float]
    diagonal_mm: float

    def __getitem__(self, metric: str) -> float:
        return self.values[metric]

    @property
    def is_missed(self) -> bool:
        """Whether the reference has the organ and the prediction has none of it."""
        return self["reference_ml"] > 0 and self["prediction_ml"] == 0

    @property
    def is_invented(self) -> bool:
        """Whether the prediction has the organ and the reference has none of it."""
        return self["reference_ml"] == 0 and self["prediction_ml"] > 0

    @property
    def is_absent(self) -> bool:
        """Whether neither volume has the organ."""
        return self["reference_ml"] == 0 and self["prediction_ml"] == 0


def score_case(
    reference: Volume,
    prediction: Volume,
    labels: LabelMap,
    *,
    case_id: str,
    settings: EvaluationConfig | None = None,
    region: Volume | None = None,
    metrics: Collection[str] | None = None,
) -> list[Score]:
    """Return one score per organ of `labels`, in class order, then one per group.

    Voxels that the labels ignore in the reference, or that lie outside of `region`, count as neither of any organ nor
    of the background.

    Args:
        reference: label values (not class indices), data (1, I, J, K) of an integer type.
        prediction: likewise, on the same grid.
        labels: the organs and their groups; any other value in a volume is refused, unless it is ignored or background.
        case_id: names the case in the scores and in messages.
        settings: which percentiles, which surface, which tolerances; None is the default.
        region: mask (1, I, J, K) on the same grid: only where it is not 0 does anything count.
        metrics: names of those to compute, besides both volumes; None is all.

    Raises:
        MedganError: if the volumes are not label volumes on one grid, or hold values outside of `labels`.

    Example:
        >>> score, *_ = score_case(reference, prediction, labels, case_id="ct_12")
        >>> score.organ, round(score["dice"], 2)
        ('left_lung', 0.97)
    """
    settings = settings or EvaluationConfig()
    chosen = metrics_of(settings, metrics)
    if not same_grid(reference, prediction):
        raise MedganError(
            f"case {case_id}: reference and prediction must be on one grid, found {reference.describe_grid()} and "
            f"{prediction.describe_grid()}, which differ in {describe_difference(reference, prediction)}. Resample "
            "the prediction onto the reference's grid."
        )
    order = _axes_in_memory_order(reference)  # no metric depends on the order of the axes, speed does
    pair = _class_pair(reference, prediction, labels, case_id=case_id, region=region, order=order)
    affine, diagonal_mm = reference.affine[:, [*order, 3]], diagonal_mm_of(reference)
    names = labels.names_to_score
    classes = [labels.classes_of(name) for name in names]
    overlaps = count_overlaps(pair.reference, pair.prediction, values=classes)
    scores = []
    for name, members, overlap in zip(names, classes, overlaps, strict=True):
        comparison = Comparison(pair, members, overlap, affine, settings.surface, settings.tolerance_of(name))
        values = {metric: float(detail.compute(comparison)) for metric, detail in chosen.items()}
        scores.append(Score(case_id, name, values, diagonal_mm))
    return scores


def in_order_of_cases(scores: Iterable[Score]) -> list[Score]:
    """Return scores sorted by the id of their case: nothing drawn at random may depend on the order of files."""
    return sorted(scores, key=lambda score: score.case_id)


def check_settings(settings: EvaluationConfig, labels: LabelMap) -> None:
    """Check that every tolerance is that of an organ or group, or the default.

    Raises:
        MedganError: if one is not.
    """
    if not isinstance(settings.surface_tolerance_mm, dict):
        return
    names = ("default", *labels.names_to_score)
    problems = []
    for name in settings.surface_tolerance_mm:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}."
            problems.append(f"{name!r} is no organ or group of the labels; {hint}")
    raise_all(problems, where="evaluation.surface_tolerance_mm")


def diagonal_mm_of(volume: Volume) -> float:
    """Return the distance between opposite corners of a grid, the longest of the four, in mm."""
    extent = volume.affine[:3, :3] * np.array(volume.shape)
    corners = [extent @ (1, j, k) for j in (-1, 1) for k in (-1, 1)]
    return max(math.sqrt(float(corner @ corner)) for corner in corners)


def _axes_in_memory_order(volume: Volume) -> list[int]:
    """Return the axes from the one with the largest steps in memory: files are read first axis fastest."""
    strides = volume.data.strides[1:]
    return sorted(range(3), key=lambda axis: -abs(strides[axis]))


def _class_pair(
    reference: Volume,
    prediction: Volume,
    labels: LabelMap,
    *,
    case_id: str,
    region: Volume | None,
    order: list[int],
) -> ClassPair:
    """Return the class indices of both, axes in `order`, with 0 wherever nothing counts."""
    sides = ((reference, "reference"), (prediction, "prediction"))
    classes = [_classes_of(volume, labels, where=f"case {case_id}, {name}").transpose(order) for volume, name in sides]
    counted = _counted_voxels(reference, labels, case_id=case_id, region=region)
    if counted is None:
        return ClassPair(classes[0], classes[1])
    if not counted.any():
        raise MedganError(
            f"case {case_id}: no voxel counts: the reference is ignored, or the region empty, throughout."
        )
    counted = counted.transpose(order)
    return ClassPair(classes[0] * counted, classes[1] * counted, counted)


def _counted_voxels(reference: Volume, labels: LabelMap, *, case_id: str, region: Volume | None) -> np.ndarray | None:
    """Return where voxels count, bool (I, J, K); None if that is everywhere."""
    ignored = labels.ignored_voxels(reference.data[0])
    counted = None if ignored is None else ~ignored
    if region is not None:
        if not same_grid(reference, region) or region.num_channels != 1:
            raise MedganError(
                f"case {case_id}: the region must have one channel and be on the reference's grid, found "
                f"{region.num_channels} of {region.describe_grid()}; the reference is {reference.describe_grid()}."
            )
        inside = region.data[0] != 0
        counted = inside if counted is None else counted & inside
    return counted


def _classes_of(volume: Volume, labels: LabelMap, *, where: str) -> np.ndarray:
    """Return the (I, J, K) class indices of a label volume; its own voxels, if those are class indices already."""
    if volume.num_channels != 1:
        raise MedganError(f"{where}: a label volume must have one channel, found {volume.num_channels}.")
    values: np.ndarray = volume.data[0]
    if values.dtype == bool:
        values = values.view(np.uint8)
    if not np.issubdtype(values.dtype, np.integer):
        raise MedganError(
            f"{where}: a label volume must be of an integer type, found {values.dtype}. Save it as whole numbers."
        )
    numbers_classes = labels.values == tuple(range(1, labels.num_classes))
    if numbers_classes and values.dtype == np.uint8 and values.max() < labels.num_classes:
        return values
    return labels.to_classes(values, where=where)

"""Which scores and cases a reader should look at first."""

import math
from collections.abc import Sequence

import numpy as np

from medgan.evaluation.scores import Score

_DISTANCES = ("hd95_mm", "hausdorff_mm", "assd_mm")  # the first that was measured decides between equal Dice
_WORST_SHARE = 2 / 3


def worst_first(scores: Sequence[Score]) -> list[Score]:
    """Return the scores with the worst first; without organs that are in neither volume.

    Organs missed or invented come first, the largest of them before the others. Then decides Dice, then the distance
    (HD95, or Hausdorff or ASSD where that was not measured). A metric that was not measured decides nothing, equal
    scores stay in their order.
    """
    return sorted((score for score in scores if not score.is_absent), key=_badness)


def pictured_cases(scores: Sequence[Score], count: int) -> list[str]:
    """Return the ids of the cases worth a picture: two thirds the worst ones, one third the typical ones.

    The worst cases come first, ordered by their worst organ as `worst_first` does. Then follow the cases whose Dice,
    averaged over the organs, is nearest to the median of all cases: what a reader can expect. The share of the worst is
    rounded up. Where `count` is enough for all cases, all are returned, worst first; cases without any organ last.
    Where Dice was not measured, all are the worst ones.

    Args:
        scores: of all cases, in any order.
        count: of cases to return; fewer are returned if there are no more.

    Example:
        >>> pictured_cases(scores, 3)
        ['ct_12', 'ct_03', 'ct_07']
    """
    ranked = list(dict.fromkeys(score.case_id for score in [*worst_first(_by_name(scores)), *_by_name(scores)]))
    if count >= len(ranked):
        return ranked
    mean_dice = _mean_dice_by_case(scores)
    if not mean_dice:
        return ranked[:count]
    num_worst = math.ceil(count * _WORST_SHARE)
    worst, others = ranked[:num_worst], ranked[num_worst:]
    median = float(np.median(list(mean_dice.values())))
    typical = sorted(others, key=lambda case_id: abs(mean_dice.get(case_id, math.inf) - median))
    return worst + typical[: count - num_worst]


def _badness(score: Score) -> tuple[bool, float, float, float]:
    """Return a key that is smaller the worse a score is."""
    is_found = not (score.is_missed or score.is_invented)
    size_ml = 0.0 if is_found else max(score["reference_ml"], score["prediction_ml"])
    dice = score.values.get("dice", math.nan)
    distance_mm = next((score[name] for name in _DISTANCES if name in score.values), math.nan)
    return is_found, -size_ml, math.inf if math.isnan(dice) else dice, 0.0 if math.isnan(distance_mm) else -distance_mm


def _by_name(scores: Sequence[Score]) -> list[Score]:
    """Return the scores ordered by case, so that the order they came in decides nothing."""
    return sorted(scores, key=lambda score: score.case_id)


def _mean_dice_by_case(scores: Sequence[Score]) -> dict[str, float]:
    """Return the Dice of each case, averaged over the organs that have one."""
    by_case: dict[str, list[float]] = {}
    for score in scores:
        if not math.isnan(dice := score.values.get("dice", math.nan)):
            by_case.setdefault(score.case_id, []).append(dice)
    return {case_id: float(np.mean(values)) for case_id, values in by_case.items()}

"""Scores of methods to compare: of cases in which an organ is there, missed, invented, or in neither volume."""

import math

from medgan.evaluation.scores import Score

NAN = math.nan
MISSED = {"dice": 0.0, "hd95_mm": NAN, "prediction_ml": 0.0}
ABSENT = {"dice": NAN, "hd95_mm": NAN, "reference_ml": 0.0, "prediction_ml": 0.0}
INVENTED = {"dice": 0.0, "hd95_mm": NAN, "reference_ml": 0.0}


def score(case_id="c0", organ="heart", **values):
    """Return a score; what is not named here is a round number."""
    given = {"dice": 0.9, "hd95_mm": 3.0, "reference_ml": 10.0, "prediction_ml": 11.0} | values
    error = given["prediction_ml"] - given["reference_ml"]
    return Score(case_id, organ, {**given, "volume_error_ml": error}, 500.0)


def method(values, *, name="dice", organ="heart"):
    """Return scores of the cases c0, c1, ... in one metric."""
    return [score(f"c{i}", organ, **{name: value}) for i, value in enumerate(values)]

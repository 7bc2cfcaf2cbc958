"""One error for what a user can fix."""

import pytest

from medgan.errors import MedganError, raise_all


def test_no_problem_raises_nothing() -> None:
    raise_all([], where="manifest.csv")


def test_one_problem_is_one_line() -> None:
    with pytest.raises(MedganError, match=r"^manifest\.csv: line 2 is empty\.$"):
        raise_all(["line 2 is empty."], where="manifest.csv")


def test_several_problems_are_listed_together() -> None:
    with pytest.raises(MedganError) as told:
        raise_all(["a.", "b."], where="manifest.csv")
    assert str(told.value) == "manifest.csv: 2 problems:\n  - a.\n  - b."

"""Splits by patient."""

from pathlib import Path

import pytest

from medgan.manifest.case import Case, Split
from medgan.manifest.splits import assign_splits, assign_validation


def cases_of(*patients: str, split: Split | None = "train") -> list[Case]:
    return [Case(f"case_{n}", (Path("x"),), split=split, patient=patient) for n, patient in enumerate(patients)]


def validation_patients(cases: list[Case]) -> set[str]:
    return {case.patient for case in cases if case.split == "val"}


def test_tenth_of_the_patients_moves_with_all_their_cases() -> None:
    cases = cases_of(*[f"p{n // 3}" for n in range(60)])
    assigned = assign_validation(cases, fraction=0.1, seed=0)
    assert len(validation_patients(assigned)) == 2
    assert sum(case.split == "val" for case in assigned) == 6
    assert [case.case_id for case in assigned] == [case.case_id for case in cases]
    assert not validation_patients(assigned) & {case.patient for case in assigned if case.split == "train"}


def test_choice_does_not_depend_on_row_order() -> None:
    cases = cases_of(*[f"p{n}" for n in range(30)])
    forward = assign_validation(cases, fraction=0.2, seed=3)
    backward = assign_validation(cases[::-1], fraction=0.2, seed=3)
    assert validation_patients(forward) == validation_patients(backward)


def test_other_seed_chooses_others() -> None:
    cases = cases_of(*[f"p{n}" for n in range(30)])
    chosen = [validation_patients(assign_validation(cases, fraction=0.2, seed=seed)) for seed in (0, 1)]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize(("num_patients", "fraction", "expected"), [(2, 0.1, 1), (3, 1.0, 2), (1, 0.5, 0), (9, 0.0, 0)])
def test_one_patient_at_least_moves_and_one_stays(num_patients: int, fraction: float, expected: int) -> None:
    cases = cases_of(*[f"p{n}" for n in range(num_patients)])
    assert len(validation_patients(assign_validation(cases, fraction=fraction, seed=0))) == expected


def test_test_cases_and_cases_without_split_stay() -> None:
    others = cases_of("a", "b", split="test") + cases_of("c", "d", split=None)
    assert assign_validation(others, fraction=0.5, seed=0) == others


def labelled(patient: str, *, label: bool = True) -> Case:
    return Case(f"{patient}_{label}", (Path("x"),), Path("y") if label else None, patient=patient)


@pytest.mark.parametrize(
    ("num_patients", "counts"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (10, (7, 1, 2)), (100, (72, 8, 20))]
)
def test_patients_are_dealt_to_train_val_and_test(num_patients: int, counts: tuple[int, int, int]) -> None:
    cases = [labelled(f"p{n}") for n in range(num_patients)]
    assigned = assign_splits(cases, val_fraction=0.1, test_fraction=0.2, seed=0)
    splits = [case.split for case in assigned]
    assert tuple(splits.count(split) for split in ("train", "val", "test")) == counts
    assert assigned == assign_splits(cases, val_fraction=0.1, test_fraction=0.2, seed=0)
    assert [case.case_id for case in assigned] == [case.case_id for case in cases]


def test_cases_without_labels_are_test_unless_their_patient_is_trained_on() -> None:
    cases = [labelled(f"p{n}", label=label) for n in range(10) for label in (True, False)]
    assigned = assign_splits([*cases, labelled("q", label=False)], val_fraction=0.1, test_fraction=0.2, seed=4)
    pairs = list(zip(assigned[:-1:2], assigned[1:-1:2], strict=True))
    assert {(a.split, b.split) for a, b in pairs} == {("train", None), ("val", None), ("test", "test")}
    assert assigned[-1].split == "test"

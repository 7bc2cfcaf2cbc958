"""Splits by patient: no patient is ever on both sides."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medgan.manifest.case import Case, Split


def assign_splits(cases: Sequence[Case], *, val_fraction: float, test_fraction: float, seed: int) -> list[Case]:
    """Return the cases, in order, with a seeded split: whole patients with a label go to train, val or test.

    The test patients are chosen first, then `val_fraction` of the rest, each as in `assign_validation`. A case without
    a label is test, unless its patient has labelled cases outside test: then it gets no split.
    """
    labelled = sorted({case.patient for case in cases if case.label})
    tested = _choose(labelled, fraction=test_fraction, seed=seed)
    others = set(labelled) - tested

    def split_of(case: Case) -> Split | None:
        if case.patient not in others:
            return "test"
        return "train" if case.label else None

    dealt = [replace(case, split=split_of(case)) for case in cases]
    return assign_validation(dealt, fraction=val_fraction, seed=seed)


def assign_validation(cases: Sequence[Case], *, fraction: float, seed: int) -> list[Case]:
    """Return the cases, in order, with a seeded `fraction` of the training patients moved from train to val.

    Whole patients move. At least one moves where there are two or more, and at least one stays. The choice depends on
    the patients' names and the seed, not on the order of the rows. `fraction` 0 leaves all as they are.
    """
    chosen = _choose(sorted({case.patient for case in cases if case.split == "train"}), fraction=fraction, seed=seed)
    return [replace(case, split="val") if case.split == "train" and case.patient in chosen else case for case in cases]


def _choose(patients: Sequence[str], *, fraction: float, seed: int) -> set[str]:
    if fraction <= 0 or len(patients) < 2:
        return set()
    num_chosen = min(max(round(fraction * len(patients)), 1), len(patients) - 1)
    return {patients[n] for n in np.random.default_rng(seed).permutation(len(patients))[:num_chosen]}

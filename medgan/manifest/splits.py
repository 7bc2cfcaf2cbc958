"""Splits by patient: no patient is ever on both sides."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medgan.manifest.case import Case


def assign_validation(cases: Sequence[Case], *, fraction: float, seed: int) -> list[Case]:
    """Return the cases, in order, with a seeded `fraction` of the training patients moved from train to val.

    Whole patients move. At least one moves where there are two or more, and at least one stays. The choice depends on
    the patients' names and the seed, not on the order of the rows. `fraction` 0 leaves all as they are.
    """
    patients = sorted({case.patient for case in cases if case.split == "train"})
    if fraction <= 0 or len(patients) < 2:
        return list(cases)
    num_chosen = min(max(round(fraction * len(patients)), 1), len(patients) - 1)
    chosen = {patients[n] for n in np.random.default_rng(seed).permutation(len(patients))[:num_chosen]}
    return [replace(case, split="val") if case.split == "train" and case.patient in chosen else case for case in cases]

"""Doing one thing to many cases, and what that leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medgan.errors import MedganError
from medgan.manifest.case import Case
from medgan.progress import Advance


@dataclass(frozen=True)
class Outcome:
    """What a job over several cases left behind.

    Attributes:
        folder: where its files lie.
        done: ids of the cases that worked.
        failed: for each case that did not, one sentence why.
    """

    folder: Path
    done: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)


def for_each(cases: Sequence[Case], act: Callable[[Case], None], folder: Path, *, advance: Advance) -> Outcome:
    """Do something to every case; one that fails is kept with its reason and does not stop the others."""
    done: list[str] = []
    failed: dict[str, str] = {}
    for number, case in enumerate(cases):
        advance(number / len(cases), case.case_id)
        try:
            act(case)
            done.append(case.case_id)
        except MedganError as error:
            failed[case.case_id] = str(error)
    advance(1.0)
    return Outcome(folder, tuple(done), failed)

"""What a worker process may meet; importable, as the processes of `map_in_processes` need it."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgan.inspection.facts import CaseFacts
    from medgan.labels import LabelMap
    from medgan.manifest.case import Case


def square(item: int) -> int:
    """Return the square of a number; 3 takes a moment."""
    time.sleep(0.2 if item == 3 else 0)
    return item * item


def die_at_2(item: int) -> int:
    """Return the item, but at 2 kill this process."""
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_once(marker: Path) -> str:
    """Kill this process unless `marker` says that it was done before; "" never dies."""
    if marker.name and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return marker.name


def hang(item: int) -> int:
    """Never return."""
    time.sleep(600)
    return item


def facts_but_of_case_b(case: "Case", *, labels: "LabelMap | None") -> "CaseFacts":
    """Return the facts of a case, but kill this process at case_b."""
    from medgan.inspection.facts import facts_of

    if case.case_id == "case_b":
        os.kill(os.getpid(), signal.SIGKILL)
    return facts_of(case, labels=labels)

"""Progress of a job's stages: a bar with the time left on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Takes the share done, 0 to 1, and a note such as the current case."""

    def __call__(self, share: float, note: str = "") -> None:
        """Show it."""


Stage = Callable[[str], AbstractContextManager[Advance]]
"""Opens a named stage of a job."""

_LINE_EVERY_S = 15.0


@contextmanager
def silent(name: str) -> Iterator[Advance]:
    """A stage that shows nothing; the default of the Python functions."""

    def advance(share: float, note: str = "") -> None:
        """Show nothing."""

    yield advance


@contextmanager
def on_console(name: str) -> Iterator[Advance]:
    """A stage on the console's standard error."""
    from rich.console import Console  # noqa: PLC0415  0.1 s that only shown progress needs

    console = Console(stderr=True)
    with _bar(name, console) if console.is_terminal else _lines(name, console) as advance:
        yield advance


@contextmanager
def _bar(name: str, console: object) -> Iterator[Advance]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as progress:  # type: ignore[arg-type]
        task = progress.add_task(name, total=1.0, note="")

        def advance(share: float, note: str = "") -> None:
            progress.update(task, completed=share, note=note)

        yield advance


@contextmanager
def _lines(name: str, console: object) -> Iterator[Advance]:
    start = last = time.monotonic()

    def advance(share: float, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S and share > 0.0:
            last = now
            left = (now - start) / share * (1.0 - share)
            console.print(f"{name}: {share:.0%}, {_clock(left)} left  {note}", highlight=False, markup=False)  # type: ignore[attr-defined]

    yield advance
    console.print(f"{name}: done in {_clock(time.monotonic() - start)}", highlight=False)  # type: ignore[attr-defined]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"

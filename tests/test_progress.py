"""Progress on a terminal and elsewhere."""

import io
import time

import pytest
from rich.console import Console

from medgan import progress
from medgan.progress import on_console, silent


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_silent_stage_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with silent("train") as advance:
        advance(0.5, "step 1")
    assert capsys.readouterr() == ("", "")


def test_lines_tell_share_and_time_left_now_and_then(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with on_console("train") as advance:
        for clock.now, share in ((1.0, 0.01), (20.0, 0.2), (21.0, 0.21), (40.0, 0.5)):
            advance(share, f"step {int(100 * share)}")
        clock.now = 80.0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "train: 20%, 1:20 left  step 20",
        "train: 50%, 0:40 left  step 50",
        "train: done in 1:20",
    ]


def test_line_at_the_start_does_not_divide_by_zero(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with on_console("load") as advance:
        clock.now = 100.0
        advance(0.0, "case_01")
    assert capsys.readouterr().err == "load: done in 1:40\n"


def test_name_in_brackets_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with on_console("predict") as advance:
        clock.now = 20.0
        advance(0.5, "case [red] 1")
    assert "case [red] 1" in capsys.readouterr().err


def test_stage_that_fails_does_not_say_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="bad"), on_console("train"):
        raise ValueError("bad")
    assert "done" not in capsys.readouterr().err


def test_terminal_gets_a_bar_with_the_note() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    with progress._bar("train", console) as advance:
        advance(0.5, "case [red] 1")
    assert "train" in shown.getvalue()
    assert "50%" in shown.getvalue()
    assert "case [red] 1" in shown.getvalue()

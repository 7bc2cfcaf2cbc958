"""Processes that share out work, and what becomes of it when one dies."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from deadly import die_at_2, die_once, hang, square

from medgan.inspection.workers import Died, default_num_workers, map_in_processes


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_the_items(num_workers: int) -> None:
    told: list[tuple[int, int]] = []
    results = map_in_processes(
        square, [3, 1, 2, 5], num_workers=num_workers, on_done=lambda done, index: told.append((done, index))
    )
    assert results == [9, 1, 4, 25]
    assert [done for done, _ in told] == [1, 2, 3, 4]
    assert sorted(index for _, index in told) == [0, 1, 2, 3]


def test_process_that_is_killed_costs_its_own_item() -> None:
    results = map_in_processes(die_at_2, [0, 1, 2, 3, 4, 5], num_workers=2)
    assert results == [0, 1, Died(-signal.SIGKILL), 3, 4, 5]
    assert Died(-signal.SIGKILL).reason == "killed, most likely for want of memory"


def test_item_is_tried_once_more(tmp_path: Path) -> None:
    markers = [Path(), tmp_path / "a", Path(), tmp_path / "b"]
    assert map_in_processes(die_once, markers, num_workers=2) == ["", "a", "", "b"]
    assert Died(-signal.SIGSEGV).reason == "crashed with SIGSEGV"
    assert Died(1).reason == "exit code 1"


def test_interrupt_ends_the_processes_at_once(request: pytest.FixtureRequest) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        map_in_processes(hang, [0, 1, 2], num_workers=2)
    assert time.monotonic() - started < 6
    assert multiprocessing.active_children() == []


def test_nothing_to_do_starts_no_process() -> None:
    assert map_in_processes(square, [], num_workers=4) == []


def test_default_is_bounded_by_items_and_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert [default_num_workers(n) for n in (0, 1, 5, 100)] == [1, 1, 5, 8]
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert default_num_workers(100) == 2

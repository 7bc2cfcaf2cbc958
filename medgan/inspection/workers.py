"""Doing the same to many items in several processes, where a process that dies costs one item and no more.

Each process has a pipe of its own, so that it is known which item it was at when it died; `concurrent.futures` only
knows that some process did.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_WORKERS = 8


@dataclass(frozen=True)
class Died:
    """Stands for the result of an item whose process died, twice.

    Attributes:
        exit_code: of the process; the negative number of the signal that killed it.
    """

    exit_code: int

    @property
    def reason(self) -> str:
        """Why it died, as far as the exit code tells."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        name = signal.Signals(-self.exit_code).name
        return "killed, most likely for want of memory" if name == "SIGKILL" else f"crashed with {name}"


def default_num_workers(num_items: int) -> int:
    """Return a number of processes: one per core, at least two, at most eight, and no more than there are items."""
    return max(1, min(max(2, os.cpu_count() or 1), _MOST_WORKERS, num_items))


def map_in_processes(
    act: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    on_done: Callable[[int, int], None] = lambda num_done, index: None,
) -> list[Result | Died]:
    """Return `act(item)` of every item, in the order of the items.

    Args:
        act: importable by its module and name; must not raise.
        items: what it is done to; items and results cross a process border.
        num_workers: processes. 1 does everything in this process, for debuggers, and dies with it.
        on_done: called with the number of items done and the index of the last one.

    A process that dies is replaced, and the item it was at is tried once more when all others are done: alone, it may
    find the memory it lacked. On Ctrl-C, and any other exception, the processes are killed.
    """
    if num_workers == 1:
        results: list[Result | Died] = []
        for index, item in enumerate(items):
            results.append(act(item))
            on_done(index + 1, index)
        return results
    crew = _Crew(act, items, on_done)
    try:
        return crew.run(min(num_workers, len(items)))
    finally:
        crew.kill()


@dataclass
class _Worker:
    """A process, this end of its pipe, and the index of the item it is at."""

    process: BaseProcess
    pipe: Connection
    index: int


class _Crew(Generic[Item, Result]):
    """The processes at work on the items."""

    def __init__(
        self, act: Callable[[Item], Result], items: Sequence[Item], on_done: Callable[[int, int], None]
    ) -> None:
        self._act = act
        self._items = items
        self._on_done = on_done
        self._waiting = deque(range(len(items)))
        self._died: dict[int, Died] = {}
        self._results: dict[int, Result | Died] = {}
        self._workers: dict[Connection, _Worker] = {}

    def run(self, num_workers: int) -> list[Result | Died]:
        """Return all results, in the order of the items."""
        self._run(num_workers)
        for index in sorted(self._died):
            self._waiting.append(index)
            self._run(1)
        return [self._results[index] for index in range(len(self._items))]

    def _run(self, num_workers: int) -> None:
        for _ in range(num_workers):
            self._hire()
        while self._workers:
            for pipe in wait(list(self._workers)):
                self._receive(self._workers[pipe])  # type: ignore[index]

    def kill(self) -> None:
        """End every process at once."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _hire(self) -> None:
        """Start a process on the next item that waits."""
        if not self._waiting:
            return
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,))
        process.start()
        theirs.close()  # so that its death closes the pipe
        worker = _Worker(process, ours, self._waiting.popleft())
        self._workers[ours] = worker
        self._send(worker, (self._act, self._items[worker.index]))

    def _send(self, worker: _Worker, message: object) -> None:
        try:
            worker.pipe.send(message)
        except OSError:
            return  # it has died; the wait for its answer ends with that

    def _receive(self, worker: _Worker) -> None:
        """Take a worker's result and give it the next item, or let it go; or take notice of its death."""
        try:
            result: Result | Died = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        self._finish(worker.index, result)
        if self._waiting:
            worker.index = self._waiting.popleft()
            self._send(worker, (self._act, self._items[worker.index]))
        else:
            self._dismiss(worker)

    def _bury(self, worker: _Worker) -> None:
        """Keep the item for a second attempt, or give it up, and replace the process."""
        self._dismiss(worker)
        died = Died(worker.process.exitcode or 0)
        if worker.index in self._died:
            self._finish(worker.index, died)
        self._died[worker.index] = died
        self._hire()

    def _dismiss(self, worker: _Worker) -> None:
        del self._workers[worker.pipe]
        worker.pipe.close()  # which ends `_work`
        worker.process.join()

    def _finish(self, index: int, result: Result | Died) -> None:
        self._results[index] = result
        self._on_done(len(self._results), index)


def _work(pipe: Connection) -> None:
    """Act on what comes through the pipe until the other end closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    while True:
        try:
            act, item = pipe.recv()
        except EOFError:
            return
        pipe.send(act(item))

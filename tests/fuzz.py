"""Fuzz the readers: thousands of damaged files, each of which must be refused in a sentence or loaded right.

A mutation is drawn from the seed and its number alone, so any of them can be made again. Forked children read them in
batches under a limit on memory and an alarm; whatever ends a child is pinned on the mutation it was at. What loads is
compared with a second, independent reading of the damaged bytes (`fuzz_judge.py`).

    python tests/fuzz.py [--count 10000] [--seed 0] [--jobs 2]
    python tests/fuzz.py --seed 0 --only 4711 --keep /tmp/mutant    # make one of them again, and look at it
"""

import argparse
import faulthandler
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from fuzz_inputs import PLANTED, Sample, samples
from fuzz_judge import judge
from fuzz_mutate import Mutant, mutate
from fuzz_parts import UndecidedError, same_world

from medgan.errors import MedganError
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume

Read = Callable[[Path, Sample], Volume]

MAX_GROWN_MB = 512
_ADDRESS_SPACE_MB = 2048
_BATCH = 40
_OUTCOMES = ("refused", "as the original", "as the judge says", "undecided", "finding")


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation.

    Attributes:
        number: which; with the seed it makes the mutation again.
        result: one of refused, as the original, as the judge says, undecided, finding.
        detail: the refusal, or what was found.
        grown_mb: by how much resident memory grew at most while it was read.
    """

    number: int
    sample: str
    kind: str
    result: str
    detail: str = ""
    seconds: float = 0.0
    grown_mb: float = 0.0


def read_sample(path: Path, sample: Sample) -> Volume:
    """Read a sample as a user would: label objects as labels, contours on the image they were drawn on."""
    if sample.family == "rtstruct":
        return read_label(path, reference=Volume(sample.truth.data, sample.truth.affine))
    return read_label(path) if sample.family.startswith("seg") else read_volume(path)


def fuzz(
    numbers: Sequence[int], *, seed: int, read: Read = read_sample, jobs: int = 2, seconds_each: int = 20
) -> list[Outcome]:
    """Return what became of the mutations of these numbers, in their order."""
    waiting = [list(numbers[start : start + _BATCH]) for start in range(0, len(numbers), _BATCH)]
    running: dict[int, tuple[list[int], Path]] = {}
    outcomes: list[Outcome] = []
    samples()  # made before the fork
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while waiting or running:
            while waiting and len(running) < jobs:
                batch = waiting.pop()
                log = Path(folder) / f"{batch[0]}.jsonl"
                log.unlink(missing_ok=True)
                running[_start(batch, log, seed=seed, read=read, seconds_each=seconds_each)] = batch, log
            pid, status = os.wait()
            if pid not in running:
                continue
            batch, log = running.pop(pid)
            found = [Outcome(**json.loads(line)) for line in log.read_text().splitlines()]
            outcomes += found
            if status and len(found) < len(batch):
                _end_group(pid)
                outcomes.append(_ended(batch[len(found)], status, log, seed=seed))
                waiting += [rest] if (rest := batch[len(found) + 1 :]) else []
    return sorted(outcomes, key=lambda outcome: outcome.number)


def draw(number: int, *, seed: int) -> tuple[Sample, Mutant]:
    """Return the mutation of a number, and the sample it was made from."""
    rng = np.random.default_rng([seed, number])
    shares = np.array([sample.weight for sample in samples()])
    sample = samples()[rng.choice(len(shares), p=shares / shares.sum())]
    return sample, mutate(sample, rng)


def try_one(number: int, folder: Path, *, seed: int, read: Read) -> Outcome:
    """Make, read and judge one mutation."""
    sample, mutant = draw(number, seed=seed)
    for name, content in mutant.files.items():
        (folder / name).write_bytes(content)
    start, before_mb = time.monotonic(), _reset_peak_mb()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            volume = read(folder / sample.target, sample)
            refusal = None
        except MedganError as error:
            volume, refusal = None, error
        except Exception as error:  # what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            volume, refusal = None, RuntimeError(f"{type(error).__name__} at {where.name}: {error}")
    spent, grown_mb = time.monotonic() - start, max(0.0, _peak_mb() - before_mb)
    said = "\n".join(str(warning.message) for warning in caught)
    problem = _misbehaviour(folder, refusal, caught, grown_mb)
    result, detail = ("refused", str(refusal)) if refusal is not None else _judged(folder, sample, mutant, volume, said)
    if problem:
        result, detail = "finding", problem
    return Outcome(number, sample.name, mutant.kind, result, detail, round(spent, 3), round(grown_mb, 1))


def _judged(folder: Path, sample: Sample, mutant: Mutant, volume: Volume, said: str) -> tuple[str, str]:
    is_same = same_world(volume, sample.truth)
    try:
        wrong = judge(folder, sample, volume, said=said)
    except UndecidedError as error:
        return ("as the original", "") if is_same else ("undecided", str(error))
    if wrong:
        return "finding", f"wrong load: {wrong}"
    return "as the original" if is_same else "as the judge says", ""


def _misbehaviour(
    folder: Path, refusal: Exception | None, caught: list[warnings.WarningMessage], grown_mb: float
) -> str:
    """Return what is wrong with how it was refused or loaded, apart from the values; "" if nothing is."""
    texts = [str(warning.message) for warning in caught] + ([str(refusal)] if refusal is not None else [])
    said = "\n".join(texts)
    if refusal is not None and not isinstance(refusal, MedganError):
        return f"not a MedganError: {refusal}"
    without_folder = said.replace(str(folder), "").upper()  # whose random name may hold anything
    if leaked := [word for word in PLANTED if word in without_folder]:
        return f"leaks {leaked}: {said}"
    for text in texts:
        if str(folder) not in text:
            return f"names no input: {text}"
        if not text.isprintable() and "problems:" not in text and "series" not in text:
            return f"is not one printable sentence: {text!r}"
        if len(text) > 1500:
            return f"is {len(text)} characters long: {text}"
    if refusal is not None and "fit in memory" in said:
        return f"ran out of memory: {said}"
    return f"took {grown_mb:.0f} MB" if grown_mb > MAX_GROWN_MB else ""


def _start(batch: list[int], log: Path, *, seed: int, read: Read, seconds_each: int) -> int:
    """Fork a child that tries a batch and writes a line per mutation; return its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which ITK has
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        faulthandler.disable()  # pytest's; it would tell of a crash as if it were its own
        os.setpgid(0, 0)
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (_ADDRESS_SPACE_MB << 20),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with log.open("w") as lines:
            for number in batch:
                signal.alarm(seconds_each)
                with tempfile.TemporaryDirectory(prefix="mutant-", dir=log.parent) as folder:
                    outcome = try_one(number, Path(folder), seed=seed, read=read)
                lines.write(json.dumps(asdict(outcome)) + "\n")
                lines.flush()
        status = 0
    except BaseException:
        log.with_suffix(".error").write_text(traceback.format_exc())
    finally:
        os._exit(status)
    raise AssertionError("a child does not return")


def _ended(number: int, status: int, log: Path, *, seed: int) -> Outcome:
    """Return the finding for the mutation at which a child ended."""
    sample, mutant = draw(number, seed=seed)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        detail = "hang" if name == "SIGALRM" else f"crash ({name})"
    else:
        detail = f"the fuzz itself fails: {log.with_suffix('.error').read_text().splitlines()[-1]}"
    return Outcome(number, sample.name, mutant.kind, "finding", detail)


def _end_group(pid: int) -> None:
    """End what a dead child left running, such as a decoder."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reset_peak_mb() -> float:
    """Start the kernel's record of peak memory anew and return where it stands."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(own.split()[1]) / 1024


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table, one row per kind of mutation."""
    counts = Counter((outcome.kind, outcome.result) for outcome in outcomes)
    totals = Counter(outcome.result for outcome in outcomes)
    lines = [f"| mutation | tried | {' | '.join(_OUTCOMES)} |", "|---" * (len(_OUTCOMES) + 2) + "|"]
    for kind in sorted({outcome.kind for outcome in outcomes}):
        row = [counts[kind, result] for result in _OUTCOMES]
        lines.append(f"| {kind} | {sum(row)} | {' | '.join(map(str, row))} |")
    row = [totals[result] for result in _OUTCOMES]
    return "\n".join([*lines, f"| all | {len(outcomes)} | {' | '.join(map(str, row))} |"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.only is not None and options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        print(try_one(options.only, options.keep, seed=options.seed, read=read_sample))
        return 0
    numbers = range(options.count) if options.only is None else [options.only]
    start = time.monotonic()
    outcomes = fuzz(numbers, seed=options.seed, jobs=options.jobs)
    findings = [outcome for outcome in outcomes if outcome.result == "finding"]
    for each in findings:
        print(f"{each.number} {each.sample}, {each.kind}: {each.detail}")
    slowest, largest = max(each.seconds for each in outcomes), max(each.grown_mb for each in outcomes)
    print(table(outcomes))
    print(
        f"\n{len(samples())} samples, seed {options.seed}, {time.monotonic() - start:.0f} s with {options.jobs} jobs;"
    )
    print(f"slowest {slowest:.2f} s, most memory {largest:.0f} MB")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether a cohort is fit for training: every case read, each held against the others."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from medgan.files import write_json
from medgan.inspection import cohort as compare
from medgan.inspection.facts import CaseFacts, Finding, facts_of
from medgan.inspection.workers import Died, map_in_processes
from medgan.labels import LabelMap
from medgan.manifest.case import Case, Split
from medgan.provenance import package_versions

_MOST_LINES = 10


@dataclass(frozen=True)
class CaseReport:
    """What was found about one case.

    Attributes:
        case_id: of the case.
        split: of the case.
        errors: why it cannot be used; empty if it can.
        warnings: what a person should look at.
        facts: what it holds.
    """

    case_id: str
    split: Split | None
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    facts: CaseFacts


@dataclass(frozen=True)
class CheckReport:
    """What was found about a cohort.

    Attributes:
        cases: in the order of the manifest.
        warnings: those that are about several cases at once.
        organs: names of the organs that labels were held against; empty if there was no label map.
    """

    cases: tuple[CaseReport, ...]
    warnings: tuple[Finding, ...]
    organs: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[str, ...]:
        """Ids of the cases that can be used."""
        return tuple(case.case_id for case in self.cases if not case.errors)

    @property
    def failed(self) -> dict[str, str]:
        """For each case that cannot be used, why."""
        return {c.case_id: "\n  ".join(error.text for error in c.errors) for c in self.cases if c.errors}

    @property
    def num_warnings(self) -> int:
        """The number of warnings, about cases and about the cohort."""
        return len(self.warnings) + sum(len(case.warnings) for case in self.cases)

    def warning_lines(self) -> list[str]:
        """Return the warnings as text, those about the cohort first; of one kind at most ten are spelt out."""
        lines = [f"warning: {finding.text}" for finding in self.warnings]
        seen: Counter[str] = Counter()
        for case in self.cases:
            for finding in case.warnings:
                seen[finding.kind] += 1
                if seen[finding.kind] <= _MOST_LINES:
                    lines.append(f"warning: {case.case_id}: {finding.text}")
        more = {kind: n - _MOST_LINES for kind, n in seen.items() if n > _MOST_LINES}
        return [*lines, *(f"warning: {n} more of the kind {kind}; --json lists all." for kind, n in more.items())]

    def write_json(self, path: str | Path) -> None:
        """Write everything, with the versions of the packages that found it, to a JSON file."""
        write_json(path, {"versions": package_versions(), "usable": len(self.done), **asdict(self)})


def check_cases(
    cases: Sequence[Case],
    *,
    labels: LabelMap | None = None,
    expects_hu: bool = False,
    num_workers: int = 1,
    on_case: Callable[[int, str], None] = lambda num_done, case_id: None,
) -> CheckReport:
    """Return what is wrong or odd about each case, by itself and beside the others.

    A case is not usable if it cannot be read, if its label lies on another grid (unless the manifest has it
    resampled), or if it has label values that are none of the organs. All else is a warning.

    Args:
        cases: what to check.
        labels: the organs; None accepts any label values and knows no left and right.
        expects_hu: the images are CT; otherwise they are taken for CT if most look like HU.
        num_workers: processes that read. 1 reads in this one.
        on_case: called with the number of cases read, and the last one's id.

    Example:
        >>> report = check_cases(read_manifest("cohort/manifest.csv"))  # doctest: +SKIP
        >>> report.failed  # doctest: +SKIP
        {}
    """
    results = map_in_processes(
        partial(facts_of, labels=labels),
        cases,
        num_workers=num_workers,
        on_done=lambda num_done, index: on_case(num_done, cases[index].case_id),
    )
    facts = [_facts_or_death(case, result) for case, result in zip(cases, results, strict=True)]
    found: dict[str, list[Finding]] = {"": [], **{case.case_id: [] for case in cases}}
    for case_id, finding in _compared(facts, cases, labels, expects_hu=expects_hu):
        found[case_id].append(finding)
    rows = [_report_of(case, each, found[case.case_id]) for case, each in zip(cases, facts, strict=True)]
    return CheckReport(tuple(rows), tuple(found[""]), labels.names if labels else ())


def _report_of(case: Case, facts: CaseFacts, found: Sequence[Finding]) -> CaseReport:
    read = [Finding("reading", note) for note in facts.notes]
    return CaseReport(case.case_id, case.split, tuple(facts.errors), (*read, *found), facts)


def _facts_or_death(case: Case, result: CaseFacts | Died) -> CaseFacts:
    if isinstance(result, CaseFacts):
        return result
    text = (
        f"case {case.case_id}: the process that read it died twice ({result.reason}); check its files, or give it "
        "more memory."
    )
    return CaseFacts(case.case_id, (Finding("worker", text),))


def _compared(
    facts: Sequence[CaseFacts], cases: Sequence[Case], labels: LabelMap | None, *, expects_hu: bool
) -> compare.CaseFindings:
    readable = [each for each in facts if each.grid is not None]
    yield from compare.odd_intensities(readable, expects_hu=expects_hu)
    yield from compare.outliers(readable)
    yield from compare.uneven_channels(readable)
    yield from compare.empty_labels(readable, labels)
    yield from compare.swapped_sides(readable, labels)
    yield from compare.duplicates(readable, {case.case_id: case for case in cases})

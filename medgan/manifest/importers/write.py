"""Writing an imported cohort: the manifest, its key table, what was skipped, and the labels file."""

import csv
import io
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.files import write_text
from medgan.labels import LabelMap
from medgan.manifest.importers.cohort import Imported, Key
from medgan.manifest.read import write_manifest

_LABELS_FILE = "labels.yaml"
_MAX_REASONS = 12
_LEAST_ID_LENGTH = 4
_MAX_SOURCES = 3
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Written:
    """The files of an imported cohort.

    Attributes:
        imported: the cohort.
        manifest: the manifest.
        key: who each case is; readable for its owner alone.
        skipped: what is in no case, with the reason.
        labels: the labels file, if the layout names its organs.
        root: the data root that the manifest needs because it lies outside the data; None if it needs none.
    """

    imported: Imported
    manifest: Path
    key: Path
    skipped: Path
    labels: Path | None
    root: Path | None

    def lines(self) -> list[str]:
        """Return what was written and what was skipped, in lines for a console."""
        cases, splits = self.imported.cases, ("train", "val", "test", None)
        counts = {split or "without a split": sum(case.split == split for case in cases) for split in splits}
        dealt = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        num_patients, num_labelled = (
            len({case.patient for case in cases}),
            sum(case.label is not None for case in cases),
        )
        told = [
            f"manifest     {self.manifest} (kind {self.imported.kind})",
            f"cases        {len(cases)} of {num_patients} patients: {dealt}; {num_labelled} with a label",
            f"key          {self.key} (who is who: keep it where the data are)",
        ]
        if self.labels:
            told.append(f"labels       {self.labels}")
        if self.imported.skipped:
            told += [f"skipped      {len(self.imported.skipped)}, listed in {self.skipped}", *self._skipped_lines()]
        if any(_names_patient(key) for key in self.imported.keys):
            told.append("note         paths in the manifest hold patient ids; rename the folders before you pass it on")
        root = f" --root {shlex.quote(str(self.root))}" if self.root else ""
        return [*told, f"next         medgan check {shlex.quote(str(self.manifest))}{root}"]

    def _skipped_lines(self) -> list[str]:
        by_reason: dict[str, list[str]] = {}
        for each in self.imported.skipped:
            by_reason.setdefault(each.reason, []).append(each.source)
        told = [
            f"  {', '.join(sources[:_MAX_SOURCES])}{' ...' if len(sources) > _MAX_SOURCES else ''}: {reason}"
            for reason, sources in by_reason.items()
        ]
        return [*told[:_MAX_REASONS], *(["  ..."] if len(told) > _MAX_REASONS else [])]


def _names_patient(key: Key) -> bool:
    """Return whether the path of a DICOM image holds the PatientID, if that is long enough to be no chance."""
    named = bool(key.series_uid) and len(key.patient_in_source) >= _LEAST_ID_LENGTH
    return named and any(key.patient_in_source in path for path in (*key.images, key.label))


def check_target(manifest: str | Path, *, force: bool) -> None:
    """Raise `MedganError` unless a manifest can be written there, before the work of importing.

    Args:
        manifest: the path of the manifest, a `.csv`.
        force: whether files that exist may be replaced.
    """
    manifest = Path(manifest)
    if manifest.suffix.lower() != ".csv":
        raise MedganError(f"{manifest}: a manifest is written as .csv; choose such a name.")
    existing = [path for path in (manifest, *_beside(manifest)) if path.exists()]
    if not force:
        raise_all([f"{path} exists; use --force to replace it." for path in existing], where="manifest")


def write_cohort(imported: Imported, manifest: str | Path, *, force: bool = False) -> Written:
    """Write `NAME.csv`, `NAME.key.csv` (private), `NAME.skipped.csv` and, where organs are named, `labels.yaml`.

    Args:
        imported: the cohort.
        manifest: where the manifest goes; its paths start there.
        force: replace files that exist.

    Raises:
        MedganError: if a file exists, or cannot be written.
    """
    check_target(manifest, force=force)
    manifest = Path(manifest)
    key, skipped = _beside(manifest)
    labels = manifest.with_name(_LABELS_FILE) if imported.labels else None
    if imported.labels and labels and not force:
        _check_labels(imported.labels, labels)
    write_manifest(imported.cases, manifest)
    write_text(key, _key_table(imported), is_private=True)
    write_text(skipped, _table(["source", "reason"], ((each.source, each.reason) for each in imported.skipped)))
    if imported.labels and labels:
        imported.labels.to_yaml(labels)
    inside = Path(os.path.realpath(imported.root)).is_relative_to(os.path.realpath(manifest.parent))
    return Written(imported, manifest, key, skipped, labels, None if inside else imported.root)


def _beside(manifest: Path) -> tuple[Path, Path]:
    return manifest.with_suffix(".key.csv"), manifest.with_suffix(".skipped.csv")


def _check_labels(labels: LabelMap, path: Path) -> None:
    if path.exists() and LabelMap.from_yaml(path) != labels:
        raise MedganError(f"{path} exists and names other organs; use --force to replace it, or write elsewhere.")


def _key_table(imported: Imported) -> str:
    columns = ["case_id", "name", "patient", "patient_in_source", "image", "label", "series_uid"]
    rows = (
        (k.case_id, k.name, k.patient, k.patient_in_source, " | ".join(k.images), k.label, k.series_uid)
        for k in imported.keys
    )
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return CSV text whose cells no spreadsheet takes for formulas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell for cell in row] for row in rows)
    return text.getvalue()

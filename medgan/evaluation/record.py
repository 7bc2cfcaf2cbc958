"""What goes on record with an evaluation, so that it can be repeated: data, model, labels. Nothing of the patient."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgan.errors import MedganError
from medgan.evaluation.evaluate import Evaluated, content_hash
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.manifest.tables import read_json
from medgan.outputs.save import prediction_record
from medgan.provenance import git_revision

_FACTS = ("model_sha256", "training", "device", "precision", "inference", "engine")


def record_of(
    pairs: Sequence[Pair],
    results: Sequence[Evaluated],
    labels: LabelMap,
    *,
    labels_given: LabelMap | str | Path | None,
    split: str | None,
) -> dict[str, Any]:
    """Return what was compared, for the settings of a summary.

    Args:
        pairs: of all cases.
        results: what came of them.
        labels: the organs.
        labels_given: what the user named as labels; None if they were found.
        split: of the manifest, if one was chosen.
    """
    done = [result for result in results if not result.problem]
    evaluated = {result.case_id for result in done}
    record: dict[str, Any] = {
        "num_cases": len(done),
        "split": split,
        "reference_sha256": content_hash((result.case_id, result.reference_sha256) for result in done),
        "prediction_sha256": content_hash((result.case_id, result.prediction_sha256) for result in done),
        "resampled": sorted(result.case_id for result in done if result.is_resampled),
        "labels": labels.to_mapping(),
        "labels_from": _source_of(labels_given),
        "git_revision": git_revision(),
    }
    models = models_of([pair.prediction for pair in pairs if pair.case_id in evaluated])
    if notes := {result.case_id: found for result in results if (found := _notes_on(result))}:
        record["notes"] = notes
    return record | ({"model": models[0]} if len(models) == 1 else {"models": models} if models else {})


def _notes_on(result: Evaluated) -> list[str]:
    resampled = ["the prediction or the region was brought onto the reference's grid."] if result.is_resampled else []
    return [*resampled, *result.notes]


def models_of(predictions: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what the records beside predictions say of the models that made them, each model once."""
    found: dict[str, dict[str, Any]] = {}
    for path in predictions:
        document = _record_beside(path)
        if "model_sha256" not in document:
            continue
        versions = document.get("versions")
        facts = {name: document[name] for name in _FACTS if name in document}
        facts["medgan"] = versions.get("medgan") if isinstance(versions, dict) else None
        found.setdefault(json.dumps(facts, sort_keys=True), facts)
    return list(found.values())


def _record_beside(prediction: Path) -> Mapping[str, Any]:
    record = prediction_record(prediction)
    try:
        document = read_json(record) if record.is_file() else {}
    except MedganError:  # of another program
        return {}
    return document if isinstance(document, dict) else {}


def _source_of(labels: LabelMap | str | Path | None) -> str:
    if labels is None:
        return "found with the files"
    if isinstance(labels, LabelMap):
        return "given in Python"
    return f"file {Path(labels).name}" if isinstance(labels, Path) or "=" not in labels else labels

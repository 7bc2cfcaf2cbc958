"""Which organs of references and predictions are compared: as asked for, or as the files themselves say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.inputs import Pair
from medgan.outputs.convert import organs_of
from medgan.outputs.save import labels_beside
from medgan.volume.readers import names_segments, read_label, read_segments


def organs_to_compare(labels: LabelMap | str | Path | None, pairs: Sequence[Pair]) -> LabelMap:
    """Return the organs to compare: as given, as recorded beside a prediction, or as found in the files.

    Args:
        labels: the organs, or a labels file; None looks for them.
        pairs: references and predictions.

    Raises:
        MedganError: if some files name their organs and others only number them.
    """
    if isinstance(labels, LabelMap):
        return labels
    if labels is not None:
        return LabelMap.from_yaml(labels)
    predictions = {pair.prediction: pair.image for pair in pairs if pair.prediction}
    recorded = next((found for path in predictions if (found := labels_beside(path))), None)
    if recorded is not None:
        return recorded
    files = {**{pair.reference: pair.image for pair in pairs}, **predictions}
    named = [path for path in files if names_segments(path)]
    numbered = [path for path in files if path not in named]
    if named and numbered:
        raise MedganError(
            f"{named[0]} names its organs and {numbered[0]} numbers them, so nobody knows which are the same; give a "
            "labels file with the names and the values."
        )
    return _named_in(files) if named else _numbered_in(numbered)


def _named_in(files: Mapping[Path, Path | None]) -> LabelMap:
    """Return the organs that any file names, each given with its image; names that differ in spelling are one organ."""
    found: dict[str, dict[str, object]] = {}
    for path, image in files.items():
        organs = organs_of(read_segments(path, reference=image), where=str(path))
        for name, detail in organs.to_mapping().items():
            if not found or LabelMap.from_mapping(found, where=str(path)).find(name) is None:
                found[name] = {"value": len(found) + 1, "synonyms": detail.get("synonyms")}
    return LabelMap.from_mapping(found, where="references and predictions")


def _numbered_in(paths: Sequence[Path]) -> LabelMap:
    values = sorted({int(value) for path in paths for value in np.unique(read_label(path).data) if value})
    return LabelMap.from_mapping({f"label_{value}": value for value in values}, where="references and predictions")

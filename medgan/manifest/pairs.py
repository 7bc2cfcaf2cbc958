"""Which prediction belongs to which reference: by name, by a manifest, or as a table of pairs says."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.manifest.inputs import is_manifest
from medgan.manifest.label_files import (
    LabelFiles,
    images_at,
    is_picture,
    labels_at,
    masks_of,
    regions_at,
    what_is_named,
)
from medgan.manifest.pair_table import PairRow, is_pair_table, read_pair_table
from medgan.manifest.read import read_manifest

_TABLE = "list them in a CSV with the columns case_id, reference, prediction"


@dataclass(frozen=True)
class Pair:
    """A reference and the prediction to compare it with.

    Attributes:
        case_id: the case both belong to.
        reference: the reference label volume, or a folder with a mask per organ.
        prediction: the predicted one, likewise.
        image: the image (its first channel) for pictures and grids, if it is known.
        resample_reference: the reference may lie on another grid and is brought over by affine.
        series: the series of the image, where its folder or zip holds several.
        region: a mask; only where it is not 0 does anything count.
    """

    case_id: str
    reference: Path
    prediction: Path
    image: Path | None = None
    resample_reference: bool = False
    series: str = ""
    region: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """The pairs there are, and why other cases are none.

    Attributes:
        pairs: in the order of the references.
        unpaired: case id to one sentence, for every case with a reference or a prediction that is in no pair.
    """

    pairs: tuple[Pair, ...]
    unpaired: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reference:
    """A reference, and what a manifest says of its case."""

    path: Path
    image: Path | None = None
    resample: bool = False
    series: str = ""


def pair_cases(
    reference: str | Path,
    prediction: str | Path | None = None,
    *,
    images: str | Path | None = None,
    regions: str | Path | None = None,
    split: str | None = None,
    root: str | Path | None = None,
) -> Pairing:
    """Return every reference with the prediction of the same name, and why other files have no partner.

    Args:
        reference: a label file; a folder with a label for each case, see `labels_at`; a manifest, whose label column is
            used; or a table of pairs, see `read_pair_table`.
        prediction: a label file, or such a folder. Of several files that medgan's record of a case lists as one
            prediction, the first counts. None with a table of pairs, which names them.
        images: folder of the images, named `<case_id>` or, as for nnU-Net, `<case_id>_0000`, or the image of the only
            case; they come before those of a manifest.
        regions: folder with a mask for each case, or the mask of the only case.
        split: take only these cases of a manifest.
        root: the folder that no path of a manifest or table may leave, as in `read_manifest`.

    Raises:
        MedganError: if manifest or table cannot be used, a folder is not there, or nothing at all pairs.

    Example:
        >>> pair_cases("labelsTs", "predictions").unpaired  # doctest: +SKIP
        {'case_07': 'no prediction is named for it.'}
    """
    reference = Path(reference)
    if is_pair_table(reference):
        if prediction or images or regions or split:
            raise MedganError(f"table {reference}: says what belongs together; give no predictions, images or split.")
        return _some_pair(_of_table(read_pair_table(reference, root=root)), where=f"table {reference}")
    if prediction is None:
        raise MedganError(f"reference {reference}: needs predictions to compare with; name their folder, or {_TABLE}.")
    if split is not None and not is_manifest(reference):
        raise MedganError(f"split {split!r}: needs a manifest as the reference; files and folders have no splits.")
    if root is not None and not is_manifest(reference):
        raise MedganError(
            f"root {root}: needs a manifest or a table as the reference; files and folders name no paths."
        )
    prediction = Path(prediction)
    if is_manifest(reference):
        pairing = _of_manifest(reference, prediction, split=split, root=root)
    else:
        pairing = _of_folders(reference, prediction)
    pairing = _some_pair(pairing, where=f"{reference} against {prediction}")
    return _with_regions(_with_images(pairing, images), regions)


def _of_table(rows: list[PairRow]) -> Pairing:
    pairs, unpaired = [], {}
    for row in rows:
        missing = [column for column in ("reference", "prediction") if column not in row.files]
        absent = [f"the {column} {path.name}" for column, path in row.files.items() if not path.exists()]
        if missing:
            unpaired[row.case_id] = f"the table names no {' and no '.join(missing)} for it."
        elif absent:
            unpaired[row.case_id] = f"{' and '.join(absent)} that the table names cannot be found."
        else:
            files = row.files
            pairs.append(
                Pair(
                    row.case_id,
                    files["reference"],
                    files["prediction"],
                    image=files.get("image"),
                    region=files.get("region"),
                )
            )
    return Pairing(tuple(pairs), unpaired)


def _of_manifest(path: Path, prediction: Path, *, split: str | None, root: str | Path | None) -> Pairing:
    cases = read_manifest(path, root=root)
    chosen = [case for case in cases if split is None or case.split == split]
    if not chosen:
        raise MedganError(f"manifest {path}: has no case with split {split!r}.")
    references = {
        case.case_id: _Reference(case.label, case.images[0], case.resample_label, case.series)
        for case in chosen
        if case.label
    }
    unlabelled = {case.case_id: "the manifest gives it no label." for case in chosen if not case.label}
    others = {case.case_id for case in cases} - {case.case_id for case in chosen}
    found = _predictions_at(prediction, references)
    return _matched(references, found, problems=unlabelled, expected=others, folder=prediction)


def _of_folders(path: Path, prediction: Path) -> Pairing:
    found = labels_at(path, what="reference")
    references = {i: _Reference(file, found.images.get(i)) for i, file in found.paths.items()}
    return _matched(references, _predictions_at(prediction, references), problems=found.problems, folder=prediction)


def _predictions_at(path: Path, references: Mapping[str, _Reference]) -> LabelFiles:
    """Return the predictions at a path; pictures among them only if the references are pictures as well."""
    if path.is_file():
        if len(references) != 1:
            raise MedganError(f"prediction {path}: is one file, but the reference has {len(references)} cases.")
        return LabelFiles(dict.fromkeys(references, path))
    found = labels_at(path, what="prediction")
    if len(references) == 1 and references.keys().isdisjoint(found.paths) and (masks := masks_of(path)):
        (case_id, only) = next(iter(references.items()))
        if only.path.is_dir():  # masks of one case on both sides
            return LabelFiles({case_id: masks})
    if any(is_picture(reference.path) for reference in references.values()):
        return found
    return LabelFiles(
        {i: file for i, file in found.paths.items() if i in references or not is_picture(file)}, found.problems
    )


def _matched(
    references: Mapping[str, _Reference],
    predictions: LabelFiles,
    *,
    problems: Mapping[str, str],
    expected: Collection[str] = (),
    folder: Path,
) -> Pairing:
    """Return each reference with its prediction, and a reason for each of either that has no partner.

    Args:
        references: by case id.
        predictions: what was found.
        problems: of references that cannot be used.
        expected: cases of which there may be predictions although there is no reference.
        folder: of the predictions.
    """
    alone = {i: path for i, path in predictions.paths.items() if i not in references and i not in expected}
    if references and alone and len(alone) == len(predictions.paths):
        ours = {i: reference.path for i, reference in references.items()}
        raise MedganError(
            f"no prediction is named for a reference: references are named as in {_shown(ours)}, predictions as "
            f"in {_shown(alone)}. Give both files of a case one name, or {_TABLE}."
        )
    unpaired = {i: _no_prediction(i, folder) for i in references if i not in predictions.paths}
    unpaired |= {i: f"no reference is named for its prediction {path.name}." for i, path in alone.items()}
    unpaired |= {i: f"its prediction: {problem}" for i, problem in predictions.problems.items() if i not in expected}
    unpaired |= problems
    pairs = [
        Pair(i, ours.path, predictions.paths[i], ours.image, ours.resample, ours.series)
        for i, ours in references.items()
        if i not in unpaired
    ]
    return Pairing(tuple(pairs), unpaired)


def _no_prediction(case_id: str, folder: Path) -> str:
    found = what_is_named(case_id, folder)
    return f"no prediction can be read for it: {found}" if found else "no prediction is named for it."


def _shown(paths: Mapping[str, Path]) -> str:
    """Return how the files of a side are named, by an example."""
    case_id, path = next(iter(paths.items()))
    return path.name if path.name.startswith(case_id) else f"{case_id}/{path.name}"


def _some_pair(pairing: Pairing, *, where: str) -> Pairing:
    """Return a pairing that has a pair, or raise what kept all from being one."""
    if not pairing.pairs:
        listed = [f"case {case_id}: {reason}" for case_id, reason in pairing.unpaired.items()]
        more = [f"and {len(listed) - 8} more."] if len(listed) > 8 else []
        raise_all([*listed[:8], *more, f"Give both files of a case one name, or {_TABLE}."], where=where)
    return pairing


def _with_images(pairing: Pairing, images: str | Path | None) -> Pairing:
    if images is None:
        return pairing
    found = images_at(Path(images), [pair.case_id for pair in pairing.pairs])
    pairs = [
        replace(pair, image=found[pair.case_id], series="") if pair.case_id in found else pair for pair in pairing.pairs
    ]
    return Pairing(tuple(pairs), pairing.unpaired)


def _with_regions(pairing: Pairing, regions: str | Path | None) -> Pairing:
    """Return the pairs with their regions; one without is none, as its scores would mean something else."""
    if regions is None:
        return pairing
    found = regions_at(Path(regions), [pair.case_id for pair in pairing.pairs])
    lacking = {
        pair.case_id: f"its region: {problem}"
        if (problem := found.problems.get(pair.case_id))
        else "no region is named for it."
        for pair in pairing.pairs
        if pair.case_id not in found.paths
    }
    pairs = [replace(p, region=found.paths[p.case_id]) for p in pairing.pairs if p.case_id in found.paths]
    return _some_pair(Pairing(tuple(pairs), pairing.unpaired | lacking), where=f"regions {regions}")

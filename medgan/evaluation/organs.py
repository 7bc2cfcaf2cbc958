"""Which organs of references and predictions are compared: as asked for, or as the files themselves say."""

import itertools
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.evaluation.layers import shared_voxels
from medgan.inspection.workers import Died, map_in_processes
from medgan.labels import LabelMap, Organ
from medgan.manifest.importers.layout import read_object
from medgan.manifest.importers.msd import DATASET_FILE, label_map_of
from medgan.manifest.pairs import Pair
from medgan.outputs.convert import organs_of
from medgan.outputs.save import labels_of
from medgan.volume.mask_folder import is_mask_folder, masks_in
from medgan.volume.readers import names_segments, read_label, read_segments
from medgan.volume.seg_nrrd import numbers_are_values
from medgan.volume.segments import Segment, Segments

_LABELS_FILE = "labels.yaml"
_MOST_UNNAMED = 255  # more distinct values in one file than this are an image's
_PART_VOXELS = 1 << 18
_LARGEST_TABLE = 65535

_File = tuple[Path, Path | None]
"""A label, and the image it belongs to."""


@dataclass(frozen=True)
class _Named:
    """What a file holds that names its organs, and whether their values are those of its voxels."""

    labels: LabelMap
    has_values: bool


_Contents = _Named | frozenset[int] | MedganError
"""What a file holds: organs with names, values without, or nothing that can be read, and why."""


def organs_to_compare(labels: LabelMap | str | Path | None, pairs: Sequence[Pair], *, num_workers: int = 1) -> LabelMap:
    """Return the organs to compare: as given, as described beside the files, or as found in them.

    Without `labels`, the first of these that is there counts: the organs that a prediction by medgan names (in its
    header, or the record beside it); a `labels.yaml`, and failing that a `dataset.json` as nnU-Net has it, beside a
    reference, in the folder above, or beside a prediction; the names that files give their segments. Files that only
    number their organs get "label_1" for the value 1, and so on, of all values in any of them.

    Where some files name their organs and others number them, the values that .seg.nrrd files give their names count
    for the others as well, if none contradicts another. Else the organs are those of most cases that do one of the two,
    and the other cases are left to fail. Both is warned of.

    A file that cannot be read names nothing here; what is wrong with it is told when its case is evaluated.

    Args:
        labels: the organs; a labels file or `dataset.json`; or the inline form of `LabelMap.from_text`. None looks for
            them.
        pairs: references and predictions.
        num_workers: processes that look into the files, if it comes to that.

    Raises:
        MedganError: if `labels` are no labels, most cases name their organs in one file and number them in the other,
            or no file holds an organ.

    Example:
        >>> organs_to_compare("lung_left=1, lung_right=2", pairs).names  # doctest: +SKIP
        ('lung_left', 'lung_right')
    """
    if isinstance(labels, LabelMap):
        return labels
    if isinstance(labels, str) and "=" in labels and not _is_file(labels):
        return LabelMap.from_text(labels)
    if labels is not None:
        return _labels_in(Path(labels))
    recorded = next((found for pair in pairs if (found := labels_of(pair.prediction))), None)
    return recorded or _described_beside(pairs) or _found_in(pairs, num_workers=num_workers)


def _labels_in(path: Path) -> LabelMap:
    """Return the organs of a labels file, or of a `dataset.json` as nnU-Net has it."""
    is_json = path.suffix.lower() == ".json" and path.is_file()
    described = label_map_of(read_object(path), where=str(path)) if is_json else None
    return described or LabelMap.from_yaml(path)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # longer than a name can be, as the inline form of many organs is
        return False


def _described_beside(pairs: Sequence[Pair]) -> LabelMap | None:
    """Return the organs of the first file that describes those of a whole folder."""
    references = [pair.reference.absolute().parent for pair in pairs]
    predictions = [pair.prediction.absolute().parent for pair in pairs]
    folders = dict.fromkeys([*references, *(folder.parent for folder in references), *predictions])
    for path in (folder / _LABELS_FILE for folder in folders):
        if path.is_file():
            return LabelMap.from_yaml(path)
    for path in (folder / DATASET_FILE for folder in folders):
        if path.is_file() and (labels := label_map_of(read_object(path), where=str(path))):
            return labels
    return None


def _found_in(pairs: Sequence[Pair], *, num_workers: int) -> LabelMap:
    """Return the organs that the files name, or those they number."""
    images = {path: pair.image for pair in pairs for path in (pair.reference, pair.prediction)}
    files: list[_File] = list(images.items())
    read = map_in_processes(_contents_of, files, num_workers=num_workers)
    contents = {path: found for path, found in zip(images, read, strict=True) if not isinstance(found, Died)}
    named = {path: found for path, found in contents.items() if isinstance(found, _Named)}
    numbered = {path: found - {0} for path, found in contents.items() if isinstance(found, frozenset) and any(found)}
    if named and numbered:
        return _of_a_mix(pairs, named, numbered)
    if not named and not numbered:
        problem = next((str(found) for found in contents.values() if isinstance(found, MedganError)), "")
        raise MedganError(f"references and predictions hold no label but 0, or cannot be read. {problem}".rstrip())
    return _united(named.values()) if named else _unnamed(numbered.values())


def _of_a_mix(pairs: Sequence[Pair], named: Mapping[Path, _Named], numbered: Mapping[Path, frozenset[int]]) -> LabelMap:
    """Return the organs of files of which some name them and others number them."""
    both = f"{next(iter(named))} names its organs and {next(iter(numbered))} numbers them"
    values = frozenset().union(*numbered.values())
    if (agreed := _agreed(named.values())) and values <= set(agreed.values):
        listed = ",".join(f"{organ.name}={organ.value}" for organ in agreed.organs)
        warnings.warn(
            f"{both}; the values of the former are taken to mean the same in the latter. If not, give --labels: now "
            f"they are as in {listed}.",
            stacklevel=2,
        )
        return agreed
    kinds = [(_is_any_in(named, pair), _is_any_in(numbered, pair)) for pair in pairs]
    num_named, num_numbered, num_both = (kinds.count(kind) for kind in ((True, False), (False, True), (True, True)))
    if num_both > max(num_named, num_numbered):
        raise MedganError(
            f"{both}, so nobody knows which are the same; give the names and the values as labels, as in "
            "--labels heart=1,left_lung=2."
        )
    warnings.warn(
        f"{both}, so nobody knows which are the same, and {num_both + min(num_named, num_numbered)} of {len(pairs)} "
        "cases cannot be evaluated; give the names and the values as --labels.",
        stacklevel=2,
    )
    return _united(named.values(), taken=values) if num_named >= num_numbered else _unnamed(numbered.values())


def _is_any_in(files: Collection[Path], pair: Pair) -> bool:
    return pair.reference in files or pair.prediction in files


def _unnamed(found: Iterable[frozenset[int]]) -> LabelMap:
    values = sorted(frozenset().union(*found))
    return LabelMap.from_mapping({f"label_{value}": value for value in values}, where="references and predictions")


def _agreed(files: Iterable[_Named]) -> LabelMap | None:
    """Return the organs of all files with the values of their voxels; None if some have none, or contradict others."""
    organs: dict[int, Organ] = {}
    for file in files:
        known = _with_values(organs)
        for organ in file.labels.organs:
            same = _same_in(known, organ)
            if not file.has_values or (same.value if same else None) != (
                organ.value if organ.value in organs else None
            ):
                return None
        organs |= {organ.value: organ for organ in file.labels.organs if organ.value not in organs}
    return _with_values(organs)


def _united(files: Iterable[_Named], *, taken: Collection[int] = ()) -> LabelMap:
    """Return the organs of any file, numbered from 1 but for the values taken.

    Names that differ in spelling, in two files, are one organ.
    """
    organs: list[Organ] = []
    united = _numbered(organs, taken)
    for file in files:
        new = [organ for organ in file.labels.organs if _same_in(united, organ) is None]
        organs += new
        united = _numbered(organs, taken) if new else united
    return united


def _numbered(organs: Sequence[Organ], taken: Collection[int]) -> LabelMap:
    return _with_values(dict(zip((n for n in itertools.count(1) if n not in taken), organs, strict=False)))


def _with_values(organs: Mapping[int, Organ]) -> LabelMap:
    found = {organ.name: {"value": value, "synonyms": organ.synonyms} for value, organ in sorted(organs.items())}
    return LabelMap.from_mapping(found, where="references and predictions") if found else LabelMap(())


def _same_in(labels: LabelMap, organ: Organ) -> Organ | None:
    """Return the organ of a map that another file's organ is, by its name and synonyms."""
    try:
        return next((found for name in (organ.name, *organ.synonyms) if (found := labels.find(name))), None)
    except MedganError:  # it could be either of two, so it is neither
        return None


def _contents_of(file: _File) -> _Contents:
    """Return what a label holds."""
    path, image = file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same is told when the case is evaluated
            if names_segments(path):
                segments = _named_segments(path, image)
                return _Named(organs_of(segments, where=str(path)), _has_values(path, segments))
            label = read_label(path)
    except MedganError as error:
        return error
    values = frozenset(_values_in(label.data))
    if label.num_channels != 1:
        return MedganError(f"{path} must have one label a voxel, found {label.num_channels}.")
    if len(values) > _MOST_UNNAMED:
        return MedganError(
            f"{path} looks like an image, with {len(values):,} different values; if they are labels, name them."
        )
    return values


def _named_segments(path: Path, image: Path | None) -> Segments:
    """Return the segments of a file with their names; of a folder of masks, which may be a hundred, without voxels."""
    if not is_mask_folder(path):
        return read_segments(path, reference=image)
    nothing = np.zeros((0, 0, 0), bool)
    segments = (Segment(number, name, (0, 0, 0), nothing) for number, name in enumerate(sorted(masks_in(path)), 1))
    return Segments(tuple(segments), (0, 0, 0), np.eye(4))


def _has_values(path: Path, segments: Segments) -> bool:
    """Return whether segments have the values of voxels as numbers.

    They have in a .seg.nrrd, unless its layers overlap or use a value twice.
    """
    if not path.name.lower().endswith(".seg.nrrd") or not numbers_are_values(path):
        return False
    return not shared_voxels(segments, segments.painted())


def _values_in(data: np.ndarray) -> Iterator[int]:
    """Yield each value in an array of unsigned integers; some may be yielded several times."""
    voxels = data.ravel(order="K")
    is_there = np.zeros(_LARGEST_TABLE + 1, bool)
    for start in range(0, voxels.size, _PART_VOXELS):
        part = voxels[start : start + _PART_VOXELS]
        if not part.any():
            is_there[0] = True
        elif part.max() <= _LARGEST_TABLE:
            is_there[part] = True
        else:
            yield from np.unique(part).tolist()
    yield from np.flatnonzero(is_there).tolist()

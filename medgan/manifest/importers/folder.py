"""Any folder: images and labels by pattern, joined by what the wildcards matched."""

from collections.abc import Sequence
from pathlib import Path

from medgan.errors import MedganError
from medgan.manifest.case_ids import case_id_of
from medgan.manifest.importers.layout import Item, Layout, Skipped, walk
from medgan.manifest.importers.patterns import compile_pattern

_Matched = tuple[str, ...]


def find(source: Path, *, images: Sequence[str], labels: str) -> Layout:
    """Return the images that fit the patterns, one pattern per channel, each with the label of the same wildcards.

    The patient is what the first wildcard matched (its first folder, for `**`), so that files of one folder stay in
    one split.

    Raises:
        MedganError: if there is no image pattern, the patterns differ in their number of wildcards, or no label fits.
    """
    if not images:
        raise MedganError(
            f"{source}: a folder of kind 'folder' needs a pattern for its images, as in --images \"*/ct.nii.gz\"."
        )
    _check_wildcards([*images, labels] if labels else images)
    paths = list(walk(source))
    found_labels = _matching(paths, source, labels) if labels else {}
    if labels and not found_labels:
        raise MedganError(f"{source}: no file or folder fits the pattern of the labels, {labels!r}.")
    taken = set(found_labels.values())
    channels = [_matching([path for path in paths if path not in taken], source, pattern) for pattern in images]
    items, skipped = [], []
    for matched in sorted(set().union(*channels)):
        present = tuple(channel[matched] for channel in channels if matched in channel)
        if len(present) < len(channels):
            absent = next(p for p, channel in zip(images, channels, strict=True) if matched not in channel)
            skipped.append(Skipped(_shown(present[0], source), f"it has no channel that fits {absent!r}"))
        else:
            items.append(_item_of(matched, present, found_labels.get(matched)))
    orphans = [path for matched, path in found_labels.items() if all(matched not in channel for channel in channels)]
    skipped += [Skipped(_shown(path, source), "a label without an image") for path in orphans]
    return Layout(tuple(items), tuple(skipped))


def _check_wildcards(patterns: Sequence[str]) -> None:
    counts = [compile_pattern(pattern).groups for pattern in patterns]
    if len(set(counts)) > 1:
        listed = ", ".join(f"{pattern!r} ({count})" for pattern, count in zip(patterns, counts, strict=True))
        raise MedganError(
            f"patterns must have equally many wildcards, as what they match joins image and label; found {listed}."
        )


def _matching(paths: Sequence[Path], source: Path, pattern: str) -> dict[_Matched, Path]:
    compiled = compile_pattern(pattern)
    found = {}
    for path in paths:
        match = compiled.fullmatch(_shown(path, source))
        if match and (path.is_file() or any(member.is_file() for member in path.iterdir())):
            found[match.groups()] = path
    return found


def _item_of(matched: _Matched, images: tuple[Path, ...], label: Path | None) -> Item:
    name = "_".join(part.strip("/").replace("/", "_") for part in matched if part) or case_id_of(images[0])
    patient = matched[0].split("/")[0] if matched else name
    return Item(name, patient, images, label)


def _shown(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()

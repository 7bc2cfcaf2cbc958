"""Organs that share voxels, split into layers of those that do not, so that each is scored by its whole mask.

A label volume has one organ a voxel. A liver with a tumour in it, as two masks, needs two of them.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from medgan.labels import LabelMap, Organ, OrganGroup
from medgan.preprocessing.resample import nearest_label_on
from medgan.volume.segments import Segments
from medgan.volume.volume import Volume

Side = Volume | Segments
"""The reference or the prediction of a case: a label volume, or the masks of organs (`Segments.as_organs`)."""


def layers_of(labels: LabelMap, shared: Iterable[tuple[str, str]]) -> list[LabelMap]:
    """Return label maps that together score what `labels` does, in which no two organs share a voxel.

    There are few, though not always the fewest possible. A group whose organs are not all in one layer has a layer of
    its own, in which it is one organ with all their values. What belongs to another layer counts as background.

    Args:
        labels: the organs and groups; what is ignored stays so in every layer.
        shared: the names of every two organs that share voxels.

    Example:
        >>> labels = LabelMap.from_mapping({"liver": 1, "tumor": 2, "spleen": 3})
        >>> [layer.names for layer in layers_of(labels, [("liver", "tumor")])]
        [('liver', 'spleen'), ('tumor',)]
    """
    partners: dict[str, set[str]] = {name: set() for name in labels.names}
    for one, other in shared:
        partners[one].add(other)
        partners[other].add(one)
    rows: list[set[str]] = []
    for name in sorted(labels.names, key=lambda name: -len(partners[name])):
        row = next((row for row in rows if row.isdisjoint(partners[name])), None)
        if row is None:
            rows.append(row := set())
        row.add(name)
    layers = [_layer(labels, row) for row in rows]
    whole = {group.name for layer in layers for group in layer.groups}
    return layers + [_as_one_organ(labels, group) for group in labels.groups if group.name not in whole]


def in_layers(
    sides: Sequence[Side], layers: Iterable[LabelMap], *, grid: Volume
) -> Iterator[tuple[LabelMap, Volume, Volume]]:
    """Yield every layer with the label volumes of reference and prediction that hold its organs whole, on one grid.

    A side that is a label volume is yielded with all its values.
    """
    for layer in layers:
        values = {value for organ in layer.organs for value in organ.all_values}
        reference, prediction = (nearest_label_on(_volume_of(side, values), grid) for side in sides)
        yield layer, reference, prediction


def shared_voxels(side: Side, painted: Volume) -> dict[tuple[str, str], int]:
    """Return how many voxels every two organs of a side share, by their names; only those that do.

    Args:
        side: reference or prediction.
        painted: its label volume, which tells at once whether there are any.
    """
    if isinstance(side, Volume):
        return {}
    num_marked = sum(segment.num_voxels for segment in side.segments)
    return side.shared_voxels() if num_marked > np.count_nonzero(painted.data) else {}


def _layer(labels: LabelMap, names: set[str]) -> LabelMap:
    organs = tuple(organ for organ in labels.organs if organ.name in names)
    groups = tuple(group for group in labels.groups if names.issuperset(group.organs))
    return LabelMap(organs, groups, labels.ignored, "others")


def _as_one_organ(labels: LabelMap, group: OrganGroup) -> LabelMap:
    value, *more = (value for organ in labels.organs if organ.name in group.organs for value in organ.all_values)
    return LabelMap((Organ(group.name, value, group.color, merge=tuple(more)),), (), labels.ignored, "others")


def _volume_of(side: Side, values: set[int]) -> Volume:
    if isinstance(side, Volume):
        return side
    chosen = tuple(segment for segment in side.segments if segment.number in values)
    return Segments(chosen, side.shape, side.affine).painted()

"""Which images under one SeriesInstanceUID make one stack, and what tells several stacks apart.

A scanner may put several acquisitions under one UID: planes of different orientation, time points, echoes, b-values.
They are told apart by their headers, and only where one stack would repeat positions.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from medgan.volume.dicom.slices import Slice

_SAME_POSITION_OF_STEP = 0.02
_SAME_POSITION_MM = 1e-3
_SAME_AXES = 0.01
_EVEN_MM = 0.05
_EVEN_OF_STEP = 0.02
_FEWEST_SLICES = 2  # a single image of its own kind is an intruder, not a stack
_PLANES = ("sagittal", "coronal", "axial")
_NUMBERS = (  # what may tell stacks at the same positions apart, and may be shown
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "TriggerTime",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "KVP",
    "InversionTime",
    "FlipAngle",
    "StackID",
)
_TEXTS = (  # the same, but not for showing
    "AcquisitionUID",
    "ImageType",
    "FrameType",
    "DiffusionGradientOrientation",
    "ConvolutionKernel",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
)
_RANKED = ("TriggerTime", "AcquisitionTime")  # their values differ from slice to slice: the order tells


@dataclass(frozen=True, eq=False)
class Part:
    """The slices of one stack, and what tells it apart from the others: "TemporalPositionIdentifier 2", "axial"."""

    slices: tuple[Slice, ...]
    distinction: str = ""


def split(slices: Sequence[Slice]) -> list[Part]:
    """Return the stacks among the images of one SeriesInstanceUID, the whole as one where nothing tells them apart."""
    parts = [Part(tuple(slices))]
    for step in (_by_frame_of_reference, _by_orientation, _by_acquisition):
        parts = [
            Part(found.slices, ", ".join(filter(None, (part.distinction, found.distinction))))
            for part in parts
            for found in step(part.slices)
        ]
    return parts


def positions_of(slices: Sequence[Slice]) -> np.ndarray:
    """Return for each slice the number of its position along the normal, from 0; repeated positions have one number."""
    along = np.array([each.position @ slices[0].normal for each in slices])
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    distinct = steps[steps > _SAME_POSITION_MM]
    tolerance = max(_SAME_POSITION_MM, _SAME_POSITION_OF_STEP * float(np.median(distinct))) if distinct.size else 0.0
    numbers = np.empty(len(slices), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(steps > max(tolerance, _SAME_POSITION_MM))])
    return numbers


def _by_frame_of_reference(slices: Sequence[Slice]) -> list[Part]:
    uids = [each.header.text("FrameOfReferenceUID") for each in slices]
    number_of = {uid: n for n, uid in enumerate(sorted(set(uids)), start=1)}
    return _grouped(slices, [(number_of[uid],) for uid in uids], lambda key, _: f"frame of reference {key[0]}")


def _by_orientation(slices: Sequence[Slice]) -> list[Part]:
    """Split by orientation, the commonest first."""
    found: list[list[Slice]] = []
    for each in slices:
        alike = next((group for group in found if np.abs(group[0].axes - each.axes).max() <= _SAME_AXES), None)
        if alike is None:
            found.append([each])
        else:
            alike.append(each)
    found.sort(key=lambda group: (-len(group), group[0].axes.ravel().tolist()))
    number_of = {each: number for number, group in enumerate(found) for each in group}
    return _grouped(slices, [(number_of[each],) for each in slices], lambda _, first: _plane_of(first))


def _by_acquisition(slices: Sequence[Slice]) -> list[Part]:
    """Split slices that repeat positions by the first thing in their headers that leaves none repeated."""
    position = dict(zip(slices, positions_of(slices).tolist(), strict=True))
    if len(set(position.values())) == len(slices):
        return _by_uneven_steps(slices)
    values = _values_of(slices)
    for names in [*combinations(values, 1), *combinations(values, 2)]:
        keys = list(zip(*(values[name] for name in names), strict=True))
        parts = _grouped(slices, keys, partial(_said, names))
        if len(parts) > 1 and all(len({position[s] for s in part.slices}) == len(part.slices) for part in parts):
            return parts
    return _by_rank(slices, position) or [Part(tuple(slices))]


def _by_uneven_steps(slices: Sequence[Slice]) -> list[Part]:
    """Split slices whose steps are uneven by AcquisitionNumber, if each acquisition is even: chest, then abdomen."""
    whole = [Part(tuple(slices))]
    if _is_even(slices):
        return whole
    keys = [(each.header.text("AcquisitionNumber"),) for each in slices]
    parts = _grouped(slices, keys, partial(_said, ("AcquisitionNumber",)))
    are_stacks = all(len(part.slices) >= _FEWEST_SLICES and _is_even(part.slices) for part in parts)
    return parts if len(parts) > 1 and are_stacks else whole


def _is_even(slices: Sequence[Slice]) -> bool:
    steps = np.diff(np.sort([each.position @ slices[0].normal for each in slices]))
    return not steps.size or bool(np.ptp(steps) <= max(_EVEN_MM, _EVEN_OF_STEP * float(np.median(steps))))


def _values_of(slices: Sequence[Slice]) -> dict[str, list[Hashable]]:
    """Return by name what differs between the slices, but not from each to each; one value for each slice."""
    values: dict[str, list[Hashable]] = {name: [s.header.text(name) for s in slices] for name in (*_NUMBERS, *_TEXTS)}
    values["file"] = ["" if s.frame is None else s.file.name for s in slices]
    values["size"] = [(*s.size, *s.spacing_mm.tolist()) for s in slices]
    most = len(slices) // _FEWEST_SLICES
    return {name: found for name, found in values.items() if 1 < len(set(found)) <= most}


def _by_rank(slices: Sequence[Slice], position: dict[Slice, int]) -> list[Part]:
    """Split by time where each position has as many time points: the n-th of each makes the n-th stack."""
    at: dict[int, list[Slice]] = defaultdict(list)
    for each in slices:
        at[position[each]].append(each)
    counts = {len(group) for group in at.values()}
    for name in _RANKED if len(counts) == 1 and len(at) >= _FEWEST_SLICES else ():
        ordered = [sorted(group, key=lambda s: _sort_key(s.header.text(name))) for group in at.values()]
        if all(len({s.header.text(name) for s in group}) == len(group) for group in ordered):
            ranks = zip(*ordered, strict=True)
            return [Part(stack, f"time point {n} by {name}") for n, stack in enumerate(ranks, start=1)]
    return []


def _grouped(
    slices: Sequence[Slice], keys: Sequence[tuple[Hashable, ...]], say: Callable[[tuple[Hashable, ...], Slice], str]
) -> list[Part]:
    """Return the slices by key, in the order of the keys; as one if a key has too few slices for a stack."""
    groups: dict[tuple[Hashable, ...], list[Slice]] = defaultdict(list)
    for key, each in zip(keys, slices, strict=True):
        groups[key].append(each)
    if len(groups) == 1 or min(map(len, groups.values())) < _FEWEST_SLICES:
        return [Part(tuple(slices))]
    ordered = sorted(groups.items(), key=lambda item: tuple(_sort_key(value) for value in item[0]))
    return [Part(tuple(group), say(key, group[0])) for key, group in ordered]


def _plane_of(each: Slice) -> str:
    return _PLANES[int(np.abs(each.normal).argmax())]


def _said(names: Sequence[str], key: tuple[Hashable, ...], _: Slice) -> str:
    """Return the values that tell a stack apart; those that could be any text are only named."""
    return ", ".join(
        f"{name} {float(str(value)):g}" if name in _NUMBERS and _is_number(value) else f"by {name}"
        for name, value in zip(names, key, strict=True)
    )


def _sort_key(value: Hashable) -> tuple[bool, float, str]:
    return (False, float(str(value)), "") if _is_number(value) else (True, 0.0, str(value))


def _is_number(value: Hashable) -> bool:
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False

""".seg.nrrd, the segmentation file of 3D Slicer: an NRRD whose header names its segments.

One 3D layer where no segments overlap, else a list of layers; each segment is one value in one layer. The format is
described in Slicer's developer guide (segmentations). The space origin is that of the first voxel stored, whatever
`Segmentation_ReferenceImageExtentOffset` says.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.labels import CodedTerm, LabelMap
from medgan.volume import itk, nrrd
from medgan.volume.checks import MAX_VOXELS, volume_at
from medgan.volume.segments import Box, Segment, Segments, boxes_of, gathered
from medgan.volume.stored import read_stored
from medgan.volume.volume import Volume

_REPRESENTATION = "Binary labelmap"
_CATEGORY = "SCT^123037004^Anatomical Structure"
_TERMS = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS = "Anatomic codes - DICOM master list"


def read_seg_nrrd(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Segments:
    """Return the segments of a .seg.nrrd file, with their names, colours and coded terms.

    A segment's number is its label value, or where layers use a value twice its place in the file, from 1.

    Raises:
        MedganError: if the file is damaged or no such file, holds no binary label map, claims more than `max_voxels`,
            or has values that belong to no segment.
    """
    path = Path(path)
    header = nrrd.read_header(path)
    sizes = nrrd.grid_sizes(path, header.fields, max_voxels=max_voxels)
    directions = nrrd.directions_of(header.fields, len(sizes))
    axes = [vector for vector in directions if vector is not None]
    is_list = directions[:1] == [None]
    if len(axes) != 3 or len(sizes) != len(directions) or len(sizes) != 3 + is_list:
        raise MedganError(
            f"{path} must have three axes in space, after a list of layers or none, found {len(sizes)} axes, "
            f"{len(axes)} of them in space; save it again in Slicer."
        )
    affine = volume_at(path, np.zeros((1, 1, 1, 1)), nrrd.affine_of(path, header.fields, axes)).affine
    i, j, k = sizes[is_list:]
    num_layers = sizes[0] if is_list else 1
    stored = nrrd.stored_of(path, header.fields, header.start, (num_layers, i, j, k))
    if stored.dtype.kind not in "iu":
        raise MedganError(
            f"{path} must hold whole numbers, but its data type is {stored.dtype}; save it again in Slicer."
        )
    layers = list(read_stored(stored))
    described = _described(path, header.keys, num_layers=num_layers)
    boxes = [_boxes(path, layer) for layer in layers]
    known = {(each.layer, each.value) for each in described}
    unknown = sorted({value for layer, found in enumerate(boxes) for value in found if (layer, value) not in known})
    if unknown:
        raise MedganError(f"{path} holds values that belong to no segment ({unknown[:8]}); save it again in Slicer.")
    is_clear = _are_distinct(each.value for each in described)
    segments = (
        _segment(each, each.value if is_clear else place, layers[each.layer], boxes[each.layer])
        for place, each in enumerate(described, start=1)
    )
    return Segments(gathered(segments, max_voxels=max_voxels, where=str(path)), (i, j, k), affine)


def numbers_are_values(path: str | Path) -> bool:
    """Return whether the numbers of the segments of a .seg.nrrd are the values of its voxels, not their places.

    Raises:
        MedganError: if the header is damaged.
    """
    keys = nrrd.read_header(Path(path)).keys
    return _are_distinct(_value_of(keys, number) for number in _numbers_in(keys))


def write_seg_nrrd(label: Volume, labels: LabelMap, path: str | Path) -> None:
    """Write a label volume with the names, colours and codes of its organs, as one layer, compressed, atomically.

    Args:
        label: (1, I, J, K) label values.
        labels: the organs; those without a voxel become empty segments.
        path: ends in .seg.nrrd.

    Raises:
        MedganError: if a value is no organ's, the affine has shear, or the file cannot be written.
    """
    path = Path(path)
    boxes = boxes_of(label.data[0])
    labels.to_classes(np.array(list(boxes), np.uint64), where=str(path))
    values = labels.to_own_values(label.data, where=str(path))
    itk.check_straight(label, path)
    stored = Volume(values.astype(labels.dtype, copy=False), label.affine)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        nrrd.write(stored, file, keys=_keys_of(labels, boxes))


@dataclass(frozen=True)
class _Described:
    """One segment, as the header has it."""

    name: str
    value: int
    layer: int
    color: tuple[int, int, int] | None
    code: CodedTerm | None


def _boxes(path: Path, layer: np.ndarray) -> dict[int, Box]:
    if (lowest := int(layer.min())) < 0:
        raise MedganError(f"{path} holds values that belong to no segment ([{lowest}]); save it again in Slicer.")
    return boxes_of(layer)


def _segment(each: _Described, number: int, layer: np.ndarray, boxes: Mapping[int, Box]) -> Segment:
    box = boxes.get(each.value, (slice(0, 0),) * 3)
    i, j, k = (part.start for part in box)
    return Segment(number, each.name, (i, j, k), layer[box] == each.value, each.color, each.code)


def _described(path: Path, keys: Mapping[str, str], *, num_layers: int) -> list[_Described]:
    """Return the segments in the order of their numbers; files of old versions of Slicer have one in each layer."""
    representation = keys.get("Segmentation_MasterRepresentation") or keys.get("Segmentation_SourceRepresentation")
    if (representation or _REPRESENTATION).casefold() != _REPRESENTATION.casefold():
        raise MedganError(f"{path} must hold a binary label map, as Slicer saves it, but has another representation.")
    described = [
        _Described(
            name=keys.get(f"Segment{number}_Name") or keys.get(f"Segment{number}_ID") or f"Segment_{number + 1}",
            value=_value_of(keys, number),
            layer=_whole_number(keys.get(f"Segment{number}_Layer"), default=place if num_layers > 1 else 0),
            color=_color_of(keys.get(f"Segment{number}_Color", "")),
            code=_code_of(keys.get(f"Segment{number}_Tags", "")),
        )
        for place, number in enumerate(_numbers_in(keys))
    ]
    places = Counter((each.layer, each.value) for each in described)
    if not described or max(places.values()) > 1 or any(layer >= num_layers or value < 1 for layer, value in places):
        raise MedganError(
            f"{path} must describe at least one segment, each with a layer and a label value of its own, found "
            f"{len(described)} segments for {num_layers} layers; save it again in Slicer, or name it .nrrd if it is a "
            "plain label."
        )
    return described


def _numbers_in(keys: Mapping[str, str]) -> list[int]:
    return sorted({int(match[1]) for key in keys if (match := re.match(r"Segment(\d{1,6})_", key))})


def _value_of(keys: Mapping[str, str], number: int) -> int:
    return _whole_number(keys.get(f"Segment{number}_LabelValue"), default=1)


def _are_distinct(values: Iterable[int]) -> bool:
    """Return whether no two segments have one value, as segments of different layers may."""
    listed = list(values)
    return len(set(listed)) == len(listed)


def _whole_number(text: str | None, *, default: int) -> int:
    """Return the number a key holds, -1 if it is none."""
    if text is None:
        return default
    return int(text) if re.fullmatch(r"\d{1,10}", text) else -1


def _color_of(text: str) -> tuple[int, int, int] | None:
    """Return the colour of "0.5 0 1", None of anything else."""
    if not re.fullmatch(r"[01](\.\d*)?( [01](\.\d*)?){2}", text):
        return None
    red, green, blue = (min(round(255 * float(part)), 255) for part in text.split())
    return red, green, blue


def _code_of(tags: str) -> CodedTerm | None:
    """Return the type of a TerminologyEntry tag: context~category~type~..., each scheme^value^meaning."""
    for tag in tags.split("|"):
        name, _, value = tag.strip().partition(":")
        parts = value.split("~")
        if name == "TerminologyEntry" and len(parts) > 2 and parts[2].count("^") == 2:
            scheme, code, meaning = parts[2].split("^")
            return CodedTerm(scheme, code, meaning) if scheme and code else None
    return None


def _keys_of(labels: LabelMap, boxes: Mapping[int, Box]) -> dict[str, str]:
    """Return what a header says of the segments, by its keys."""
    keys = {
        "Segmentation_ContainedRepresentationNames": f"{_REPRESENTATION}|",
        "Segmentation_MasterRepresentation": _REPRESENTATION,
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, organ in enumerate(labels.organs):
        box = boxes.get(organ.value, (slice(0, 0),) * 3)
        fields = {
            "ID": f"Segment_{organ.value}",
            "Name": organ.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part / 255:.6g}" for part in organ.color),
            "ColorAutoGenerated": "0",
            "Extent": " ".join(f"{each.start} {each.stop - 1}" for each in box),
            "LabelValue": str(organ.value),
            "Layer": "0",
            "Tags": _tags_of(organ.code),
        }
        keys |= {f"Segment{number}_{key}": value for key, value in fields.items()}
    return keys


def _tags_of(code: CodedTerm | None) -> str:
    if code is None:
        return "Segmentation.Status:inprogress|"
    term = "^".join(re.sub(r"[~^|]", " ", part) for part in (code.scheme, code.value, code.meaning))
    return f"Segmentation.Status:inprogress|TerminologyEntry:{_TERMS}~{_CATEGORY}~{term}~^^~{_REGIONS}~^^~^^|"

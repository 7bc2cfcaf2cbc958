""".seg.nrrd, the segmentation file of 3D Slicer: an NRRD whose header names its segments.

One 3D layer where no segments overlap, else a list of layers; each segment is one value in one layer. The format is
described in Slicer's developer guide (segmentations). The space origin is that of the first voxel stored, whatever
`Segmentation_ReferenceImageExtentOffset` says.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.labels import CodedTerm, LabelMap
from medgan.volume.affine import lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
from medgan.volume.segments import Box, Segment, Segments, boxes_of, gathered
from medgan.volume.stored import Stored, read_stored
from medgan.volume.volume import Volume

_MAX_HEADER_BYTES = 1 << 20
_DTYPES = {
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
}
_SPACES = {
    "lps": "left-posterior-superior",
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
}
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
    header, start = _read_header(path)
    grid = _grid_of(path, header.fields, max_voxels=max_voxels)
    layers = _read_layers(path, header.fields, start, grid)
    described = _described(path, header.keys, num_layers=len(layers))
    boxes = [_boxes(path, layer) for layer in layers]
    known = {(each.layer, each.value) for each in described}
    unknown = sorted({value for layer, found in enumerate(boxes) for value in found if (layer, value) not in known})
    if unknown:
        raise MedganError(f"{path} holds values that belong to no segment ({unknown[:8]}); save it again in Slicer.")
    is_clear = len({each.value for each in described}) == len(described)
    segments = (
        _segment(each, each.value if is_clear else place, layers[each.layer], boxes[each.layer])
        for place, each in enumerate(described, start=1)
    )
    return Segments(gathered(segments, max_voxels=max_voxels, where=str(path)), grid.shape, grid.affine)


def write_seg_nrrd(label: Volume, labels: LabelMap, path: str | Path) -> None:
    """Write a label volume with the names, colours and codes of its organs, as one layer, compressed, atomically.

    Args:
        label: (1, I, J, K) label values.
        labels: the organs; those without a voxel become empty segments.
        path: ends in .seg.nrrd.

    Raises:
        MedganError: if a value is no organ's, the affine has shear, or the file cannot be written.
    """
    import SimpleITK as sitk  # noqa: N813, PLC0415 - only writing needs it

    path = Path(path)
    labels.to_classes(label.data, where=str(path))
    affine = lps_to_ras(label.affine)
    directions = affine[:3, :3] / label.spacing_mm
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4:
        raise MedganError(f"{path} cannot hold a sheared affine; write .nii.gz instead.")
    image = sitk.GetImageFromArray(np.ascontiguousarray(label.data[0].astype(labels.dtype, copy=False).T))
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(label.spacing_mm)
    image.SetDirection(directions.ravel().tolist())
    for key, value in _metadata(label, labels).items():
        image.SetMetaData(key, value)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True, imageIO="NrrdImageIO")
        except RuntimeError as error:
            raise MedganError(f"{path} could not be written; is there room on the disk?") from error


@dataclass(frozen=True)
class _Header:
    """The fields of an NRRD header, names in lower case, and its free keys."""

    fields: dict[str, str]
    keys: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Grid:
    """Number of layers, size (I, J, K), RAS+ affine and type of the voxels."""

    num_layers: int
    shape: tuple[int, int, int]
    affine: np.ndarray
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class _Described:
    """One segment, as the header has it."""

    name: str
    value: int
    layer: int
    color: tuple[int, int, int] | None
    code: CodedTerm | None


def _read_header(path: Path) -> tuple[_Header, int]:
    """Return the header and the byte where the voxels begin."""
    header = _Header({}, {})
    with path.open("rb") as file:
        if not file.read(8).startswith(b"NRRD000"):
            raise MedganError(f"{path} is not an NRRD file; check what it is.")
        while file.tell() < _MAX_HEADER_BYTES and (line := file.readline(_MAX_HEADER_BYTES)):
            text = line.decode("utf-8", errors="replace").rstrip("\r\n")
            if file.tell() > len(line) + 8 and not text:
                return header, file.tell()
            if match := re.match(r"([^#:][^:]*):(=| ?)(.*)", text):
                name, is_key, value = match.groups()
                (header.keys if is_key == "=" else header.fields)[name if is_key == "=" else name.lower()] = (
                    value.strip()
                )
    raise MedganError(f"{path} is truncated: its header has no end; copy it again.")


def _grid_of(path: Path, fields: Mapping[str, str], *, max_voxels: int) -> _Grid:
    sizes = [int(size) for size in re.findall(r"\d+", fields.get("sizes", ""))]
    kind, space = fields.get("type", "").lower(), fields.get("space", "").lower()
    space = _SPACES.get(space, space)
    order = {"big": ">", "little": "<"}.get(fields.get("endian", "").lower(), "")
    rows = [_vector(text) for text in re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))]
    origin = _vector(fields.get("space origin", ""))
    is_list = len(sizes) == 4 and rows[:1] == [None]
    if (
        fields.get("dimension") != str(len(sizes))
        or len(sizes) - is_list != 3
        or len(rows) != len(sizes)
        or None in (origin, *rows[is_list:])
        or space not in _SPACES.values()
        or kind not in _DTYPES
        or not (order or _DTYPES[kind].endswith("1"))
        or min(sizes) < 1
        or any(unit not in ("mm", '"mm"') for unit in fields.get("space units", "").split())
    ):
        raise MedganError(
            f"{path} must hold whole numbers on three axes in space (mm), after a list of layers or none, found "
            f"type {kind[:20]!r}, sizes {sizes[:8]}, space {space[:40]!r}; save it again in Slicer."
        )
    check_num_voxels(path, sizes, max_voxels=max_voxels)
    affine = np.eye(4)
    affine[:3, :3] = np.array(rows[is_list:], dtype=np.float64).T
    affine[:3, 3] = np.array(origin, dtype=np.float64)
    i, j, k = sizes[is_list:]
    to_lps = np.diag([-1.0 if side in ("right", "anterior") else 1.0 for side in [*space.split("-"), ""]])
    affine = volume_at(path, np.broadcast_to(np.uint8(0), (1, i, j, k)), lps_to_ras(to_lps @ affine)).affine
    return _Grid(sizes[0] if is_list else 1, (i, j, k), affine, np.dtype(order + _DTYPES[kind]))


def _vector(text: str) -> tuple[float, ...] | None:
    """Return the three numbers of "(1,0,0)", None of anything else."""
    try:
        numbers = tuple(float(part) for part in text.strip().removeprefix("(").removesuffix(")").split(","))
    except ValueError:
        return None
    return numbers if len(numbers) == 3 else None


def _read_layers(path: Path, fields: Mapping[str, str], start: int, grid: _Grid) -> list[np.ndarray]:
    """Return each layer, axes (I, J, K)."""
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz") or any(name in fields for name in ("data file", "datafile", "byte skip")):
        raise MedganError(f"{path} must hold its voxels itself, as raw or gzip; save it again in Slicer.")
    shape = (grid.num_layers, *grid.shape)
    return list(read_stored(Stored(path, start, "raw" if encoding == "raw" else "gzip", shape, grid.dtype)))


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
    numbers = sorted({int(match[1]) for key in keys if (match := re.match(r"Segment(\d{1,6})_", key))})
    described = [
        _Described(
            name=keys.get(f"Segment{number}_Name") or keys.get(f"Segment{number}_ID") or f"Segment_{number + 1}",
            value=_whole_number(keys.get(f"Segment{number}_LabelValue"), default=1),
            layer=_whole_number(keys.get(f"Segment{number}_Layer"), default=place if num_layers > 1 else 0),
            color=_color_of(keys.get(f"Segment{number}_Color", "")),
            code=_code_of(keys.get(f"Segment{number}_Tags", "")),
        )
        for place, number in enumerate(numbers)
    ]
    places = Counter((each.layer, each.value) for each in described)
    if not described or max(places.values()) > 1 or any(layer >= num_layers or value < 1 for layer, value in places):
        raise MedganError(
            f"{path} must describe at least one segment, each with a layer and a label value of its own, found "
            f"{len(described)} segments for {num_layers} layers; save it again in Slicer, or name it .nrrd if it is a "
            "plain label."
        )
    return described


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


def _metadata(label: Volume, labels: LabelMap) -> dict[str, str]:
    metadata = {
        "Segmentation_ContainedRepresentationNames": f"{_REPRESENTATION}|",
        "Segmentation_MasterRepresentation": _REPRESENTATION,
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    boxes = boxes_of(label.data[0])
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
        metadata |= {f"Segment{number}_{key}": value for key, value in fields.items()}
    return metadata


def _tags_of(code: CodedTerm | None) -> str:
    if code is None:
        return "Segmentation.Status:inprogress|"
    term = "^".join(re.sub(r"[~^|]", " ", part) for part in (code.scheme, code.value, code.meaning))
    return f"Segmentation.Status:inprogress|TerminologyEntry:{_TERMS}~{_CATEGORY}~{term}~^^~{_REGIONS}~^^~^^|"

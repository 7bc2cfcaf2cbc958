"""What the report's viewer shows of a case: small volumes on disk, and what of them goes into the page."""

import base64
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from medgan.errors import MedganError
from medgan.files import atomic_path, write_json
from medgan.labels import LabelMap
from medgan.report.page import inline_hash, package_text
from medgan.report.window import is_ct, window_of
from medgan.volume.volume import Volume, same_grid

MAX_VOXELS = 4_000_000  # a phone's graphics memory holds three such volumes
MAX_IMAGE_BYTES = 3_000_000
_MAX_SIDE = 1024  # voxels along an axis: graphics hardware takes no more everywhere
_MARGIN_MM = 20.0  # kept around the organs where the whole image is too large
_LAYERS = ("image", "reference", "prediction")
_FACTS = "case.json"
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class ViewerCase:
    """One case as the page holds it.

    Attributes:
        case_id: of the case.
        facts: what case.json says: window, organs, grid.
        volumes: layer ("image", "reference", "prediction") to its .nii.gz as base64; there may be no image.
    """

    case_id: str
    facts: Mapping[str, object]
    volumes: Mapping[str, str]

    @property
    def is_flat(self) -> bool:
        """Whether it is a 2D image, with one plane to look at."""
        return 1 in cast("Sequence[int]", self.facts["source_size"])


@dataclass(frozen=True)
class ViewerScript:
    """What the page needs once, however many cases it shows.

    Attributes:
        packed: NiiVue, gzipped, as base64.
        script: fills the section; unpacks and runs NiiVue when the reader opens the viewer.
        style: of the section.
        license: NiiVue's licence and those of what it bundles, to be told wherever it goes.
        directives: what the page's content security policy must add. None of them admits the network.
    """

    packed: str
    script: str
    style: str
    license: str
    directives: Mapping[str, str]


def write_viewer_volumes(
    image: Volume | None,
    reference: Volume,
    prediction: Volume,
    labels: LabelMap,
    folder: str | Path,
    *,
    case_id: str,
) -> Path:
    """Write what the viewer shows of a case into `folder/<case_id>` and return that folder.

    image.nii.gz holds the first channel as int16 with a slope, so that a value under the cursor is a true one: whole
    HU where the image is whole numbers. The labels hold classes 1, 2, ... as case.json lists them, organs that occur in
    neither left out. The affine stays as it is, oblique or not. A case of over 4 million voxels is cropped to its
    organs and 20 mm around them; what is still too large is brought to larger voxels: the image by averages, the labels
    by the nearest voxel.

    Args:
        image: on the reference's grid; None: the labels are shown alone.
        reference: label values.
        prediction: label values.
        labels: their names and colours.
        folder: of all cases' viewer volumes.
        case_id: names the case's own folder.

    Raises:
        MedganError: if the volumes are not on one grid, hold values outside the map, or cannot be written.
    """
    where = f"viewer of case {case_id}"
    for name, other in (("image", image), ("prediction", prediction)):
        if other is not None and not same_grid(reference, other):
            raise MedganError(
                f"{where}: {name} and reference must be on one grid, found {other.describe_grid()} and "
                f"{reference.describe_grid()}."
            )
    classes = [labels.to_classes(volume.data[0], where=where) for volume in (reference, prediction)]
    present = [c for c in np.unique(np.concatenate([np.unique(c) for c in classes])).tolist() if c]
    box = _box_to_show(classes, reference)
    affine = _shifted(reference.affine, [s.start for s in box])
    classes = [np.searchsorted([0, *present], c[box]).astype(_class_type(len(present))) for c in classes]
    values = None if image is None else image.data[0][box]
    ct = image is not None and is_ct(image.data[0])
    size, steps, parts = _fit(values, classes, affine)
    facts = {
        "case_id": case_id,
        "source_size": list(reference.shape),
        "source_spacing_mm": list(reference.spacing_mm),
        "voxel_of_mm": np.linalg.inv(reference.affine)[:3].tolist(),
        "size": list(size),
        "spacing_mm": [float(s * step) for s, step in zip(reference.spacing_mm, steps, strict=True)],
        "is_ct": ct,
        "window": None if values is None else list(window_of(values, values[classes[0] > 0], ct=ct)),
        "organs": [
            {
                "name": labels.organs[c - 1].name,
                "value": labels.organs[c - 1].value,
                "color": list(labels.organs[c - 1].color),
                "inside_mm": _point_inside(classes, number, affine),
            }
            for number, c in enumerate(present, start=1)
        ],
    }
    _write(Path(folder) / case_id, parts, facts)
    return Path(folder) / case_id


def viewer_data(folder: str | Path, case_ids: Sequence[str]) -> list[ViewerCase]:
    """Return those of the cases whose volumes lie in `folder`, in the order given; none where there is no such folder.

    The folder is listed, so that no case id is ever made a path.

    Raises:
        MedganError: if a case is damaged or a file of it is missing.
    """
    found = {facts.parent.name: facts for facts in Path(folder).glob(f"*/{_FACTS}")}
    return [_read_case(found[case_id]) for case_id in case_ids if case_id in found]


def viewer_script() -> ViewerScript:
    """Return NiiVue and the page's own script, with the policy that admits these two and nothing else.

    NiiVue runs as an inline script whose text has a known hash, so no page needs 'unsafe-eval' for it; its font is a
    picture in a data: address. The viewer itself loads nothing, starts no worker and compiles no WebAssembly.
    """
    niivue, script, style = (
        package_text(name) for name in ("niivue/niivue.umd.js", "templates/viewer.js", "templates/viewer.css")
    )
    return ViewerScript(
        packed=base64.b64encode(gzip.compress(niivue.encode(), 9, mtime=0)).decode(),
        script=script,
        style=style,
        license=f"{package_text('niivue/LICENSE')}\n{package_text('niivue/THIRD_PARTY')}",
        directives={
            "script-src": f"{inline_hash(script)} {inline_hash(niivue)}",
            "style-src": inline_hash(style),
            "img-src": "data:",
        },
    )


def _box_to_show(classes: Sequence[np.ndarray], grid: Volume) -> tuple[slice, slice, slice]:
    """Return all of a small grid, and of a large one the organs and what lies around them."""
    whole = tuple(slice(0, n) for n in grid.shape)
    if np.prod(grid.shape) <= MAX_VOXELS or not any(c.any() for c in classes):
        return cast("tuple[slice, slice, slice]", whole)
    box = []
    for axis, (num_voxels, spacing_mm) in enumerate(zip(grid.shape, grid.spacing_mm, strict=True)):
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(np.logical_or.reduce([c.any(axis=others) for c in classes]))
        margin = int(np.ceil(_MARGIN_MM / spacing_mm))
        box.append(slice(max(0, int(found[0]) - margin), min(num_voxels, int(found[-1]) + margin + 1)))
    return box[0], box[1], box[2]


def _shifted(affine: np.ndarray, start: Sequence[float]) -> np.ndarray:
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ np.asarray(start, dtype=np.float64)
    return shifted


def _class_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if num_classes <= np.iinfo(np.uint8).max else np.uint16


def _fit(
    values: np.ndarray | None, classes: Sequence[np.ndarray], affine: np.ndarray
) -> tuple[tuple[int, ...], tuple[float, ...], dict[str, bytes]]:
    """Return the size, by how much each axis is coarsened, and the files, at the finest voxels within the limits."""
    budget = float(MAX_VOXELS)
    while True:
        steps = _steps(classes[0].shape, affine, budget)
        sizes = tuple(max(1, int(n / step + 1e-6)) for n, step in zip(classes[0].shape, steps, strict=True))
        coarse = _coarser_affine(affine, classes[0].shape, sizes, steps)
        parts = {}
        if values is not None:
            parts["image"] = _packed(_averaged(values, sizes, steps), coarse)
            if len(parts["image"]) > MAX_IMAGE_BYTES:
                budget = np.prod(sizes) * 0.9 * MAX_IMAGE_BYTES / len(parts["image"])
                continue
        for layer, labelled in zip(_LAYERS[1:], classes, strict=True):
            parts[layer] = _packed(labelled[np.ix_(*map(_nearest, labelled.shape, sizes, steps))], coarse)
        return sizes, steps, parts


def _steps(shape: Sequence[int], affine: np.ndarray, budget: float) -> tuple[float, ...]:
    """Return by how much each axis is coarsened: the finest first, until `budget` voxels suffice."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = float(spacing.min()), float((spacing * shape).max())
    for _ in range(40):
        middle = (low + high) / 2
        sizes = np.maximum(1, shape / np.maximum(1.0, middle / spacing))
        low, high = (low, middle) if np.prod(sizes) <= budget and sizes.max() <= _MAX_SIDE else (middle, high)
    if np.prod(shape) <= budget and max(shape) <= _MAX_SIDE:
        return (1.0, 1.0, 1.0)
    return tuple(1.0 if n == 1 else max(1.0, float(high / s)) for n, s in zip(shape, spacing, strict=True))


def _coarser_affine(
    affine: np.ndarray, shape: Sequence[int], sizes: Sequence[int], steps: Sequence[float]
) -> np.ndarray:
    """Return the affine of the coarser grid, which shares its centre with the finer one."""
    first = [(n - 1) / 2 - (m - 1) / 2 * step for n, m, step in zip(shape, sizes, steps, strict=True)]
    coarse = _shifted(affine, first)
    coarse[:3, :3] *= steps
    return coarse


def _averaged(values: np.ndarray, sizes: Sequence[int], steps: Sequence[float]) -> np.ndarray:
    from medgan.preprocessing.resample import interpolation_matrix, resample_axes  # noqa: PLC0415 - large cases only

    if all(step == 1.0 for step in steps):
        return values
    matrices = tuple(
        None if step == 1.0 else interpolation_matrix(n, m, step)
        for n, m, step in zip(values.shape, sizes, steps, strict=True)
    )
    averaged: np.ndarray = resample_axes(values[None], matrices)[0]
    return np.asarray(np.rint(averaged)) if _are_whole(values) else averaged


def _nearest(num_voxels: int, size: int, step: float) -> np.ndarray:
    positions = (np.arange(size) - (size - 1) / 2) * step + (num_voxels - 1) / 2
    return np.asarray(np.rint(positions).astype(np.intp).clip(0, num_voxels - 1))


def _are_whole(values: np.ndarray) -> bool:
    """Return whether int16 holds the values as they are."""
    if values.min() < _INT16.min or values.max() > _INT16.max:
        return False
    return values.dtype.kind in "iub" or bool(np.array_equal(values, np.rint(values)))


def _packed(values: np.ndarray, affine: np.ndarray) -> bytes:
    """Return a .nii.gz: unsigned integers as they are, others as int16 with a slope that gives the values back."""
    slope, intercept = 1.0, 0.0
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        if not _are_whole(values):
            low, high = float(values.min()), float(values.max())
            slope, intercept = (high - low) / (_INT16.max - _INT16.min) or 1.0, (low + high) / 2
        values = np.rint((values - intercept) / slope).clip(_INT16.min, _INT16.max).astype(np.int16)
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_slope_inter(slope, intercept)
    header["vox_offset"] = header.single_vox_offset
    stream = io.BytesIO()
    header.write_to(stream)
    stream.write(values.tobytes(order="F"))
    return gzip.compress(stream.getvalue(), 6, mtime=0)


def _point_inside(classes: Sequence[np.ndarray], number: int, affine: np.ndarray) -> list[float]:
    """Return the position in mm of a voxel of an organ near its middle, in the reference if it is there."""
    voxels = next(found for c in classes if len(found := np.argwhere(c == number)))
    nearest = voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()]
    return [round(float(x), 3) for x in affine[:3, :3] @ nearest + affine[:3, 3]]


def _write(folder: Path, parts: Mapping[str, bytes], facts: Mapping[str, object]) -> None:
    """Replace the files of a case. It counts from the moment its facts are there: they go first and come last."""
    try:
        for stale in (_FACTS, *(f"{layer}.nii.gz" for layer in _LAYERS)):
            (folder / stale).unlink(missing_ok=True)
    except OSError as error:
        raise MedganError(f"{folder} could not be written: {error.strerror or error}.") from error
    for layer, content in parts.items():
        with atomic_path(folder / f"{layer}.nii.gz") as temporary:
            temporary.write_bytes(content)
    write_json(folder / _FACTS, facts)


def _read_case(path: Path) -> ViewerCase:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        layers = _LAYERS if facts["window"] is not None else _LAYERS[1:]
        volumes = {layer: base64.b64encode((path.parent / f"{layer}.nii.gz").read_bytes()).decode() for layer in layers}
        return ViewerCase(str(facts["case_id"]), facts, volumes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedganError(
            f"{path.parent} must hold the viewer's volumes of a case, but they are damaged or incomplete ({error}). "
            "Run `medgan evaluate` with --view again."
        ) from error

"""An `Inspection` as text to read and as JSON to process."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from medgan.inspection.geometry import Grid
from medgan.inspection.hounsfield import PERCENTS, Intensity
from medgan.inspection.inspect import Inspection
from medgan.inspection.series import SeriesRow

_KINDS = {
    "image": "image",
    "label": "label volume",
    "segments": "named segments",
    "rtstruct": "RTSTRUCT",
    "tree": "DICOM tree",
}
_WIDTH = 13


def to_json(found: Inspection) -> str:
    """Return an inspection as JSON; its keys are the attributes of `Inspection`."""
    return json.dumps(asdict(found), indent=2, allow_nan=False)


def to_lines(found: Inspection) -> list[str]:
    """Return an inspection as lines of text."""
    lines = [_line("path", found.path)]
    lines.append(_line("kind", _KINDS[found.kind] + (f", {found.data_type}" if found.data_type else "")))
    if found.grid is not None:
        lines += _grid_lines(found.grid)
    if found.intensity is not None:
        lines += _intensity_lines(found.intensity)
    if found.kind in ("label", "segments", "rtstruct"):
        lines += _label_lines(found)
    lines += [_line("series", _named(row, len(found.series))) for row in found.series if row.key == found.series_key]
    if found.kind == "tree" and found.series:
        lines += ["", *_table(found.series), "", "Choose one with --series KEY."]
    elif joined := [name for row in found.series if row.key == found.series_key for name in row.segmentations]:
        lines.append(_line("segmented by", ", ".join(joined)))
    reasons = Counter(found.left_out.values())
    lines += [_line("left out", f"{n} {'file' if n == 1 else 'files'}: {reason}") for reason, n in reasons.items()]
    return lines + [_line("odd", oddity) for oddity in found.oddities]


def _line(name: str, text: str) -> str:
    """Return name and text side by side; what a file calls things may hold control characters."""
    return f"{name:<{_WIDTH}}" + "".join(c if c.isprintable() else "?" for c in text)


def _named(row: SeriesRow, num_series: int) -> str:
    among = f", one of {num_series} in the tree" if num_series > 1 else ""
    return f"{row.key}, {row.modality or 'unknown modality'}{among}"


def _grid_lines(grid: Grid) -> Iterator[str]:
    i, j, k = grid.ways
    yield _line("size", f"{_times(grid.size_voxels)} voxels")
    yield _line("spacing", f"{_times(grid.spacing_mm)} mm")
    yield _line("extent", f"{_times(grid.extent_mm)} mm")
    yield _line("orientation", f"{grid.orientation}: voxel i runs {i}, j {j}, k {k}")
    if grid.oblique_degrees:
        yield _line("", f"oblique, turned by up to {grid.oblique_degrees:.1f} degrees against the patient")
    if grid.shear_degrees:
        yield _line("", f"sheared by {grid.shear_degrees:.1f} degrees (gantry tilt)")
    origin = ", ".join(f"{x:.1f}" for x in grid.origin_mm)
    yield _line("origin", f"({origin}) mm, the centre of the first voxel (x to the right, y front, z head)")


def _intensity_lines(intensity: Intensity) -> Iterator[str]:
    yield _line("values", f"{intensity.minimum:g} to {intensity.maximum:g}; {intensity.describe()}")
    pairs = zip(PERCENTS, intensity.percentiles, strict=True)
    yield _line("percentiles", "  ".join(f"{percent}%: {value:.4g}" for percent, value in pairs))


def _label_lines(found: Inspection) -> Iterator[str]:
    yield _line("labels", str(len(found.labels)))
    width = max((len(row.name) for row in found.labels), default=0)
    for row in found.labels:
        name = f"{row.name:<{width}}  " if width else ""
        size = "" if row.num_voxels is None else f"{row.num_voxels:>12,} voxels {row.volume_ml:>12,.2f} ml"
        yield _line("", f"{row.number:>5}  {name}{size}".rstrip())
    for uid, num_images in found.refers_to.items():
        yield _line("drawn on", f"series {uid or 'unknown'}, {num_images} images of it")
    for overlap in found.overlaps:
        yield _line("overlap", f"{overlap.first} and {overlap.second} share {overlap.num_voxels:,} voxels")


def _table(rows: Sequence[SeriesRow]) -> list[str]:
    cells = [["key", "modality", "slices", "size", "spacing (mm)", "segmentations"]]
    for row in rows:
        size = _times(row.size_voxels) if row.size_voxels else "no geometry"
        spacing = _times(row.spacing_mm) if row.spacing_mm else ""
        key = f"{row.key} ({row.distinction})" if row.distinction else row.key
        cells.append([key, row.modality or "?", str(row.num_slices), size, spacing, ", ".join(row.segmentations)])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return ["".join(c if c.isprintable() else "?" for c in line).rstrip() for line in lines]


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)

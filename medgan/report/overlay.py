"""A picture of one case: slices through the organs, the prediction filled, the reference outlined.

Radiological convention: the patient's right is on the left of the picture, front or head is up.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.labels import LabelMap, Organ
from medgan.volume.affine import nearest_axes
from medgan.volume.volume import Volume, same_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLANES = ("sagittal", "coronal", "axial")  # across R, across A, across S
_SIDES = (("A", "P"), ("R", "L"), ("R", "L"))  # at the left and right edge of each
_LUNG_WINDOW = (-1150.0, 350.0)  # HU: shows the lungs, and what lies between them is not yet white
_SOFT_TISSUE_WINDOW = (-160.0, 240.0)
_AIR_HU, _LUNG_HU = -900.0, -400.0
_FILL_ALPHA = 0.4
_DPI = 100
_MAX_WIDTH, _MAX_HEIGHT, _MIN_WIDTH = 12.0, 7.0, 4.0  # inches, of the slices together
_GAP, _TITLE, _LEGEND_ROW = 0.08, 0.36, 0.26  # inches
_LEGEND_COLUMN = 1.6  # inches


@dataclass(frozen=True)
class _Slice:
    """One plane as a picture: rows from the top, columns from the left; `prediction` and `reference` are classes."""

    axis: int
    pixels: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray | None
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class _Layout:
    """Where things lie, in inches; boxes are left, bottom, width, height of each slice."""

    width: float
    height: float
    boxes: tuple[tuple[float, float, float, float], ...]
    columns: int


def write_overlay(
    image: Volume | None,
    prediction: Volume,
    labels: LabelMap,
    path: str | Path,
    *,
    reference: Volume | None = None,
) -> None:
    """Write a PNG of an axial, a coronal and a sagittal slice through the middle of the organs.

    A volume of a single voxel along an axis (a 2D image) shows the plane across it only. An oblique grid is shown along
    its own axes, named for the nearest planes of the patient. CT is shown in a lung or a soft tissue window, other
    images between percentiles.

    Args:
        image: on the prediction's grid; its first channel is shown. None: black.
        prediction: label values.
        labels: their names and colours.
        path: of the PNG; its name without ".png" is the title, so let it be the case id and nothing else.
        reference: label values, if known.

    Raises:
        MedganError: if the volumes are not on one grid, or the picture cannot be written.
    """
    for name, other in (("image", image), ("reference", reference)):
        if other is not None and not same_grid(prediction, other):
            raise MedganError(
                f"overlay {path}: {name} and prediction must be on one grid, found {other.describe_grid()} and "
                f"{prediction.describe_grid()}."
            )
    slices = _slices(image, prediction, reference, labels, where=f"overlay {path}")
    figure = _draw(slices, labels, title=Path(path).stem)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a title in a script the font lacks shows boxes
        figure.savefig(temporary, format="png", dpi=_DPI)


def _slices(
    image: Volume | None, prediction: Volume, reference: Volume | None, labels: LabelMap, *, where: str
) -> list[_Slice]:
    """Return the planes to show, axial first."""
    order, flips = nearest_axes(prediction.affine)
    spacing_mm = [prediction.spacing_mm[axis] for axis in order]
    predicted = _along_ras(prediction, order, flips)
    expected = None if reference is None else _along_ras(reference, order, flips)
    grey = np.broadcast_to(np.float32(0), predicted.shape) if image is None else _along_ras(image, order, flips)
    organs = expected if expected is not None and expected.any() else predicted
    slices = []
    for axis in [a for a in range(3) if predicted.shape[a] == 1] or (2, 1, 0):
        index = _middle(organs, axis)
        column, row = (a for a in range(3) if a != axis)
        slices.append(
            _Slice(
                axis=axis,
                pixels=_picture(grey, axis, index),
                prediction=labels.to_classes(_picture(predicted, axis, index), where=where),
                reference=(
                    None if expected is None else labels.to_classes(_picture(expected, axis, index), where=where)
                ),
                width_mm=predicted.shape[column] * spacing_mm[column],
                height_mm=predicted.shape[row] * spacing_mm[row],
            )
        )
    return slices


def _along_ras(volume: Volume, order: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """Return the first channel, axes turned to R, A, S."""
    turned: np.ndarray = volume.data[0].transpose(order)
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _middle(organs: np.ndarray, axis: int) -> int:
    """Return the slice that halves the voxels of the organs along an axis; the middle one where there are none."""
    counts = np.count_nonzero(organs, axis=tuple(a for a in range(3) if a != axis)).cumsum()
    return int(np.searchsorted(counts, counts[-1] / 2)) if counts[-1] else organs.shape[axis] // 2


def _picture(data: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return a slice of R, A, S data as it is looked at: S (or A) from the top down, R (or A) from the left."""
    picture: np.ndarray = data.take(index, axis=axis)[::-1, ::-1].T
    return picture


def _draw(slices: Sequence[_Slice], labels: LabelMap, *, title: str) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import, wanted here only
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    pictures = [picture for s in slices for picture in (s.prediction, s.reference) if picture is not None]
    organs = [labels.organs[c - 1] for c in np.unique(np.concatenate([p.ravel() for p in pictures])).tolist() if c]
    layout = _layout(slices, num_organs=len(organs))
    figure = Figure(figsize=(layout.width, layout.height), facecolor="black")
    FigureCanvasAgg(figure)
    window = _window(slices)
    for item, (left, bottom, width, height) in zip(slices, layout.boxes, strict=True):
        box = (left / layout.width, bottom / layout.height, width / layout.width, height / layout.height)
        _draw_slice(figure.add_axes(box), item, labels, window)
    # parse_math: a case id with two dollar signs is not a formula
    title_y = 1 - _TITLE / 2 / layout.height
    figure.text(0.5, title_y, title, color="white", ha="center", va="center", fontsize=12, parse_math=False)
    handles = [Patch(color=_rgb(organ), label=organ.name) for organ in organs]
    figure.legend(
        handles=handles, loc="lower center", ncols=layout.columns, labelcolor="white", frameon=False, fontsize=9
    )
    return figure


def _layout(slices: Sequence[_Slice], *, num_organs: int) -> _Layout:
    """Return where things lie, all slices in one scale, side by side and centred."""
    gaps = _GAP * (len(slices) + 1)
    total_mm, tallest_mm = sum(s.width_mm for s in slices), max(s.height_mm for s in slices)
    scale = min((_MAX_WIDTH - gaps) / total_mm, _MAX_HEIGHT / tallest_mm)  # inches per mm
    width = max(scale * total_mm + gaps, _MIN_WIDTH)
    columns = max(1, min(num_organs, int(width / _LEGEND_COLUMN)))
    legend = _LEGEND_ROW * -(-num_organs // columns) + 0.1
    left, boxes = (width - scale * total_mm - gaps) / 2 + _GAP, []
    for item in slices:
        size = item.width_mm * scale, item.height_mm * scale
        boxes.append((left, legend + (tallest_mm * scale - size[1]) / 2, *size))
        left += size[0] + _GAP
    return _Layout(width, _TITLE + tallest_mm * scale + legend, tuple(boxes), columns)


def _draw_slice(axes: "Axes", item: _Slice, labels: LabelMap, window: tuple[float, float]) -> None:
    axes.set_axis_off()
    extent = (0.0, item.width_mm, item.height_mm, 0.0)
    axes.imshow(item.pixels, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="bilinear")
    fill = np.array([(0, 0, 0, 0), *((*_rgb(organ), _FILL_ALPHA) for organ in labels.organs)])
    axes.imshow(fill[item.prediction], extent=extent, interpolation="nearest")
    if item.reference is not None:
        rows, columns = item.reference.shape
        x_mm = (np.arange(-1, columns + 1) + 0.5) * item.width_mm / columns
        y_mm = (np.arange(-1, rows + 1) + 0.5) * item.height_mm / rows
        padded = np.pad(item.reference, 1)  # closes the outline of an organ at the border
        for number in np.unique(padded[padded > 0]):
            color = _rgb(labels.organs[number - 1])
            axes.contour(x_mm, y_mm, padded == number, levels=[0.5], colors=[color], linewidths=1.3)
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="auto")
    for x, text, align in zip((0.015, 0.985), _SIDES[item.axis], ("left", "right"), strict=True):
        axes.text(x, 0.5, text, transform=axes.transAxes, color="#c8c8c8", ha=align, va="center", fontsize=9)


def _window(slices: Sequence[_Slice]) -> tuple[float, float]:
    """Return the values to show black and white."""
    pixels = np.concatenate([s.pixels.ravel() for s in slices])
    pixels = pixels[np.isfinite(pixels)]
    if not pixels.size:
        return 0.0, 1.0
    if pixels.min() > _AIR_HU or pixels.max() < _SOFT_TISSUE_WINDOW[0]:  # not CT: no air or no tissue on its scale
        low, high = np.percentile(pixels, (1, 99.5))
        return float(low), float(max(high, low + 1e-6))
    organs = [s.pixels[(s.prediction if s.reference is None else s.reference) > 0] for s in slices]
    inside = np.concatenate([values.ravel() for values in organs])
    has_lung = inside.size > 0 and np.percentile(inside, 25) < _LUNG_HU
    return _LUNG_WINDOW if has_lung else _SOFT_TISSUE_WINDOW


def _rgb(organ: Organ) -> tuple[float, float, float]:
    red, green, blue = organ.color
    return red / 255, green / 255, blue / 255

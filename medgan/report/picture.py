"""Slices painted side by side: grey image, organs outlined, captions and a legend.

Painted with Pillow on whole arrays, so that a hundred organs take hardly longer than one. Lines are painted at twice
the size and averaged down, which smooths them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medgan.labels import Organ

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_MAX_WIDTH, _MAX_HEIGHT, _MIN_WIDTH = 1200, 700, 400  # pixels, of the slices together
_GAP, _TITLE, _ROW = 8, 34, 22  # pixels
_SWATCH, _TEXT_SIZE, _TITLE_SIZE = 22, 13, 16  # pixels
_FINER = 2  # the scale at which lines are painted
_PREDICTION_LINE, _REFERENCE_LINE, _CASING, _DASH = 4, 3, 2, 14  # finer pixels
_FILL_ALPHA, _CASING_ALPHA = 0.2, 0.8
_NUM_GREYS = 64  # of more, a PNG would have to keep the noise
_WHITE, _LIGHT = (255, 255, 255), (200, 200, 200)

_Color = tuple[int, int, int]


@dataclass(frozen=True)
class Slice:
    """One plane as it is looked at: rows from the top, columns from the left.

    Attributes:
        pixels: grey values.
        prediction: class indices.
        reference: class indices; None if unknown.
        width_mm: of the whole plane.
        height_mm: likewise.
        caption: which plane it is.
        sides: letters of the patient's side at the left and the right edge.
    """

    pixels: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray | None
    width_mm: float
    height_mm: float
    caption: str
    sides: tuple[str, str]


@dataclass(frozen=True)
class _Entry:
    """A line of the legend: "solid", "dashed" or "area", in a colour, and what it stands for."""

    look: str
    color: _Color
    text: str


@dataclass(frozen=True)
class _Layout:
    """Where things lie, in pixels; boxes are left, top, width, height of each slice."""

    width: int
    height: int
    boxes: tuple[tuple[int, int, int, int], ...]
    legend_top: int
    columns: int


def paint(slices: Sequence[Slice], organs: Sequence[Organ], *, window: tuple[float, float], title: str) -> "Image":
    """Return the slices side by side in one scale, with a title above and a legend below.

    The prediction is a solid line in the organ's colour with a faint fill, the reference a dashed white line with a
    dark casing: they are told apart without colours as well.

    Args:
        slices: at least one.
        organs: the first one is class 1.
        window: the grey values to show black and white.
        title: stands there as it is.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - wanted here only

    colors = np.array([(0, 0, 0), *(organ.color for organ in organs)], dtype=np.float32)
    entries = _legend(slices, organs)
    layout = _layout(slices, entries)
    picture = Image.new("RGB", (layout.width, layout.height))
    draw = ImageDraw.Draw(picture)
    for item, (left, top, width, height) in zip(slices, layout.boxes, strict=True):
        picture.paste(Image.fromarray(_painted(item, colors, (width, height), window)), (left, top))
        _write(draw, (left + 6, top + 5), item.caption, anchor="la")
        _write(draw, (left + 6, top + height // 2), item.sides[0], anchor="lm")
        _write(draw, (left + width - 6, top + height // 2), item.sides[1], anchor="rm")
    title = _shortened(title, layout.width - 2 * _GAP, _TITLE_SIZE)
    _write(draw, (layout.width // 2, _TITLE // 2), title, anchor="mm", size=_TITLE_SIZE, color=_WHITE)
    _draw_legend(draw, entries, layout)
    return picture


def _legend(slices: Sequence[Slice], organs: Sequence[Organ]) -> list[_Entry]:
    """Return what the lines mean and the organs that any slice shows."""
    pictures = [picture for s in slices for picture in (s.prediction, s.reference) if picture is not None]
    found = set().union(*(np.flatnonzero(np.bincount(picture.ravel())).tolist() for picture in pictures)) - {0}
    lines = [_Entry("solid", _LIGHT, "prediction")]
    if slices[0].reference is not None:
        lines.append(_Entry("dashed", _WHITE, "reference"))
    return lines + [_Entry("area", organs[number - 1].color, organs[number - 1].name) for number in sorted(found)]


def _layout(slices: Sequence[Slice], entries: Sequence[_Entry]) -> _Layout:
    """Return where things lie, all slices in one scale, side by side and centred."""
    gaps = _GAP * (len(slices) + 1)
    total_mm, tallest_mm = sum(s.width_mm for s in slices), max(s.height_mm for s in slices)
    scale = min((_MAX_WIDTH - gaps) / total_mm, _MAX_HEIGHT / tallest_mm)  # pixels per mm
    sizes = [(max(1, round(s.width_mm * scale)), max(1, round(s.height_mm * scale))) for s in slices]
    total, tallest = sum(width for width, _ in sizes) + gaps, max(height for _, height in sizes)
    width = max(total, _MIN_WIDTH)
    left, boxes = (width - total) // 2 + _GAP, []
    for size in sizes:
        boxes.append((left, _TITLE + (tallest - size[1]) // 2, *size))
        left += size[0] + _GAP
    columns = max(1, min(len(entries), (width - 2 * _GAP) // _column_width(entries)))
    legend_top = _TITLE + tallest + _GAP
    return _Layout(width, legend_top + _ROW * -(-len(entries) // columns) + _GAP, tuple(boxes), legend_top, columns)


def _painted(item: Slice, colors: np.ndarray, size: tuple[int, int], window: tuple[float, float]) -> np.ndarray:
    """Return a slice of `size` (width, height) with its outlines, uint8 (rows, columns, 3)."""
    finer = size[0] * _FINER, size[1] * _FINER
    prediction = _enlarged(item.prediction, finer)
    line = _inner_edge(prediction, _PREDICTION_LINE)
    alpha = np.where(line, np.float32(1), np.float32(_FILL_ALPHA)) * (prediction > 0)
    color = colors[prediction]
    if item.reference is not None:
        reference = _enlarged(item.reference, finer)
        outline = _inner_edge(reference, _REFERENCE_LINE)
        casing = _grown(outline, _CASING) & ~outline
        color[casing], color[outline] = 0, colors[reference[outline]]
        color[outline & _dash_pattern(reference)] = _WHITE
        alpha[casing] = np.maximum(alpha[casing], _CASING_ALPHA)
        alpha[outline] = 1
    grey = _grey(item.pixels, size, window)[..., None]
    painted = grey * (1 - _averaged(alpha[..., None])) + _averaged(color * alpha[..., None])
    picture: np.ndarray = painted.round().astype(np.uint8)
    return picture


def _grey(pixels: np.ndarray, size: tuple[int, int], window: tuple[float, float]) -> np.ndarray:
    """Return the windowed pixels of a slice at another size, 0 to 255."""
    from PIL import Image  # noqa: PLC0415 - wanted here only

    low, high = window
    share = np.clip((np.nan_to_num(pixels.astype(np.float32), nan=low) - low) / (high - low), 0, 1)
    resized = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BILINEAR))
    steps = _NUM_GREYS - 1
    grey: np.ndarray = np.round(resized * steps) * np.float32(255 / steps)
    return grey


def _enlarged(classes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return class indices at another size, the border of each organ where half of it and half of the rest meet."""
    from PIL import Image  # noqa: PLC0415 - wanted here only

    scales = size[1] / classes.shape[0], size[0] / classes.shape[1]
    enlarged = np.zeros(size[::-1], classes.dtype)
    for number, box in enumerate(ndimage.find_objects(classes.astype(np.intp, copy=False)), start=1):
        if box is None:
            continue
        starts = [max(0, side.start - 2) for side in box]
        ends = [min(n, side.stop + 2) for side, n in zip(box, classes.shape, strict=True)]
        rows, columns = (
            (int(a * scale), min(-int(-b * scale // 1), full))  # 7 * (116 / 7) is more than 116
            for a, b, scale, full in zip(starts, ends, scales, size[::-1], strict=True)
        )
        inner = tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))
        mask = Image.fromarray((classes[inner] == number).astype(np.uint8) * 255)
        source = [columns[0] / scales[1], rows[0] / scales[0], columns[1] / scales[1], rows[1] / scales[0]]
        within = np.clip(np.array(source) - np.tile([starts[1], starts[0]], 2), 0, [*mask.size, *mask.size])
        target = columns[1] - columns[0], rows[1] - rows[0]
        resized = mask.resize(target, Image.Resampling.BILINEAR, box=tuple(within.tolist()))
        enlarged[slice(*rows), slice(*columns)][np.asarray(resized) > 127] = number
    return enlarged


def _inner_edge(classes: np.ndarray, width: int) -> np.ndarray:
    """Return where an organ is within `width` pixels of anything else; the border of the slice is something else."""
    padded = np.pad(classes, width)
    edge = np.zeros(classes.shape, bool)
    rows, columns = classes.shape
    for down, right in _disc(width):
        edge |= padded[width + down : width + down + rows, width + right : width + right + columns] != classes
    return edge & (classes > 0)


def _grown(mask: np.ndarray, width: int) -> np.ndarray:
    """Return a mask with everything within `width` pixels."""
    padded, grown = np.pad(mask, width), mask.copy()
    rows, columns = mask.shape
    for down, right in _disc(width):
        grown |= padded[width + down : width + down + rows, width + right : width + right + columns]
    return grown


def _disc(radius: int) -> list[tuple[int, int]]:
    """Return the steps to the rim of a disc, and of one of half the size, so that nothing thin slips through."""
    steps = set()
    for r in {radius, (radius + 1) // 2}:
        for angle in np.arange(0, 2 * np.pi, np.pi / 4):
            steps.add((round(r * np.sin(angle)), round(r * np.cos(angle))))
    return sorted(steps)


def _dash_pattern(classes: np.ndarray) -> np.ndarray:
    """Return stripes that cut the outlines into dashes: across the slope, whichever way an outline runs."""
    blurred = ndimage.uniform_filter((classes % 7 * 36).astype(np.uint8), 15)
    down = ndimage.sobel(blurred, axis=0, output=np.int16)
    right = ndimage.sobel(blurred, axis=1, output=np.int16)
    row, column = np.ogrid[: classes.shape[0], : classes.shape[1]]
    falls = (down > 0) == (right > 0)  # the outline runs from bottom left to top right
    is_dash: np.ndarray = np.where(falls, column - row, column + row) // _DASH % 2 == 0
    return is_dash


def _averaged(finer: np.ndarray) -> np.ndarray:
    """Return an array (rows, columns, channels) at the size of the picture."""
    parts = [finer[row::_FINER, column::_FINER] for row in range(_FINER) for column in range(_FINER)]
    averaged: np.ndarray = sum(parts[1:], start=parts[0]) / len(parts)
    return averaged


def _draw_legend(draw: "ImageDraw", entries: Sequence[_Entry], layout: _Layout) -> None:
    column_width = _column_width(entries)
    left = (layout.width - column_width * layout.columns + _GAP) // 2
    for index, entry in enumerate(entries):
        x = left + index % layout.columns * column_width
        y = layout.legend_top + index // layout.columns * _ROW + _ROW // 2
        if entry.look == "area":
            draw.rectangle((x, y - 6, x + _SWATCH, y + 6), fill=entry.color)
        for start in range(x, x + _SWATCH, 8) if entry.look == "dashed" else ():
            draw.rectangle((start, y - 1, start + 4, y), fill=entry.color)
        if entry.look == "solid":
            draw.rectangle((x, y - 1, x + _SWATCH, y), fill=entry.color)
        text = _shortened(entry.text, layout.width - _SWATCH - 4 * _GAP, _TEXT_SIZE)
        _write(draw, (x + _SWATCH + 6, y), text, anchor="lm")


def _column_width(entries: Sequence[_Entry]) -> int:
    return _SWATCH + 6 + 2 * _GAP + max(int(_font(_TEXT_SIZE).getlength(entry.text)) for entry in entries)


def _write(
    draw: "ImageDraw",
    place: tuple[int, int],
    text: str,
    *,
    anchor: str,
    size: int = _TEXT_SIZE,
    color: _Color = _LIGHT,
) -> None:
    """Write light text with a dark rim, so that it is legible on anything."""
    draw.text(place, text, fill=color, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _shortened(text: str, width: int, size: int) -> str:
    """Return text on one line, cut with an ellipsis where it would be wider than `width` pixels."""
    text = " ".join(text.encode(errors="replace").decode().split())
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


@lru_cache(maxsize=4)
def _font(size: int) -> "FreeTypeFont":
    from PIL import ImageFont  # noqa: PLC0415 - wanted here only

    found = find_spec("matplotlib")  # its fonts are wanted, not itself: importing it takes longer than a picture
    assert found is not None  # a dependency
    assert found.origin is not None
    return ImageFont.truetype(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)

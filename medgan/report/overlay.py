"""A picture of one case: slices through the organs with prediction and reference outlined.

Radiological convention: the patient's right is on the left of the picture, front or head is up.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.labels import LabelMap
from medgan.report.picture import Slice, paint
from medgan.report.slice_choice import telling_voxel
from medgan.report.window import is_ct, window_of
from medgan.volume.affine import nearest_axes
from medgan.volume.volume import Volume, same_grid

_PLANES = ("sagittal", "coronal", "axial")  # across R, across A, across S
_SIDES = (("A", "P"), ("R", "L"), ("R", "L"))  # at the left and right edge of each
_MAX_BYTES = 250_000  # a report of 24 cases stays small enough to be mailed
_LEAST_MARGIN_MM, _MARGIN = 20.0, 0.4  # around the organs; a share of their longer side


def write_overlay(
    image: Volume | None,
    prediction: Volume,
    labels: LabelMap,
    path: str | Path,
    *,
    reference: Volume | None = None,
) -> None:
    """Write a PNG of an axial, a coronal and a sagittal slice: where prediction and reference disagree most.

    The slices are those that hold most of what the organs lack in Dice, each organ counting the same whatever its
    size; where nothing is lacking, or without a reference, they go through the middle of the organs. Each is captioned
    with its plane and voxel index.

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
    from PIL.Image import Dither, Quantize  # noqa: PLC0415 - wanted here only

    slices = _slices(image, prediction, reference, labels, where=f"overlay {path}")
    cropped = [_cropped(item) for item in slices]
    picture = paint(cropped, labels.organs, window=_window(slices), title=Path(path).stem)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="png")
        if temporary.stat().st_size > _MAX_BYTES:  # noise
            picture.quantize(method=Quantize.FASTOCTREE, dither=Dither.NONE).save(temporary, format="png")


def _slices(
    image: Volume | None, prediction: Volume, reference: Volume | None, labels: LabelMap, *, where: str
) -> list[Slice]:
    """Return the planes to show, axial first."""
    order, flips = nearest_axes(prediction.affine)
    spacing_mm, shape = prediction.spacing_mm, prediction.shape
    point = telling_voxel(prediction, reference, labels, where=where)
    slices = []
    for world in [n for n in range(3) if shape[order[n]] == 1] or (2, 1, 0):
        axis = order[world]
        column, row = (order[n] for n in range(3) if n != world)

        def seen(volume: Volume, world: int = world, axis: int = axis) -> np.ndarray:
            return _plane(volume, world, point[axis], order, flips)

        predicted = labels.to_classes(seen(prediction), where=where)
        slices.append(
            Slice(
                pixels=np.zeros(predicted.shape, np.float32) if image is None else seen(image),
                prediction=predicted,
                reference=None if reference is None else labels.to_classes(seen(reference), where=where),
                width_mm=shape[column] * spacing_mm[column],
                height_mm=shape[row] * spacing_mm[row],
                caption="" if shape[axis] == 1 else f"{_PLANES[world]}, {'ijk'[axis]} = {point[axis]}",
                sides=_SIDES[world],
            )
        )
    return slices


def _plane(volume: Volume, world: int, index: int, order: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """Return a slice of the first channel as it is looked at: S (or A) from the top down, R (or A) from the left."""
    kept = volume.data[0][(slice(None),) * order[world] + (slice(index, index + 1),)]
    along_ras = kept.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    picture: np.ndarray = along_ras.squeeze(world)[::-1, ::-1].T
    return picture


def _cropped(item: Slice) -> Slice:
    """Return the part of a slice around its organs; all of it where there are none."""
    organs = item.prediction > 0 if item.reference is None else (item.prediction > 0) | (item.reference > 0)
    if not organs.any():
        return item
    sizes_mm = item.height_mm / organs.shape[0], item.width_mm / organs.shape[1]
    found = [np.flatnonzero(organs.any(axis)) for axis in (1, 0)]
    longest_mm = max((along[-1] + 1 - along[0]) * mm for along, mm in zip(found, sizes_mm, strict=True))
    margin_mm = max(_MARGIN * longest_mm, _LEAST_MARGIN_MM)
    rows, columns = (
        slice(max(0, along[0] - round(margin_mm / mm)), along[-1] + 1 + round(margin_mm / mm))
        for along, mm in zip(found, sizes_mm, strict=True)
    )
    pixels = item.pixels[rows, columns]
    return replace(
        item,
        pixels=pixels,
        prediction=item.prediction[rows, columns],
        reference=None if item.reference is None else item.reference[rows, columns],
        width_mm=pixels.shape[1] * sizes_mm[1],
        height_mm=pixels.shape[0] * sizes_mm[0],
    )


def _window(slices: Sequence[Slice]) -> tuple[float, float]:
    """Return the values to show black and white."""
    pixels = np.concatenate([s.pixels.ravel() for s in slices])
    pixels = pixels[np.isfinite(pixels)]
    if not pixels.size:
        return 0.0, 1.0
    organs = [s.pixels[(s.prediction if s.reference is None else s.reference) > 0] for s in slices]
    return window_of(pixels, np.concatenate([values.ravel() for values in organs]), ct=is_ct(pixels))

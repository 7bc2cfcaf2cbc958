"""Resampling: along the axes of a grid by matrix products, and onto any other grid by affine."""

import numpy as np

from medgan.errors import MedganError
from medgan.volume.volume import Volume, same_grid

_TIE = np.float32(1e-4)  # shares closer than this count as equal; float32 sums of weights differ by less


def interpolation_matrix(size_in: int, size_out: int, step: float) -> np.ndarray:
    """Return the (size_out, size_in) float32 weights that resample one axis about its centre.

    Output voxel n lies `step` input voxels from output voxel n - 1, and both grids share their centre. A weight is how
    much of an input voxel lies under an output voxel, which is taken at least as wide as an input voxel: linear
    interpolation where `step` <= 1, the mean over the output voxel beyond, so that noise and edges are averaged
    instead of skipped. Weights are never negative and every row sums to 1; positions outside the input take its edge.
    """
    positions = (np.arange(size_out) - (size_out - 1) / 2) * step + (size_in - 1) / 2
    offsets = np.arange(size_in) - positions.clip(0, size_in - 1)[:, None]
    half = max(1.0, step) / 2
    weights = np.maximum(0.0, np.minimum(offsets + 0.5, half) - np.maximum(offsets - 0.5, -half))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def resample_axes(data: np.ndarray, matrices: tuple[np.ndarray | None, ...]) -> np.ndarray:
    """Return `data` (C, I, J, K) with each spatial axis multiplied by its matrix; None leaves an axis as it is.

    Axes that shrink most go first, so that the later products are small.
    """
    result = data.astype(np.float32, copy=False)
    shrinking = sorted(
        ((matrix.shape[0] / matrix.shape[1], axis) for axis, matrix in enumerate(matrices, 1) if matrix is not None)
    )
    for _, axis in shrinking:
        matrix = matrices[axis - 1]
        result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)  # type: ignore[arg-type]
    return np.ascontiguousarray(result)


def resample_classes(classes: np.ndarray, matrices: tuple[np.ndarray | None, ...]) -> np.ndarray:
    """Return class indices (I, J, K) resampled by the same weights: the class that covers most of a voxel.

    Where classes cover a voxel equally, as is common at a factor of 2, the nearest source voxel decides. If the lower
    class did, every organ would lose its ties to the background: a ball of 16 voxels across would shrink by 7 percent.
    """
    if all(matrix is None for matrix in matrices):
        return classes
    nearest = classes[np.ix_(*map(_nearest_indices, matrices, classes.shape))]
    best_share: np.ndarray | None = None
    result = np.zeros(0, dtype=classes.dtype)
    for index in np.unique(classes):
        share = resample_axes((classes == index)[None], matrices)[0] + _TIE * (nearest == index)
        if best_share is None:
            best_share, result = share, np.full(share.shape, index, dtype=classes.dtype)
            continue
        wins = share > best_share
        result[wins] = index
        best_share[wins] = share[wins]
    return result


def _nearest_indices(matrix: np.ndarray | None, size_in: int) -> np.ndarray:
    """Return the input voxel of greatest weight for each output voxel of an axis."""
    return np.arange(size_in) if matrix is None else matrix.argmax(axis=1)


def resample_label_to(label: Volume, image: Volume, *, where: str) -> Volume:
    """Return a label volume brought onto the grid of `image` by affine: each voxel takes the nearest label voxel.

    Raises:
        MedganError: if labelled voxels exist but none falls inside the image, as with unrelated geometries.
    """
    moved = nearest_label_on(label, image)
    if label.data.any() and not moved.data.any():
        raise MedganError(
            f"{where}: no labelled voxel falls inside the grid it is brought onto; it lies on "
            f"{label.describe_grid()}, the other is {image.describe_grid()}."
        )
    return moved


def nearest_label_on(label: Volume, image: Volume) -> Volume:
    """Return what `resample_label_to` does, but an empty volume if no labelled voxel falls inside the image."""
    if same_grid(label, image):
        return Volume(label.data, image.affine)
    from scipy.ndimage import affine_transform  # noqa: PLC0415  0.2 s that only such cohorts need

    matrix = np.linalg.inv(label.affine) @ image.affine
    # "constant" would drop what lies in the outer half of the border voxels, or 1e-15 beyond their centres
    moved = affine_transform(label.data[0], matrix, output_shape=image.shape, order=0, mode="grid-constant", cval=0)
    return Volume(moved[None], image.affine)

"""Training patches as a pure function of a seed and an index, so that training resumes where it stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from medgan.config import AugmentationConfig
from medgan.preprocessing.augment import apply_intensity, draw_augmentation, mirror, warp_grid
from medgan.preprocessing.patches import choose_centre, cut, warp
from medgan.preprocessing.prepare import Prepared

_THICK = 3.0  # slice thickness over pixel size beyond which augmentation stays in the plane
_VOXELS_KEPT = 5000  # candidate patch centres remembered per case and organ


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A prepared, labelled case.

    Attributes:
        case_id: names it in messages.
        prepared: its image.
        classes: (I, J, K) class indices on the prepared grid.
        voxels_of_class: for each organ class present, (N, 3) of its voxels, as patch centres.
        fill: image value outside the volume.
    """

    case_id: str
    prepared: Prepared
    classes: np.ndarray
    voxels_of_class: dict[int, np.ndarray] = field(init=False)
    fill: float = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        voxels_of_class = {}
        for index in range(1, int(self.classes.max(initial=0)) + 1):
            flat = np.flatnonzero(self.classes == index)
            if flat.size:
                kept = rng.choice(flat, size=min(_VOXELS_KEPT, flat.size), replace=False)
                voxels_of_class[index] = np.stack(np.unravel_index(kept, self.classes.shape), axis=1)
        object.__setattr__(self, "voxels_of_class", voxels_of_class)
        object.__setattr__(self, "fill", float(self.prepared.image.min()))


class Patch(TypedDict):
    """One training patch: image (C, I, J, K) float32, classes (I, J, K) int64, and the case it was cut from."""

    image: torch.Tensor
    classes: torch.Tensor
    case_id: str


class PatchDataset(Dataset[Patch]):
    """Random, augmented patches of labelled cases.

    Patch n is the same whenever it is asked for, by whichever process: its randomness comes from (seed, n) alone.
    Every case is visited once before any is visited again.

    Args:
        cases: what to cut from.
        size: patch size (I, J, K).
        num_patches: length of the data set.
        augmentation: what to change.
        foreground_fraction: fraction of patches centred on an organ.
        mirrored_classes: for each class, its mirror partner (`LabelMap.mirrored_classes`).
        seed: seed of order, places and changes.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        *,
        size: tuple[int, int, int],
        num_patches: int,
        augmentation: AugmentationConfig,
        foreground_fraction: float,
        mirrored_classes: tuple[int, ...],
        seed: int,
    ) -> None:
        self.cases = list(cases)
        self.size = size
        self.num_patches = num_patches
        self.augmentation = augmentation
        self.foreground_fraction = foreground_fraction
        self.mirrored_classes = mirrored_classes
        self.seed = seed

    def __len__(self) -> int:
        return self.num_patches

    def __getitem__(self, index: int) -> Patch:
        case = self._case_at(index)
        rng = np.random.default_rng([self.seed, 1, index])
        image, classes = self._cut(case, rng)
        return {
            "image": torch.from_numpy(image),
            "classes": torch.from_numpy(classes.astype(np.int64)),
            "case_id": case.case_id,
        }

    def _case_at(self, index: int) -> TrainingCase:
        epoch, position = divmod(index, len(self.cases))
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.cases))
        return self.cases[int(order[position])]

    def _cut(self, case: TrainingCase, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image = case.prepared.image
        centre = choose_centre(
            case.classes.shape, self.size, case.voxels_of_class, rng, foreground_fraction=self.foreground_fraction
        )
        augmentation = draw_augmentation(
            self.augmentation, rng, is_planar=_is_planar(self.size, case.prepared.spacing_mm)
        )
        offsets = warp_grid(augmentation, self.size, case.prepared.spacing_mm)
        if offsets is None:
            patch = cut(image, centre, self.size, fill=case.fill)
            classes = cut(case.classes[None], centre, self.size, fill=0)[0]
        else:
            patch, classes = warp(image, case.classes, centre, offsets, fill=case.fill)
        if augmentation.mirrored:
            patch, classes = mirror(patch, classes, self.mirrored_classes)
        return apply_intensity(patch, augmentation), classes


def _is_planar(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> bool:
    """Return whether turning a patch out of its plane would mix single images or slices too thick to interpolate."""
    return size[2] == 1 or spacing_mm[2] > _THICK * min(spacing_mm[:2])


def median_spacing(cases: Sequence[TrainingCase]) -> tuple[float, float, float]:
    """Return the median spacing of prepared cases along R, A, S in mm."""
    i, j, k = np.median([case.prepared.spacing_mm for case in cases], axis=0)
    return float(i), float(j), float(k)

"""Training patches: a pure function of seed and index."""

from typing import Any

import numpy as np
import pytest
import torch
from phantoms import box_volume
from torch.utils.data import DataLoader

from medgan.config import AugmentationConfig
from medgan.labels import LabelMap
from medgan.preprocessing.dataset import PatchDataset, TrainingCase, median_spacing
from medgan.preprocessing.prepare import prepare, prepare_classes

LABELS = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3})
PLAIN = AugmentationConfig(
    affine_probability=0,
    mirror=False,
    intensity_probability=0,
    gamma_probability=0,
    noise_probability=0,
    blur_probability=0,
    low_resolution_probability=0,
)


def training_case(
    case_id: str = "a", shape: tuple[int, ...] = (16, 14, 12), spacing_mm: tuple[float, ...] = (1.5, 2.0, 3.0)
) -> TrainingCase:
    affine = np.diag([*spacing_mm, 1.0])
    prepared = prepare(box_volume(shape, affine), spacing_mm=None, intensity="window")
    return TrainingCase(case_id, prepared, prepare_classes(box_volume(shape, affine, labels=True).data[0], prepared))


def dataset(*cases: TrainingCase, **changes: Any) -> PatchDataset:
    settings: dict[str, Any] = {
        "size": (8, 8, 8),
        "num_patches": 24,
        "augmentation": AugmentationConfig(elastic_probability=0.5),
        "foreground_fraction": 0.5,
        "mirrored_classes": LABELS.mirrored_classes,
        "seed": 3,
    }
    return PatchDataset(cases or (training_case(),), **settings | changes)


def test_patch_depends_on_seed_and_index_alone() -> None:
    patches = dataset()
    backwards = [patches[n] for n in range(9, -1, -1)][::-1]
    again = dataset()
    for n in range(10):
        assert torch.equal(again[n]["image"], backwards[n]["image"])
        assert torch.equal(again[n]["classes"], backwards[n]["classes"])
    assert not torch.equal(patches[0]["image"], patches[1]["image"])
    assert not torch.equal(patches[0]["image"], dataset(seed=4)[0]["image"])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12+ warns of any fork beside threads
def test_worker_processes_give_the_same_patches() -> None:
    patches = dataset(training_case("a"), training_case("b", (10, 20, 9)), num_patches=6)
    from_workers = list(DataLoader(patches, batch_size=2, num_workers=2))
    for batch, first in zip(from_workers, (0, 2, 4), strict=True):
        for key in ("image", "classes"):
            assert torch.equal(batch[key], torch.stack([patches[first][key], patches[first + 1][key]]))
        assert list(batch["case_id"]) == [patches[first]["case_id"], patches[first + 1]["case_id"]]


def test_every_case_is_visited_once_an_epoch_in_changing_order() -> None:
    patches = dataset(*[training_case(f"case_{n}", (9, 9, 9)) for n in range(5)], num_patches=40)
    visited = [patches[n]["case_id"] for n in range(40)]
    epochs = [tuple(visited[first : first + 5]) for first in range(0, 40, 5)]
    assert all(sorted(epoch) == [f"case_{n}" for n in range(5)] for epoch in epochs)
    assert len(set(epochs)) > 1


def test_patch_has_its_types_and_shapes() -> None:
    patches = dataset()
    patch = patches[5]
    assert (len(patches), patch["case_id"]) == (24, "a")
    assert (patch["image"].shape, patch["image"].dtype) == ((1, 8, 8, 8), torch.float32)
    assert (patch["classes"].shape, patch["classes"].dtype) == ((8, 8, 8), torch.int64)


def test_plain_patch_is_a_piece_of_the_volume() -> None:
    case = training_case()
    patches = dataset(case, augmentation=PLAIN)
    windows = np.lib.stride_tricks.sliding_window_view(case.prepared.image[0], (8, 8, 8))
    labels = np.lib.stride_tricks.sliding_window_view(case.classes, (8, 8, 8))
    for n in range(8):
        image, classes = patches[n]["image"].numpy()[0], patches[n]["classes"].numpy()
        (place,) = np.argwhere((windows == image).all(axis=(3, 4, 5)))
        np.testing.assert_array_equal(classes, labels[tuple(place)])


def test_image_and_labels_stay_together_when_moved() -> None:
    # an image that is its own label map: what the warp does to one, it does to the other
    case = training_case(shape=(24, 24, 24), spacing_mm=(1.0, 1.0, 2.0))
    case.prepared.image[0] = case.classes
    moving = PLAIN.model_copy(update={"affine_probability": 1.0, "elastic_probability": 1.0})
    for n in range(6):
        patch = dataset(case, augmentation=moving)[n]
        difference = (patch["image"][0] - patch["classes"]).abs()
        assert (difference > 1.6).float().mean() < 0.02  # nearest and linear differ by half a step between classes
        assert (difference < 1e-3).float().mean() > 0.4


def test_mirrored_patch_has_its_lungs_swapped() -> None:
    case = training_case()
    mirroring = PLAIN.model_copy(update={"mirror": True})
    num_mirrored = 0
    for n in range(24):
        plain, patch = dataset(case, augmentation=PLAIN)[n], dataset(case, augmentation=mirroring)[n]
        if torch.equal(plain["image"], patch["image"]):
            assert torch.equal(plain["classes"], patch["classes"])
            continue
        num_mirrored += 1
        assert torch.equal(patch["image"], plain["image"].flip(1))
        swapped = torch.tensor([0, 2, 1, 3])[plain["classes"].flip(0)]
        assert torch.equal(patch["classes"], swapped)
    assert 5 <= num_mirrored <= 19


def test_always_foreground_has_an_organ_in_the_middle() -> None:
    patches = dataset(augmentation=PLAIN, foreground_fraction=1.0, size=(3, 3, 3))
    classes = torch.stack([patches[n]["classes"] for n in range(24)])
    inner = classes[:, 1, 1, 1] > 0
    assert (classes.flatten(1) > 0).any(dim=1).all()
    assert inner.float().mean() > 0.8  # the others are organ voxels at the border of the volume
    assert set(classes[inner][:, 1, 1, 1].tolist()) == {1, 2, 3}


def test_small_volume_is_filled_with_its_lowest_intensity() -> None:
    case = training_case(shape=(5, 6, 8))
    assert case.fill == case.prepared.image.min()
    patch = dataset(case, augmentation=PLAIN)[0]
    np.testing.assert_array_equal(patch["image"][0, 1:6, 1:7], case.prepared.image[0])
    np.testing.assert_array_equal(patch["classes"][1:6, 1:7], case.classes)
    assert (patch["image"][0, 6:] == case.fill).all()
    assert not patch["classes"][:, 7:].any()


@pytest.mark.parametrize(("num_slices", "length"), [(1, 1), (3, 4), (5, 4), (6, 6)])
def test_thick_slices_are_never_mixed(num_slices: int, length: int) -> None:
    prepared = training_case(shape=(80, 80, num_slices), spacing_mm=(1.5, 1.5, 8.0)).prepared
    prepared.image[0] = np.arange(num_slices)
    classes = np.zeros((80, 80, num_slices), np.uint8)
    classes[38:42, 38:42] = 1  # keeps the patches far from the border, where the fill is
    changes = ("affine", "elastic", "blur", "low_resolution")
    moving = PLAIN.model_copy(update={f"{name}_probability": 1.0 for name in changes})
    patches = dataset(
        TrainingCase("a", prepared, classes), augmentation=moving, size=(8, 8, length), foreground_fraction=1.0
    )
    for n in range(6):
        image = patches[n]["image"][0]
        assert torch.allclose(image, image.round(), atol=1e-3)
        steps = image.round()[..., 1:] - image.round()[..., :-1]
        assert (steps[..., : num_slices - 1] == 1).all()


def test_organ_voxels_are_remembered_per_class() -> None:
    case = training_case()
    assert sorted(case.voxels_of_class) == [1, 2, 3]
    for index, voxels in case.voxels_of_class.items():
        assert (case.classes[tuple(voxels.T)] == index).all()
        assert len(np.unique(voxels, axis=0)) == (case.classes == index).sum()


def test_unlabelled_case_gives_patches_too() -> None:
    case = training_case()
    empty = TrainingCase("empty", case.prepared, np.zeros_like(case.classes))
    assert empty.voxels_of_class == {}
    assert not dataset(empty, foreground_fraction=1.0)[0]["classes"].any()


def test_median_spacing_is_per_axis() -> None:
    cases = [training_case(spacing_mm=spacing) for spacing in ((1.0, 2.0, 9.0), (3.0, 1.0, 5.0), (2.0, 3.0, 7.0))]
    assert median_spacing(cases) == pytest.approx((2.0, 2.0, 7.0))

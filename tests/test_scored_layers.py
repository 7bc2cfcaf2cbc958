"""Organs that overlap: each is scored by its own whole mask, whatever the format they come in."""

from pathlib import Path

import numpy as np
import pytest
import segmentations
from phantoms import box_volume
from test_seg_nrrd import LAYERS, slicer_file

from medgan.config import EvaluationConfig
from medgan.evaluation.evaluate import Evaluated, evaluate_pair
from medgan.evaluation.layers import layers_of
from medgan.evaluation.scores import Score, score_case
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

LABELS = LabelMap.from_mapping(
    {
        **{"liver": 1, "tumor": 2, "spleen": 3},
        **{"both": {"organs": ["liver", "tumor"]}, "sides": {"organs": ["liver", "spleen"]}},
    }
)
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
VOXEL_ML = 0.006


def box(start: int, stop: int) -> np.ndarray:
    """Return a mask of 20 x 4 x 4 voxels with i from `start` to `stop` and 2 x 2 voxels across."""
    mask = np.zeros((20, 4, 4), np.uint8)
    mask[start:stop, 1:3, 1:3] = 1
    return mask


def write_masks(folder: Path, **masks: np.ndarray) -> Path:
    for name, mask in masks.items():
        write_volume(Volume(mask[None], AFFINE), folder / f"{name}.nii.gz")
    return folder


def evaluated(reference: Path, prediction: Path, labels: LabelMap = LABELS, **more: Path) -> Evaluated:
    found = evaluate_pair(Pair("p", reference, prediction, **more), labels=labels, settings=EvaluationConfig())
    assert not found.problem
    return found


def by_organ(found: Evaluated) -> dict[str, Score]:
    return {score.organ: score for score in found.scores}


def test_masks_that_overlap_are_scored_whole(tmp_path: Path) -> None:
    liver, spleen = box(2, 12), box(15, 19)
    reference = write_masks(tmp_path / "r", liver=liver, tumor=box(4, 8), spleen=spleen)
    found = evaluated(reference, write_masks(tmp_path / "p", liver=liver, tumor=box(4, 6), spleen=spleen))
    assert [score.organ for score in found.scores] == ["liver", "tumor", "spleen", "both", "sides"]
    scores = by_organ(found)
    assert [scores[name]["dice"] for name in ("liver", "spleen", "both", "sides")] == [1.0, 1.0, 1.0, 1.0]
    assert scores["tumor"]["dice"] == pytest.approx(2 * 2 / (4 + 2))
    assert scores["tumor"]["hausdorff_mm"] == 4.0
    assert scores["liver"]["reference_ml"] == pytest.approx(10 * 4 * VOXEL_ML)
    assert scores["both"]["reference_ml"] == pytest.approx(10 * 4 * VOXEL_ML)
    assert scores["sides"]["reference_ml"] == pytest.approx(14 * 4 * VOXEL_ML)
    assert scores["liver"]["hd95_mm"] == 0.0
    assert found.notes == (
        "reference r: organs share voxels: liver and tumor in 16; each is scored by its whole mask, and pictures show "
        "the later one there.",
        "prediction p: organs share voxels: liver and tumor in 8; each is scored by its whole mask, and pictures show "
        "the later one there.",
    )


def test_an_organ_inside_another_of_the_other_side_alone_is_scored_whole(tmp_path: Path) -> None:
    reference = write_masks(tmp_path / "r", liver=box(2, 6), tumor=box(6, 12))
    scores = by_organ(evaluated(reference, write_masks(tmp_path / "p", liver=box(2, 12), tumor=box(6, 12))))
    assert scores["liver"]["dice"] == pytest.approx(2 * 4 / (4 + 10))
    assert (scores["tumor"]["dice"], scores["both"]["dice"]) == (1.0, 1.0)


def test_layers_of_a_seg_nrrd_are_scored_whole(tmp_path: Path) -> None:
    keys = "".join(f"Segment{n}_Name:={name}\nSegment{n}_Layer:={n}\n" for n, name in enumerate(("liver", "tumor")))
    voxels = np.zeros((2, 4, 3, 2), np.uint8)
    voxels[0], voxels[1, 1:3] = 1, 1
    reference = slicer_file(tmp_path / "r.seg.nrrd", voxels, keys, grid=LAYERS)
    voxels[1, 2] = 0
    scores = by_organ(evaluated(reference, slicer_file(tmp_path / "p.seg.nrrd", voxels, keys, grid=LAYERS)))
    assert (scores["liver"]["dice"], scores["liver"]["reference_ml"]) == (1.0, pytest.approx(24 * VOXEL_ML))
    assert scores["tumor"]["dice"] == pytest.approx(2 * 6 / (12 + 6))
    assert scores["spleen"].is_absent


def test_segments_of_a_dicom_seg_are_scored_whole_on_the_grid_that_holds_both(tmp_path: Path) -> None:
    label = box_volume(labels=True)
    labels = LabelMap.from_mapping({"Lung_L": 1, "Lung_R": 2, "Heart": 3})

    def doubled(frames: list) -> list:  # the heart takes two slices of the left lung as well
        return [*frames, *[(3, k, stored) for number, k, stored in frames if number == 1 and k in (0, 2)]]

    reference = segmentations.write_seg(tmp_path / "r.dcm", label)
    scores = by_organ(evaluated(reference, segmentations.write_seg(tmp_path / "p.dcm", label, order=doubled), labels))
    heart, more = np.count_nonzero(label.data == 3), np.count_nonzero(label.data[..., [0, 2]] == 1)
    assert (scores["Lung_L"]["dice"], scores["Lung_R"]["dice"]) == (1.0, 1.0)
    assert scores["Heart"]["dice"] == pytest.approx(2 * heart / (2 * heart + more))


def test_masks_that_overlap_are_scored_whole_against_values_and_that_is_told(tmp_path: Path) -> None:
    values = box(2, 12) + box(4, 8) + 9 * box(13, 14)  # the tumour is cut out of the liver; 9 is ignored
    labels = LabelMap(LABELS.organs, LABELS.groups, ignored=(9,))
    write_volume(Volume(values[None], AFFINE), tmp_path / "r.nii.gz")
    masks = write_masks(tmp_path / "p", liver=box(2, 14), tumor=box(4, 8))
    found = evaluated(tmp_path / "r.nii.gz", masks, labels)
    scores = by_organ(found)
    assert scores["liver"]["dice"] == pytest.approx(2 * 6 / (6 + 11))  # of 12, one is ignored
    assert scores["tumor"]["dice"] == 1.0
    assert scores["both"]["dice"] == pytest.approx(2 * 10 / (10 + 11))
    assert found.notes[0].startswith(
        "reference r.nii.gz has one organ a voxel, and is scored against masks that overlap"
    )


def test_a_value_that_is_no_organ_is_refused_beside_masks_that_overlap(tmp_path: Path) -> None:
    write_volume(Volume(8 * box(2, 12)[None], AFFINE), tmp_path / "r.nii.gz")
    pair = Pair("p", tmp_path / "r.nii.gz", write_masks(tmp_path / "p", liver=box(2, 14), tumor=box(4, 8)))
    found = evaluate_pair(pair, labels=LABELS, settings=EvaluationConfig())
    assert found.problem.startswith("reference: label values [8] are not in the label map")


def test_masks_that_overlap_are_resampled_whole_and_only_the_region_counts(tmp_path: Path) -> None:
    reference = write_masks(tmp_path / "r", liver=box(2, 12), tumor=box(4, 8))
    predicted = write_masks(tmp_path / "p", liver=box(2, 12), tumor=box(4, 8))
    for path in predicted.iterdir():
        data = np.repeat(box(2, 12) if "liver" in path.name else box(4, 8), 2, axis=0)  # half as long
        write_volume(Volume(data[None], np.diag([1.0, 1.0, 3.0, 1.0])), path)
    region = tmp_path / "region.nii.gz"
    write_volume(Volume(box(0, 6)[None], AFFINE), region)
    pair = Pair("p", reference, predicted, region=region)
    found = evaluate_pair(pair, labels=LABELS, settings=EvaluationConfig(), resample=True)
    assert found.is_resampled
    scores = by_organ(found)
    assert (scores["liver"]["dice"], scores["tumor"]["dice"]) == (1.0, 1.0)
    assert scores["liver"]["reference_ml"] == pytest.approx(4 * 4 * VOXEL_ML)


def test_without_overlap_masks_score_as_the_values_do(tmp_path: Path) -> None:
    reference = write_masks(tmp_path / "r", liver=box(2, 8), tumor=box(8, 12), spleen=box(14, 19))
    found = evaluated(reference, write_masks(tmp_path / "p", liver=box(2, 9), tumor=box(9, 12), spleen=box(14, 18)))
    volumes = [
        Volume((liver + 2 * tumor + 3 * spleen)[None], AFFINE)
        for liver, tumor, spleen in ((box(2, 8), box(8, 12), box(14, 19)), (box(2, 9), box(9, 12), box(14, 18)))
    ]
    assert repr(found.scores) == repr(tuple(score_case(*volumes, LABELS, case_id="p")))
    assert found.notes == ()


def test_layers_are_few_and_keep_order_groups_and_what_is_ignored() -> None:
    labels = LabelMap(LABELS.organs, LABELS.groups, ignored=(9,))
    around, inside, group = layers_of(labels, [("tumor", "liver"), ("tumor", "spleen")])
    assert (around.names_to_score, inside.names_to_score) == (("tumor",), ("liver", "spleen", "sides"))
    assert (group.names_to_score, group.organs[0].all_values) == (("both",), (1, 2))
    assert {layer.ignored for layer in (around, inside, group)} == {(9,)}
    assert layers_of(labels, [])[0].names_to_score == labels.names_to_score

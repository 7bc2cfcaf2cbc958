"""The synthetic thorax cohort."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medgan.errors import MedganError
from medgan.files import sha256_of
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.manifest.read import read_manifest, write_manifest
from medgan.phantom.anatomy import Anatomy, draw_anatomy, lung_surface
from medgan.phantom.cohort import LABELS, Scan, make_case, make_cohort, plan_cohort, sample_anatomy
from medgan.phantom.dicom import write_ct_series
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume, same_grid

CHECKOUT = Path(__file__).parents[1]
COARSE = Scan((4.0, 4.0, 4.0), noise_hu=10.0)
LEFT, RIGHT, HEART = LABELS.values


def patient(seed: int = 0) -> Anatomy:
    return draw_anatomy(np.random.default_rng(seed))


def centroid_mm(label: Volume, value: int) -> np.ndarray:
    middle = np.argwhere(label.data[0] == value).mean(axis=0)
    return (label.affine @ [*middle, 1.0])[:3]


def size_ml(label: Volume, value: int) -> float:
    return float((label.data == value).sum() * label.voxel_ml)


@pytest.mark.parametrize("seed", range(4))
def test_organs_lie_where_they_belong_and_have_plausible_sizes(seed: int) -> None:
    _, label = sample_anatomy(patient(seed), COARSE)
    left, right, heart = (centroid_mm(label, value) for value in LABELS.values)
    assert left[0] < -30 < 30 < right[0]
    assert left[0] < heart[0] < -5
    assert heart[1] > left[1]
    assert heart[2] < left[2]
    assert size_ml(label, RIGHT) > 1.05 * size_ml(label, LEFT) > 700
    assert 200 < size_ml(label, HEART) < 800


def test_densities_are_those_of_ct() -> None:
    image, label = sample_anatomy(patient(), Scan((2.0, 2.0, 4.0)))
    for value in (LEFT, RIGHT):
        assert -900 < np.median(image.data[label.data == value]) < -680  # breathed in to breathed out
    assert 30 < np.median(image.data[label.data == HEART]) < 160
    assert image.data[0, 0, -1, 0] == -1000  # air in front of the patient
    assert 300 < image.data.max() < 700  # bone
    assert np.percentile(image.data[label.data == LEFT], 99.5) > -300  # vessels are part of the lung


@pytest.mark.parametrize(
    "scan",
    [
        Scan((3.0, 3.0, 5.0)),
        Scan((2.5, 2.5, 2.5), "PIR"),
        Scan((3.0, 3.0, 3.0), "LAS"),
        Scan((3.0, 3.0, 3.0), tilt_degrees=(12.0, 10.0), extent_mm=(330.0, 270.0, 300.0)),
    ],
)
def test_one_patient_is_the_same_in_the_world_on_every_grid(scan: Scan) -> None:
    _, first = sample_anatomy(patient(), Scan((2.0, 2.0, 2.0)))
    _, other = sample_anatomy(patient(), scan)
    for value in LABELS.values:
        assert np.linalg.norm(centroid_mm(first, value) - centroid_mm(other, value)) < 1.0
        assert size_ml(other, value) == pytest.approx(size_ml(first, value), rel=0.03)


def test_label_is_what_fills_more_than_half_of_a_voxel() -> None:
    anatomy, scan = patient(), Scan((3.0, 3.0, 6.0), extent_mm=(130.0, 150.0, 120.0), centre_mm=(-60.0, 0.0, -20.0))
    _, label = sample_anatomy(anatomy, scan)
    steps = np.stack(np.meshgrid(*[np.arange(4 * n) for n in label.shape], indexing="ij", sparse=False))
    centres = (steps.reshape(3, -1) + 0.5) / 4 - 0.5
    to_patient = np.linalg.inv(anatomy.pose()) @ label.affine
    x, y, z = (to_patient[:3, :3] @ centres + to_patient[:3, 3:]).reshape(3, *steps.shape[1:])
    inside = (lung_surface(anatomy, "left")(x, y, z) < 0).reshape([n for size in label.shape for n in (size, 4)])
    fraction = inside.mean(axis=(1, 3, 5))
    decided = abs(fraction - 0.5) > 0.2  # nine samples against 64
    np.testing.assert_array_equal((label.data[0] == LEFT)[decided], (fraction > 0.5)[decided])
    assert decided.mean() > 0.9


def test_surface_voxels_hold_a_mixture_of_densities() -> None:
    image, _ = sample_anatomy(patient(), Scan((4.0, 4.0, 4.0), extent_mm=(304.0, 224.0, 40.0)))
    front_to_air = image.data[0, image.shape[0] // 2, :, 5]
    skin = front_to_air[np.flatnonzero(front_to_air > -990)[-1]]
    assert -1000 < skin <= -100
    assert ((image.data > -950) & (image.data < -150)).mean() > 0.02


def test_consolidated_lung_is_dense_and_still_lung() -> None:
    healthy, label = sample_anatomy(patient(), COARSE)
    diseased, same_label = sample_anatomy(patient(), Scan((4.0, 4.0, 4.0), consolidation=True))
    np.testing.assert_array_equal(label.data, same_label.data)
    dense = (label.data == RIGHT) & (diseased.data > -100) & (healthy.data < -500)
    assert 30 < dense.sum() * label.voxel_ml < 300
    np.testing.assert_array_equal(healthy.data[label.data == LEFT], diseased.data[label.data == LEFT])


def test_noise_has_the_wanted_deviation_and_is_correlated() -> None:
    rng_a, rng_b = np.random.default_rng(5), np.random.default_rng(5)
    image, _ = make_case(Scan((4.0, 4.0, 4.0), noise_hu=30.0), rng_a)
    clean, _ = sample_anatomy(draw_anatomy(rng_b), COARSE)
    body = clean.data[0] > -200
    noise = image.data[0] - clean.data[0]
    assert noise[body].std() == pytest.approx(30.0, rel=0.03)
    neighbours = body[1:] & body[:-1]
    assert np.corrcoef(noise[1:][neighbours], noise[:-1][neighbours])[0, 1] == pytest.approx(0.5, abs=0.05)
    assert image.data.dtype == np.int16


def test_cohort_of_16_holds_every_special_scan() -> None:
    planned = plan_cohort("x")
    splits = [case.split for case, _ in planned]
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (10, 2, 4)
    affines = {case.case_id: scan.grid()[1] for case, scan in planned}
    left_handed = [case_id for case_id, affine in affines.items() if np.linalg.det(affine[:3, :3]) < 0]
    oblique = [case_id for case_id, affine in affines.items() if (abs(affine[:3, :3]) > 1e-6).sum() > 3]
    assert (left_handed, oblique) == (["phantom_14"], ["phantom_13"])
    assert [case.case_id for case, scan in planned if scan.as_dicom] == ["phantom_15"]
    assert [case.case_id for case, scan in planned if scan.consolidation] == ["phantom_04"]
    assert [case.case_id for case, scan in planned if max(scan.extent_mm) < 192] == ["phantom_06"]
    spacings = [spacing for _, scan in planned for spacing in scan.spacing_mm]
    assert (min(spacings), max(spacings)) == (0.8, 5.0)
    assert max(np.prod(scan.grid()[0]) for _, scan in planned) < 6e6


def test_small_scan_shows_all_three_organs() -> None:
    small = next(scan for _, scan in plan_cohort("x") if max(scan.extent_mm) < 192)
    _, label = sample_anatomy(patient(), small)
    assert np.unique(label.data).tolist() == [0, LEFT, RIGHT, HEART]


@pytest.fixture
def coarse_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    dicom = Scan((5.0, 5.0, 8.0), "LPS", as_dicom=True)
    monkeypatch.setattr(
        "medgan.phantom.cohort._SCANS",
        {"train": (Scan((6.0, 6.0, 6.0)),), "val": (Scan((6.0, 6.0, 8.0), "LAS"),), "test": (dicom,)},
    )


@pytest.mark.usefixtures("coarse_scans")
def test_cohort_reads_back_without_a_problem(tmp_path: Path) -> None:
    written: list[Case] = []
    manifest = make_cohort(tmp_path, num_cases=4, on_case=written.append)
    cases = read_manifest(manifest)
    assert [case.case_id for case in cases] == ["phantom_01", "phantom_02", "phantom_03", "phantom_04"]
    assert [case.split for case in cases] == ["train", "train", "val", "test"]
    assert cases == written
    for case in cases:
        assert case.label
        image, label = read_volume(case.images[0]), read_label(case.label)
        assert same_grid(image, label)
        assert np.unique(label.data).tolist() == [0, *LABELS.values]
        assert np.median(image.data[label.data == RIGHT]) < -680
    assert cases[3].images[0].is_dir()
    assert LabelMap.from_yaml(tmp_path / "labels.yaml") == LABELS


@pytest.mark.usefixtures("coarse_scans")
def test_same_seed_gives_the_same_bytes_and_another_seed_another_patient(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_cohort(tmp_path / name, num_cases=4, seed=seed)
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")
    labels = [read_label(tmp_path / name / "labels" / "phantom_01.nii.gz").data for name in "ac"]
    assert (labels[0] != labels[1]).mean() > 0.01


def test_patient_does_not_depend_on_the_number_of_cases(tmp_path: Path) -> None:
    first = plan_cohort(tmp_path, num_cases=16)[:3]
    assert plan_cohort(tmp_path, num_cases=24)[:3] == first


def test_dicom_series_holds_the_image_on_its_grid_under_shuffled_names(tmp_path: Path) -> None:
    from pydicom import dcmread

    image, _ = make_case(Scan((6.0, 5.0, 8.0), "LPS"), np.random.default_rng(0))
    write_ct_series(image, tmp_path / "series", case_id="phantom_01", seed=0)
    read_back = read_volume(tmp_path / "series")
    assert same_grid(read_back, image, tolerance_mm=1e-3)
    np.testing.assert_array_equal(read_back.data, image.data)
    heights = [dcmread(path).ImagePositionPatient[2] for path in sorted((tmp_path / "series").iterdir())]
    assert len(heights) == image.shape[2]
    assert heights not in (sorted(heights), sorted(heights, reverse=True))


def test_too_few_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match="at least 4 cases for its three splits, found 3"):
        make_cohort(tmp_path, num_cases=3)


def test_shipped_manifest_and_labels_are_current(tmp_path: Path) -> None:
    shipped = CHECKOUT / "data_manifests" / "phantom.csv"
    expected = tmp_path / "data_manifests" / "phantom.csv"
    write_manifest([case for case, _ in plan_cohort(tmp_path / "phantom")], expected)
    assert shipped.read_text(encoding="utf-8") == expected.read_text(encoding="utf-8")
    thorax = LabelMap.from_yaml(CHECKOUT / "data_manifests" / "labels" / "thorax.yaml")
    assert tuple(replace(organ, synonyms=()) for organ in thorax.organs) == LABELS.organs

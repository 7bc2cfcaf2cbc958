"""One phantom in every format and every order is one volume in the patient."""

import tempfile
import zipfile
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fuzz_inputs import encode_by_gdcm
from fuzz_objects import segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import affines, box_volume, oblique_affine, write_dicom_series, write_enhanced
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medgan.phantom.cohort import Scan, make_case
from medgan.volume.affine import lps_to_ras
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

AXIAL = lps_to_ras(np.diag([1.5, 2.0, 3.0, 1.0]))
SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")
SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)
Order = Callable[[int], list[int]]
ORDERS: dict[str, Order] = {
    "sorted": lambda n: list(range(n)),
    "reversed": lambda n: list(range(n))[::-1],
    "shuffled": lambda n: np.random.default_rng(5).permutation(n).tolist(),
}
PHANTOMS = {
    "boxes": box_volume((12, 10, 8), AXIAL),
    "oblique boxes": box_volume((12, 10, 8), oblique_affine()),
    "left-handed boxes": box_volume((12, 10, 8), oblique_affine(left_handed=True)),
    "thorax": make_case(Scan((16.0, 14.0, 25.0), "LPS", tilt_degrees=(12.0, 10.0)), np.random.default_rng(3))[0],
}


@pytest.mark.parametrize("phantom", PHANTOMS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_one_volume_are_one_world(tmp_path, phantom, suffix):
    volume = PHANTOMS[phantom]
    write_volume(volume, tmp_path / f"scan{suffix}")
    assert_one_world(read_volume(tmp_path / f"scan{suffix}"), volume)


@pytest.mark.parametrize("phantom", PHANTOMS)
@pytest.mark.parametrize("order", ORDERS)
def test_a_series_in_any_order_is_one_world(tmp_path, phantom, order):
    volume = PHANTOMS[phantom]
    write_series(tmp_path, volume, ORDERS[order])
    assert_one_world(read_volume(tmp_path), volume)


@pytest.mark.parametrize("phantom", PHANTOMS)
@pytest.mark.parametrize("order", ORDERS)
def test_frames_in_any_order_are_one_world(tmp_path, phantom, order):
    volume = PHANTOMS[phantom]
    path = write_frames(tmp_path, volume, ORDERS[order])
    assert_one_world(read_volume(path), volume)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_series_in_any_transfer_syntax_is_one_world(tmp_path, syntax):
    volume = PHANTOMS["oblique boxes"]
    write_series(tmp_path, volume, ORDERS["shuffled"], syntax=syntax)
    assert_one_world(read_volume(tmp_path), volume)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless], ids=lambda syntax: syntax.name
)
def test_frames_in_any_transfer_syntax_are_one_world(tmp_path, syntax):
    volume = PHANTOMS["oblique boxes"]
    path = write_frames(tmp_path, volume, ORDERS["shuffled"], syntax=syntax)
    assert_one_world(read_volume(path), volume)


def test_a_zipped_series_is_one_world(tmp_path):
    volume = PHANTOMS["oblique boxes"]
    series = write_series(tmp_path / "series", volume, ORDERS["shuffled"])
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in series.iterdir():
            archive.write(file, f"study/a/{file.name}")
    assert_one_world(read_volume(tmp_path / "study.zip"), volume)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_of_one_volume_are_one_world(tmp_path, suffix):
    label = box_volume((12, 10, 8), oblique_affine(), labels=True)
    write_volume(label, tmp_path / f"label{suffix}")
    assert_one_world(read_label(tmp_path / f"label{suffix}"), label)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_labels_in_a_segmentation_object_are_one_world(tmp_path, kind):
    label = box_volume((12, 10, 8), oblique_affine(), labels=True)
    segmentation(label, kind).save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert_one_world(read_label(tmp_path / "seg.dcm", reference=label), label)


@pytest.mark.parametrize("axes", list(permutations(range(3))), ids=str)
def test_every_orientation_is_one_world_in_every_format(tmp_path, axes):
    for number, signs in enumerate(product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, axes] * np.array(signs) * (1.5, 2.0, 3.0)
        affine[:3, 3] = (-31.0, 17.5, -240.25)
        volume = box_volume((5, 4, 3), affine)
        for suffix in SUFFIXES:
            write_volume(volume, tmp_path / f"{number}{suffix}")
            assert_one_world(read_volume(tmp_path / f"{number}{suffix}"), volume)
        write_series(tmp_path / f"{number}", volume, ORDERS["shuffled"])
        assert_one_world(read_volume(tmp_path / f"{number}"), volume)


@settings(max_examples=25, deadline=None)
@given(affine=affines(), suffix=st.sampled_from(SUFFIXES))
def test_any_affine_survives_any_file(affine, suffix):
    volume = box_volume((5, 4, 3), affine)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{suffix}"
        write_volume(volume, path)
        assert_one_world(read_volume(path), volume)


@settings(max_examples=25, deadline=None)
@given(affine=affines(), order=st.permutations(range(4)))
def test_any_affine_and_any_permutation_of_slices_is_one_world(affine, order):
    volume = box_volume((5, 4, 4), affine)
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), volume, lambda n: order)
        assert_one_world(read_volume(folder), volume)


@settings(max_examples=15, deadline=None)
@given(affine=affines(), order=st.permutations(range(4)))
def test_any_affine_and_any_permutation_of_frames_is_one_world(affine, order):
    volume = box_volume((5, 4, 4), affine)
    with tempfile.TemporaryDirectory() as folder:
        assert_one_world(read_volume(write_frames(Path(folder), volume, lambda n: order)), volume)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: Volume(v.data[:, ::-1], v.affine),
        lambda v: Volume(v.data, v.affine @ shift(0, 0, 1)),
        lambda v: Volume(v.data, np.diag([1.0, 1.0, -1.0, 1.0]) @ v.affine),
        lambda v: Volume(v.data[:, :, :, 1:], v.affine @ shift(0, 0, 1)),
        lambda v: Volume(v.data + np.eye(12, 10)[None, :, :, None].astype(np.float32), v.affine),
    ],
    ids=["mirrored", "a slice off", "upside down", "a slice short", "other values"],
)
def test_another_world_is_told_apart(wrong):
    volume = PHANTOMS["oblique boxes"]
    with pytest.raises(AssertionError):
        assert_one_world(wrong(volume), volume)


def assert_one_world(found: Volume, truth: Volume) -> None:
    """Fail unless every voxel of each volume lies on a voxel of the other, and holds the same value."""
    for a, b in ((found, truth), (truth, found)):
        assert a.data.shape[0] == b.data.shape[0] == 1
        index = np.indices(a.shape).reshape(3, -1)
        exact = np.linalg.solve(
            b.affine, np.vstack([a.affine[:3, :3] @ index + a.affine[:3, 3:], np.ones(index[0].size)])
        )
        there = np.rint(exact[:3]).astype(int)
        assert np.abs(b.affine[:3, :3] @ (exact[:3] - there)).max() < 1e-3, "points lie between voxels"
        assert (there >= 0).all(), "points lie outside"
        assert (there < np.array(b.shape)[:, None]).all(), "points lie outside"
        assert np.array_equal(b.data[0][tuple(there)], a.data[0][tuple(index)])


def shift(*steps: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = steps
    return matrix


def write_series(folder: Path, volume: Volume, order: Order, *, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write slice k under the name and instance number `order[k]`."""
    places = order(volume.shape[2])
    by_gdcm = syntax in (JPEG2000Lossless, JPEGLosslessSV1)

    def edit(dataset: pydicom.Dataset, k: int) -> None:
        dataset.InstanceNumber = places[k] + 1
        if by_gdcm:
            encode_by_gdcm(dataset, syntax)

    write_dicom_series(folder, volume, transfer_syntax=ExplicitVRLittleEndian if by_gdcm else syntax, edit=edit)
    names = sorted(folder.iterdir())
    contents = [name.read_bytes() for name in names]
    for k, content in enumerate(contents):
        names[places[k]].write_bytes(content)
    return folder


def write_frames(folder: Path, volume: Volume, order: Order, *, syntax: UID = ExplicitVRLittleEndian) -> Path:
    def edit(dataset: pydicom.Dataset) -> None:
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)

    return write_enhanced(folder / "enhanced.dcm", volume, order=order(volume.shape[2]), edit=edit)

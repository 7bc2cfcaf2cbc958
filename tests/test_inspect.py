"""What inspecting shows of every kind of input, and what it never shows."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from phantoms import SHARED, box_volume, change, oblique_affine, write_dicom_series

from medgan.errors import MedganError
from medgan.inspection.inspect import inspect, looks_like_label
from medgan.inspection.show import to_json, to_lines
from medgan.labels import LabelMap
from medgan.volume.dicom.stack import read_stack
from medgan.volume.dicom.write_rtstruct import write_rtstruct
from medgan.volume.dicom.write_seg import write_seg
from medgan.volume.seg_nrrd import write_seg_nrrd
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

BOXES = LabelMap.from_mapping({"left_box": 1, "right_box": 2, "top_box": 3})
THORAX = SHARED / "data" / "thorax_ct_dicom_rtstruct"
COUNTS = [int(n) for n in np.bincount(box_volume(labels=True).data.ravel())]
PATCHES = np.kron(np.arange(8).reshape(2, 2, 2), np.ones((5, 5, 5)))
LPS = np.diag([-1.5, -2.0, 3.0, 1.0])


def written(volume: Volume, path: Path) -> Path:
    write_volume(volume, path)
    return path


def text_of(path: Path, **choices: str) -> str:
    return "\n".join(to_lines(inspect(path, **choices)))  # type: ignore[arg-type]


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A folder `study` with a CT series in `study/ct`."""
    return write_dicom_series(tmp_path / "study" / "ct", box_volume(affine=LPS))


def test_image_is_shown_with_geometry_and_values(tmp_path: Path) -> None:
    image = box_volume()
    found = inspect(written(Volume(image.data.astype(np.int16), image.affine), tmp_path / "image.nii.gz"))
    assert (found.kind, found.data_type, found.labels) == ("image", "int16", ())
    assert found.grid is not None
    assert found.grid.size_voxels == (12, 10, 8)
    assert found.intensity is not None
    assert (found.intensity.minimum, found.intensity.maximum) == (-1000.0, image.data.max())
    assert to_lines(found)[1:] == [
        "kind         image, int16",
        "size         12 x 10 x 8 voxels",
        "spacing      1.5 x 2 x 3 mm",
        "extent       18 x 20 x 24 mm",
        "orientation  RAS: voxel i runs left to right, j back to front, k feet to head",
        "origin       (0.0, 0.0, 0.0) mm, the centre of the first voxel (x to the right, y front, z head)",
        f"values       -1000 to {image.data.max():g}; looks like HU",
        "percentiles  " + "  ".join(
            f"{p}%: {np.percentile(image.data, p):.4g}" for p in (1, 5, 25, 50, 75, 95, 99)
        ),
    ]  # fmt: skip


def test_oblique_image_is_called_oblique(tmp_path: Path) -> None:
    text = text_of(written(box_volume(affine=oblique_affine()), tmp_path / "image.mha"))
    assert "oblique, turned by up to 22.3 degrees against the patient" in text


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_label_volume_is_recognised_and_measured(tmp_path: Path, suffix: str) -> None:
    found = inspect(written(box_volume(labels=True), tmp_path / f"label{suffix}"))
    assert (found.kind, found.data_type, found.intensity) == ("label", "uint8", None)
    assert [(row.number, row.num_voxels) for row in found.labels] == list(enumerate(COUNTS))[1:]
    assert [row.volume_ml for row in found.labels] == pytest.approx([n * 0.009 for n in COUNTS[1:]])


def test_label_with_a_few_fractional_values_is_told(tmp_path: Path) -> None:
    label = box_volume(labels=True)
    data = label.data.astype(np.float32)
    data[0, 0, 5, :3] = 0.5
    found = inspect(written(Volume(data, label.affine), tmp_path / "label.nii.gz"))
    assert (found.kind, found.data_type) == ("label", "float32")
    assert found.oddities == ("3 voxels are no whole numbers; as a label it would be refused.",)


def test_blank_volume_is_told(tmp_path: Path) -> None:
    found = inspect(written(Volume(np.zeros((1, 4, 4, 4), np.uint8), np.eye(4)), tmp_path / "blank.nii.gz"))
    assert found.labels == ()
    assert found.oddities == ("It is 0 everywhere: an empty label, or a blank image.",)


def test_voxels_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    image = box_volume()
    image.data[0, 0, 0, :2] = np.nan
    found = inspect(written(image, tmp_path / "image.nii.gz"))
    assert found.intensity is not None
    assert found.intensity.minimum == -1000.0
    assert found.oddities == ("2 voxels are NaN or infinite; as an image it would be refused.",)
    nothing = inspect(written(Volume(np.full((1, 2, 2, 2), np.nan, np.float32), np.eye(4)), tmp_path / "nan.nii.gz"))
    assert (nothing.kind, nothing.intensity) == ("image", None)
    json.loads(to_json(nothing))


@pytest.mark.parametrize(
    ("values", "is_label"),
    [
        (np.arange(1000).reshape(10, 10, 10) % 7, False),  # few values, but scattered
        (PATCHES, True),
        (PATCHES * 1000, True),
        (np.random.default_rng(0).integers(0, 255, (10, 10, 10)), False),
        (np.random.default_rng(0).integers(0, 2, (10, 10, 10)), True),
        (PATCHES - 1, False),
        (PATCHES + 0.25, False),
        (np.full((10, 10, 10), 7), False),
    ],
)
def test_labels_are_few_whole_numbers_in_patches(values: np.ndarray, is_label: bool) -> None:
    assert looks_like_label(values) == is_label


def test_oddities_of_geometry_and_readers_are_shown(tmp_path: Path) -> None:
    path = written(Volume(np.arange(24, dtype=np.int16).reshape(1, 4, 6, 1), np.diag([1, 1, 9, 1])), tmp_path / "a.nii")
    path.write_bytes(path.read_bytes() + b"tail")
    assert inspect(path).oddities == (
        "It is a single slice (K = 1).",
        f"{path}: 4 bytes follow the last voxel and are ignored.",
    )


def test_choice_between_qform_and_sform_is_shown(tmp_path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(box_volume().data[0], np.diag([1.5, 2, 3, 1]))
    image.set_sform(np.diag([1.5, 2, 3, 1]), code=2)
    image.set_qform(np.diag([-1.5, -2, 3, 1]), code=1)
    nib.save(image, tmp_path / "image.nii.gz")
    assert "qform and sform differ, and the sform is used" in text_of(tmp_path / "image.nii.gz")


def test_picture_says_that_its_geometry_is_nominal(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12)).save(tmp_path / "scan.PNG")
    found = inspect(tmp_path / "scan.PNG")
    assert (found.kind, found.data_type) == ("image", "uint8")
    assert found.oddities[-1] == "Its format keeps no geometry: 1 mm and the directions are nominal."


def test_masks_in_a_folder_are_named_segments_with_overlaps(tmp_path: Path) -> None:
    label = box_volume(labels=True)
    for value, organ in ((1, "lung"), (2, "heart")):
        written(Volume((label.data == value).astype(np.uint8), label.affine), tmp_path / f"{organ}.nii.gz")
    written(Volume((label.data > 0).astype(np.uint8), label.affine), tmp_path / "body.nii.gz")
    written(Volume(np.zeros_like(label.data), label.affine), tmp_path / "spleen.nii.gz")
    found = inspect(tmp_path)
    assert found.kind == "segments"
    assert {row.name: row.num_voxels for row in found.labels} == {
        "body": sum(COUNTS[1:]),
        "heart": COUNTS[2],
        "lung": COUNTS[1],
        "spleen": 0,
    }
    assert [(each.first, each.second, each.num_voxels) for each in found.overlaps] == [
        (1, 2, COUNTS[2]),
        (1, 3, COUNTS[1]),
    ]
    assert found.oddities == ("Segment 4 (spleen) is empty.",)
    assert f"overlap      1 and 2 share {COUNTS[2]:,} voxels" in to_lines(found)


def test_seg_nrrd_has_names(tmp_path: Path) -> None:
    write_seg_nrrd(box_volume(labels=True), BOXES, tmp_path / "boxes.seg.nrrd")
    found = inspect(tmp_path / "boxes.seg.nrrd")
    assert found.kind == "segments"
    assert [(row.name, row.num_voxels) for row in found.labels] == list(zip(BOXES.names, COUNTS[1:], strict=True))


def test_folder_of_images_is_refused_with_the_way_out(tmp_path: Path) -> None:
    written(box_volume(), tmp_path / "a.nii.gz")
    with pytest.raises(MedganError, match=r"holds several volume files, .* inspect one of them"):
        inspect(tmp_path)


def test_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match="absent does not exist"):
        inspect(tmp_path / "absent")


@pytest.mark.parametrize("what", ["folder", "file", "tree", "zip"])
def test_one_series_is_shown_as_an_image(ct: Path, tmp_path: Path, what: str) -> None:
    paths = {"folder": ct, "file": ct / "IM0003.dcm", "tree": ct.parent, "zip": tmp_path / "study.zip"}
    with zipfile.ZipFile(paths["zip"], "w") as archive:
        for file in sorted(ct.iterdir()):
            archive.write(file, file.name)
    found = inspect(paths[what])
    assert found.kind == "image"
    assert found.grid is not None
    assert (found.grid.size_voxels, found.grid.orientation) == ((12, 10, 8), "LPS")
    (row,) = found.series
    assert (row.key, row.modality, row.num_slices) == (found.series_key, "CT", 8)
    assert (row.size_voxels, row.spacing_mm) == ((12, 10), pytest.approx((1.5, 2.0, 3.0)))


def test_tilted_gantry_is_told(tmp_path: Path) -> None:
    sheared = LPS.copy()
    sheared[1, 2] = -3.0 * np.tan(np.deg2rad(10.0))
    text = text_of(write_dicom_series(tmp_path / "ct", box_volume(affine=sheared)))
    assert "sheared by 10.0 degrees (gantry tilt)" in text


def test_tree_of_several_series_is_a_table_to_choose_from(ct: Path) -> None:
    other = box_volume((9, 8, 5), LPS)
    write_dicom_series(ct.parent / "mr", other, edit=change(Modality="MR", SeriesDescription="DOE JANE T2"))
    write_rtstruct(box_volume(affine=LPS, labels=True), BOXES, read_stack(ct), ct.parent / "organs.dcm")
    (ct.parent / "notes.txt").write_text("no DICOM")
    found = inspect(ct.parent)
    assert (found.kind, found.grid, found.series_key) == ("tree", None, None)
    assert [(row.modality, row.num_slices, row.size_voxels, row.segmentations) for row in found.series] == [
        ("CT", 8, (12, 10), ("RTSTRUCT organs.dcm",)),
        ("MR", 5, (9, 8), ()),
    ]
    assert list(found.left_out.values()) == ["not DICOM"]
    text = "\n".join(to_lines(found))
    assert "Choose one with --series KEY." in text
    assert "left out     1 file: not DICOM" in text
    assert inspect(ct.parent, series=found.series[1].key).series_key == found.series[1].key
    chosen = inspect(ct.parent, series="doe jane t2")
    assert chosen.grid is not None
    assert chosen.grid.size_voxels == (9, 8, 5)
    assert "MR, one of 2 in the tree" in "\n".join(to_lines(chosen))
    with pytest.raises(MedganError, match="no series with the key, UID or description asked for"):
        inspect(ct.parent, series="CT thorax")


@pytest.mark.parametrize("form", ["file", "folder", "zip"])
def test_rtstruct_without_its_images_says_what_it_can(ct: Path, form: str) -> None:
    write_rtstruct(box_volume(affine=LPS, labels=True), BOXES, read_stack(ct), ct.parent / "alone" / "organs.dcm")
    uid = inspect(ct).series[0].key
    for file in sorted(ct.iterdir())[3:]:
        file.unlink()
    path = {"file": ct.parent / "alone" / "organs.dcm", "folder": ct.parent / "alone"}.get(form, ct.parent / "x.zip")
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(ct.parent / "alone" / "organs.dcm", "a/organs.dcm")
    found = inspect(path)
    assert (found.kind, found.grid, found.refers_to) == ("rtstruct", None, {uid: 8})
    assert [(row.number, row.name, row.num_voxels) for row in found.labels] == [
        (1, "left_box", None),
        (2, "right_box", None),
        (3, "top_box", None),
    ]
    num_there = 0 if form == "zip" else 3
    assert f"refers to 8 images of series {uid}, of which {num_there} are below its folder" in found.oddities[0]
    assert "/tmp" not in found.oddities[0].replace(str(path.parent), "")
    assert to_lines(found)[1:6] == [
        "kind         RTSTRUCT",
        "labels       3",
        "                 1  left_box",
        "                 2  right_box",
        "                 3  top_box",
    ]
    assert f"drawn on     series {uid}, 8 images of it" in to_lines(found)
    assert json.loads(to_json(found))["labels"][0]["volume_ml"] is None


def test_rtstruct_is_not_shown_undrawn_where_an_image_was_given(ct: Path) -> None:
    write_rtstruct(box_volume(affine=LPS, labels=True), BOXES, read_stack(ct), ct.parent / "organs.dcm")
    far = np.array(LPS)
    far[:3, 3] = 900
    other = written(box_volume(affine=far), ct.parent / "far.nii.gz")
    with pytest.raises(MedganError, match="its contours must lie inside the image"):
        inspect(ct.parent / "organs.dcm", reference=other)


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_dicom_segments_have_names_and_volumes(ct: Path, write: object) -> None:
    path = ct.parent / "organs.dcm"
    write(box_volume(affine=LPS, labels=True), BOXES, read_stack(ct), path)  # type: ignore[operator]
    for found in (inspect(path), inspect(path, reference=ct)):
        assert found.kind == "segments"
        assert [row.num_voxels for row in found.labels] == COUNTS[1:]
        assert [row.volume_ml for row in found.labels] == pytest.approx([n * 0.009 for n in COUNTS[1:]])
        assert "left" in found.labels[0].name
    image = inspect(ct.parent)
    assert len(image.series[0].segmentations) == 1
    assert image.series[0].segmentations[0].endswith(" organs.dcm")


def test_tree_of_segmentations_alone(ct: Path, tmp_path: Path) -> None:
    label, stack = box_volume(affine=LPS, labels=True), read_stack(ct)
    alone = tmp_path / "alone"
    write_seg(label, BOXES, stack, alone / "a.dcm")
    assert [row.num_voxels for row in inspect(alone).labels] == COUNTS[1:]
    write_seg(label, BOXES, stack, alone / "b.dcm")
    found = inspect(alone)
    assert (found.kind, found.series) == ("tree", ())
    assert found.oddities == (
        "There is no image series, but 2 segmentations (SEG a.dcm, SEG b.dcm); inspect one by its path.",
    )


def test_damaged_series_is_refused_with_its_reason(ct: Path) -> None:
    (ct / "IM0003.dcm").unlink()
    with pytest.raises(MedganError, match="slice missing"):
        inspect(ct)


def test_nothing_that_names_a_patient_is_shown(ct: Path) -> None:
    write_dicom_series(
        ct.parent / "other",
        box_volume(affine=LPS),
        edit=change(SeriesDescription="DOE JANE", StudyDescription="DOE JANE", PatientBirthDate="19570301"),
    )
    (ct.parent / "other" / "again").mkdir()
    for path in (ct.parent, ct, ct.parent / "other"):
        found = inspect(path)
        for shown in (to_json(found), "\n".join(to_lines(found))):
            assert not [secret for secret in ("DOE", "JANE", "00412345", "19570301") if secret in shown]


def test_control_characters_in_names_are_not_printed(tmp_path: Path) -> None:
    write_seg_nrrd(box_volume(labels=True), BOXES, tmp_path / "boxes.seg.nrrd")
    text = (tmp_path / "boxes.seg.nrrd").read_bytes().replace(b"left_box", b"left\x1b[31")
    (tmp_path / "odd.seg.nrrd").write_bytes(text)
    assert "\x1b" not in text_of(tmp_path / "odd.seg.nrrd")


def test_json_has_the_attributes_as_keys(tmp_path: Path) -> None:
    document = json.loads(to_json(inspect(written(box_volume(), tmp_path / "image.nii.gz"))))
    assert list(document) == [
        "path",
        "kind",
        "grid",
        "data_type",
        "intensity",
        "labels",
        "overlaps",
        "refers_to",
        "series",
        "series_key",
        "oddities",
        "left_out",
    ]
    assert document["grid"]["spacing_mm"] == [1.5, 2.0, 3.0]
    assert document["intensity"]["scale"] == "hu"


@pytest.mark.skipif(not THORAX.is_dir(), reason="shared thorax CT not present")
def test_real_thorax_ct_with_its_rtstruct() -> None:
    found = inspect(THORAX)
    assert found.grid is not None
    assert (found.grid.size_voxels, found.grid.orientation) == ((512, 512, 99), "LPS")
    assert found.intensity is not None
    assert found.intensity.scale == "hu"
    (row,) = found.series
    assert row.segmentations == ("RTSTRUCT 1-1.dcm",)

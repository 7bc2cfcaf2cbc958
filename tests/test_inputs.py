"""From command-line inputs to cases."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medgan.errors import MedganError
from medgan.manifest.case_ids import (
    DICOM_SUFFIXES,
    SEGMENTATION_SUFFIX,
    VOLUME_SUFFIXES,
    case_id_of,
    distinct_case_ids,
)
from medgan.manifest.inputs import find_inputs
from medgan.volume.readers import READERS

DICOM_HEAD = bytes(128) + b"DICM"


def make_files(folder: Path, *names: str, content: bytes = b"voxels") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def make_rtstruct(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.Modality = generate_uid(), "RTSTRUCT"
    dataset.save_as(path, enforce_file_format=True)


def found_in(*paths: Path, split: str | None = None) -> list[tuple[str, Path]]:
    return [(case.case_id, case.images[0]) for case in find_inputs(paths, split=split)]


@pytest.mark.parametrize(
    ("name", "case_id"),
    [
        ("a.nii.gz", "a"),
        ("a.b.nii", "a.b"),
        ("A.PNG", "A"),
        ("1.2.840.99", "1.2.840.99"),
        ("s.dcm", "s"),
        ("a.seg.nrrd", "a"),
        ("a.seg.dcm", "a"),
        ("a.b.labelmap.dcm", "a.b"),
        ("A.RTSTRUCT.DCM", "A"),
        ("b.zip", "b"),
    ],
)
def test_case_id_is_the_file_name_without_volume_suffix(name: str, case_id: str) -> None:
    assert case_id_of(Path("folder") / name) == case_id


def test_suffixes_that_are_looked_for_are_those_that_can_be_read() -> None:
    second_halves = {".img", ".img.gz"}
    always_refused = {".gipl", ".gipl.gz", ".vtk", ".mrc"}
    looked_for = {*VOLUME_SUFFIXES, *DICOM_SUFFIXES} - {SEGMENTATION_SUFFIX}
    assert looked_for == {*READERS} - second_halves - always_refused


def test_repeated_names_are_told_apart_by_as_many_folders_as_it_takes() -> None:
    paths = [Path(f"{site}/{patient}/ct.nii") for site in "xy" for patient in "pq"]
    assert distinct_case_ids(paths) == ["x_p_ct", "x_q_ct", "y_p_ct", "y_q_ct"]


def test_file_is_one_case(tmp_path: Path) -> None:
    make_files(tmp_path, "scan.nii.gz")
    assert found_in(tmp_path / "scan.nii.gz") == [("scan", tmp_path / "scan.nii.gz")]


def test_folder_of_volumes_is_a_case_per_file(tmp_path: Path) -> None:
    make_files(tmp_path, "b.nii.gz", "a.mha", "c.png", "notes.txt", "README", ".hidden.nii")
    assert [case_id for case_id, _ in found_in(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.dcm", b"x"),
        ("IM0001.IMA", b"x"),
        ("CT.1.2.840.573", DICOM_HEAD),
        ("I10", DICOM_HEAD),
        ("I10", b"\x08\x00xx"),
    ],
)
def test_folder_of_dicom_files_is_one_case(tmp_path: Path, name: str, content: bytes) -> None:
    make_files(tmp_path / "series", name, content=content)
    assert found_in(tmp_path / "series") == [("series", tmp_path / "series")]


def test_sub_folders_with_dicom_are_cases_beside_volume_files(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii.gz", "notes/README")
    make_files(tmp_path, "s1/1.dcm", "s2/deep/1.dcm", content=DICOM_HEAD)
    assert found_in(tmp_path) == [("a", tmp_path / "a.nii.gz"), ("s1", tmp_path / "s1"), ("deep", tmp_path / "s2/deep")]


def test_series_folders_of_one_name_get_their_patients_name_in_front(tmp_path: Path) -> None:
    make_files(tmp_path, "p1/ct/1.dcm", "p2/ct/1.dcm", content=DICOM_HEAD)
    assert [case_id for case_id, _ in found_in(tmp_path)] == ["p1_ct", "p2_ct"]


def test_folders_of_labels_alone_are_no_cases(tmp_path: Path) -> None:
    make_files(tmp_path, "ct/1.dcm", content=DICOM_HEAD)
    make_rtstruct(tmp_path / "rs" / "1.dcm")
    assert found_in(tmp_path) == [("ct", tmp_path / "ct")]


def test_segmentations_beside_images_are_no_cases(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nrrd", "a.seg.nrrd", "only/b.seg.nrrd")
    assert found_in(tmp_path) == [("a", tmp_path / "a.nrrd")]
    assert found_in(tmp_path / "only") == [("b", tmp_path / "only/b.seg.nrrd")]


def test_zips_are_cases_where_there_are_no_volume_files(tmp_path: Path) -> None:
    make_files(tmp_path, "a.zip", "b.ZIP")
    assert found_in(tmp_path) == [("a", tmp_path / "a.zip"), ("b", tmp_path / "b.ZIP")]
    make_files(tmp_path, "c.nii")
    assert found_in(tmp_path) == [("c", tmp_path / "c.nii")]
    assert found_in(tmp_path / "a.zip") == [("a", tmp_path / "a.zip")]


def test_all_unusable_inputs_are_listed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make_files(tmp_path, "=1.nii")
    with pytest.raises(MedganError) as caught:
        find_inputs([tmp_path / "empty", tmp_path / "gone.nii", tmp_path / "=1.nii"])
    assert f"folder {tmp_path / 'empty'}: holds no volume" in str(caught.value)
    assert f"{tmp_path / 'gone.nii'}: no such file or folder" in str(caught.value)
    assert "case_id '=1' is not allowed" in str(caught.value)


def test_two_inputs_of_one_case_id_are_refused_with_both_named(tmp_path: Path) -> None:
    make_files(tmp_path, "x/ct.nii.gz", "y/CT.nii")
    with pytest.raises(MedganError, match=r"x/ct\.nii\.gz and .*y/CT\.nii would both be case CT"):
        find_inputs([tmp_path / "x" / "ct.nii.gz", tmp_path / "y" / "CT.nii"])


def write_cohort(folder: Path) -> Path:
    make_files(folder, *[f"{kind}/{name}.nii.gz" for kind in ("images", "labels") for name in "abc"])
    rows = [
        f"case_{n},images/{n}.nii.gz,labels/{n}.nii.gz,{split}"
        for n, split in zip("abc", ("train", "val", "test"), strict=True)
    ]
    (folder / "manifest.csv").write_text("\n".join(["case_id,image,label,split", *rows]))
    return folder / "manifest.csv"


def test_manifest_gives_its_cases_of_one_split(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    assert [case_id for case_id, _ in found_in(manifest)] == ["case_a", "case_b", "case_c"]
    assert found_in(manifest, split="test") == [("case_c", tmp_path / "images/c.nii.gz")]


def test_split_without_manifest_is_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii")
    with pytest.raises(MedganError, match="split 'test': needs a manifest"):
        find_inputs([tmp_path / "a.nii"], split="test")


def test_split_without_cases_is_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii")
    (tmp_path / "m.csv").write_text("case_id,image\na,a.nii\n")
    with pytest.raises(MedganError, match="has no case with split 'test'"):
        find_inputs([tmp_path / "m.csv"], split="test")

"""From command-line inputs to cases and pairs."""

import json
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
from medgan.manifest.inputs import Pair, find_inputs, pair_cases
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


def test_two_files_are_a_pair(tmp_path: Path) -> None:
    make_files(tmp_path, "reference.nii", "prediction.mha")
    reference, prediction = tmp_path / "reference.nii", tmp_path / "prediction.mha"
    assert pair_cases(reference, prediction) == [Pair("reference", reference, prediction)]


def test_manifest_pairs_its_labels_and_keeps_missing_predictions(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    make_files(tmp_path / "out", "case_a.nii.gz", "case_c.nii", "case_a.json")
    pairs = pair_cases(manifest, tmp_path / "out")
    assert [(pair.case_id, pair.prediction) for pair in pairs] == [
        ("case_a", tmp_path / "out/case_a.nii.gz"),
        ("case_b", None),
        ("case_c", tmp_path / "out/case_c.nii"),
    ]
    assert pairs[0].reference == tmp_path / "labels/a.nii.gz"
    assert pairs[0].image == tmp_path / "images/a.nii.gz"
    assert [pair.case_id for pair in pair_cases(manifest, tmp_path / "out", split="test")] == ["case_c"]


def test_pair_knows_which_series_its_image_is(tmp_path: Path) -> None:
    make_files(tmp_path, "scan/1.dcm", "label.nii", "out/a.nii", content=DICOM_HEAD)
    (tmp_path / "m.csv").write_text("case_id,image,label,split,series\na,scan,label.nii,test,1.2.3#2\n")
    assert pair_cases(tmp_path / "m.csv", tmp_path / "out")[0].series == "1.2.3#2"


def test_folders_pair_by_name(tmp_path: Path) -> None:
    make_files(tmp_path, "reference/a.nii.gz", "reference/b.png", "out/a.nii.gz", "out/b.png")
    assert [pair.prediction for pair in pair_cases(tmp_path / "reference", tmp_path / "out")] == [
        tmp_path / "out/a.nii.gz",
        tmp_path / "out/b.png",
    ]


def test_folder_of_dicom_labels_is_a_reference_for_each_of_its_files(tmp_path: Path) -> None:
    references = [tmp_path / "ref" / name for name in ("a.rtstruct.dcm", "b.dcm", "c")]
    for path in references:
        make_rtstruct(path)
    make_files(tmp_path, "ref/a.json", "out/a.nii", "out/b.seg.dcm", "out/c.nii")
    pairs = pair_cases(tmp_path / "ref", tmp_path / "out")
    assert [(pair.case_id, pair.reference) for pair in pairs] == list(zip("abc", references, strict=True))
    assert [pair.prediction.name for pair in pairs if pair.prediction] == ["a.nii", "b.seg.dcm", "c.nii"]


def test_two_dicom_references_of_one_case_are_refused(tmp_path: Path) -> None:
    make_rtstruct(tmp_path / "ref" / "a.rtstruct.dcm")
    make_rtstruct(tmp_path / "ref" / "a.seg.dcm")
    with pytest.raises(MedganError, match=r"a\.rtstruct\.dcm and .*a\.seg\.dcm would both be case a"):
        pair_cases(tmp_path / "ref", tmp_path)


def test_pairs_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    make_files(tmp_path, "one.nii", "wrong/x.nii", "twice/case_a.nii", "twice/case_a.nii.gz")
    with pytest.raises(MedganError, match="is one file, but the reference has 3 cases"):
        pair_cases(manifest, tmp_path / "one.nii")
    with pytest.raises(MedganError, match=r"as in case_a\.nii\.gz; none of its 1 volumes"):
        pair_cases(manifest, tmp_path / "wrong")
    with pytest.raises(MedganError, match="case case_a has two"):
        pair_cases(manifest, tmp_path / "twice")
    with pytest.raises(MedganError, match="no such file or folder"):
        pair_cases(manifest, tmp_path / "gone")


def test_of_the_files_of_one_prediction_the_first_listed_counts(tmp_path: Path) -> None:
    make_files(tmp_path, "ref/a.nii", "out/a.nii.gz", "out/a.seg.nrrd", "out/a.seg.dcm", "out/a.rtstruct.dcm")
    record = {"files": {"nifti": "a.nii.gz", "seg.nrrd": "a.seg.nrrd", "dicom-seg": "a.seg.dcm"}}
    (tmp_path / "out" / "a.json").write_text(json.dumps(record))
    assert pair_cases(tmp_path / "ref", tmp_path / "out")[0].prediction == tmp_path / "out" / "a.nii.gz"
    (tmp_path / "out" / "a.nii.gz").unlink()
    assert pair_cases(tmp_path / "ref", tmp_path / "out")[0].prediction == tmp_path / "out" / "a.seg.nrrd"


@pytest.mark.parametrize("text", ["{}", '{"files": {"nifti": "b.nii.gz"}}', '{"files": ["a.nii.gz"]}', "[]"])
def test_files_that_no_record_makes_one_are_two(tmp_path: Path, text: str) -> None:
    make_files(tmp_path, "ref/a.nii", "out/a.nii.gz", "out/a.seg.nrrd")
    (tmp_path / "out" / "a.json").write_text(text)
    with pytest.raises(MedganError, match=r"case a has two, a\.nii\.gz and a\.seg\.nrrd"):
        pair_cases(tmp_path / "ref", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.seg.dcm", "a.labelmap.dcm", "a.rtstruct.dcm"])
def test_derived_object_alone_is_a_prediction(tmp_path: Path, name: str) -> None:
    make_files(tmp_path, "ref/a.nii", f"out/{name}")
    assert pair_cases(tmp_path / "ref", tmp_path / "out")[0].prediction == tmp_path / "out" / name


def test_case_without_label_cannot_be_a_reference(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "out/a.nii")
    (tmp_path / "m.csv").write_text("case_id,image,label,split\na,a.nii,,test\n")
    with pytest.raises(MedganError, match="case a has no label to compare with"):
        pair_cases(tmp_path / "m.csv", tmp_path / "out")

"""Cohorts from DICOM trees and zips: an image per series, labels joined by what they refer to."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from phantoms import SHARED, box_volume, write_dicom_series
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage, SegmentationStorage, generate_uid

import medgan.pipeline
from medgan.errors import MedganError
from medgan.manifest.importers import Imported, import_cohort, write_cohort
from medgan.manifest.read import read_manifest
from medgan.volume.readers import read_volume

SECRETS = ("DOE", "JANE", "MRN", "00412345", "19570612", "SECRET")


def write_series(folder: Path, *, patient: str = "MRN-00412345", shape: Sequence[int] = (8, 6, 5)) -> Path:
    """Write a series whose free text names the patient wherever a scanner's user might."""

    def edit(dataset: Dataset, k: int) -> None:
        dataset.PatientID, dataset.PatientBirthDate = patient, "19570612"
        dataset.SeriesDescription = dataset.StudyDescription = "SECRET DOE"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_dicom_series(folder, box_volume(shape), edit=edit)


def derived(path: Path, sop_class: UID, modality: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "DOE^JANE", "MRN-00412345", modality
    path.parent.mkdir(parents=True, exist_ok=True)
    return dataset


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def write_rtstruct(path: Path, series: Path, *, names_series: bool = True) -> None:
    """Write a structure set without contours that refers to a series, or to its frame of reference alone."""
    slices = [dcmread(file) for file in sorted(series.iterdir())]
    dataset = derived(path, RTStructureSetStorage, "RTSTRUCT")
    frame = item(FrameOfReferenceUID=slices[0].FrameOfReferenceUID)
    if names_series:
        images = [item(ReferencedSOPInstanceUID=each.SOPInstanceUID) for each in slices]
        referred = item(SeriesInstanceUID=slices[0].SeriesInstanceUID, ContourImageSequence=images)
        frame.RTReferencedStudySequence = [item(RTReferencedSeriesSequence=[referred])]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    dataset.save_as(path, enforce_file_format=True)


def write_seg(path: Path, series: Path) -> None:
    """Write a header of a SEG that refers to a series."""
    slices = [dcmread(file) for file in sorted(series.iterdir())]
    dataset = derived(path, SegmentationStorage, "SEG")
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = slices[0].Rows, slices[0].Columns, 1
    dataset.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    images = [item(ReferencedSOPInstanceUID=each.SOPInstanceUID) for each in slices]
    dataset.ReferencedSeriesSequence = [
        item(SeriesInstanceUID=slices[0].SeriesInstanceUID, ReferencedInstanceSequence=images)
    ]
    dataset.save_as(path, enforce_file_format=True)


def labels_of(imported: Imported) -> dict[str, str]:
    return {key.images[0]: key.label for key in imported.keys}


def skipped_in(imported: Imported) -> dict[str, str]:
    return {each.source: each.reason for each in imported.skipped}


def test_labels_join_the_series_they_refer_to(tmp_path: Path) -> None:
    for name in ("p1/ct", "p1/pet", "p2/ct"):
        write_series(tmp_path / name, patient=name[:2])
    write_rtstruct(tmp_path / "structures" / "a.dcm", tmp_path / "p1" / "ct")
    write_seg(tmp_path / "structures" / "b.dcm", tmp_path / "p2" / "ct")
    imported = import_cohort(tmp_path)
    assert imported.kind == "dicom"
    assert labels_of(imported) == {"p1/ct": "structures/a.dcm", "p1/pet": "", "p2/ct": "structures/b.dcm"}
    assert imported.skipped == ()
    patients = {key.images[0]: key.patient for key in imported.keys}
    assert patients["p1/ct"] == patients["p1/pet"] != patients["p2/ct"]
    assert {case.series for case in imported.cases} == {""}
    splits = {case.images[0].relative_to(tmp_path).as_posix(): case.split for case in imported.cases}
    assert {splits["p1/ct"], splits["p2/ct"]} == {"train", "test"}
    assert splits["p1/pet"] == {"train": None, "test": "test"}[str(splits["p1/ct"])]


def test_series_that_share_a_folder_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    first = write_series(tmp_path / "study")
    second = write_series(tmp_path / "other", shape=(8, 6, 4))
    for file in second.iterdir():
        shutil.copy(file, first / f"second_{file.name}")
    shutil.rmtree(second)
    imported = import_cohort(tmp_path)
    written = write_cohort(imported, tmp_path / "cohort.csv")
    cases = read_manifest(written.manifest)
    assert [case.images for case in cases] == [(tmp_path / "study",)] * 2
    assert [case.series for case in cases] == [key.series_uid for key in imported.keys]
    shapes = {read_volume(case.images[0], series=case.series).shape for case in cases}
    assert shapes == {(8, 6, 5), (8, 6, 4)}


def test_series_scattered_over_folders_is_one_case(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "p1" / "a")
    (tmp_path / "p1" / "b").mkdir()
    (folder / "IM0002.dcm").rename(tmp_path / "p1" / "b" / "IM0002.dcm")
    (case,) = import_cohort(tmp_path).cases
    assert case.images == (tmp_path / "p1",)
    assert read_volume(case.images[0]).shape == (8, 6, 5)


def test_zip_is_read_and_its_labels_are_told(tmp_path: Path) -> None:
    series = write_series(tmp_path / "study" / "ct")
    write_rtstruct(tmp_path / "study" / "rs.dcm", series)
    shutil.make_archive(str(tmp_path / "data" / "study"), "zip", tmp_path / "study")
    (tmp_path / "data" / "broken.zip").write_bytes(b"PK\x03\x04 cut")
    imported = import_cohort(tmp_path / "data")
    (case,) = imported.cases
    assert case.images == (tmp_path / "data" / "study.zip",)
    assert read_volume(case.images[0]).shape == (8, 6, 5)
    reasons = skipped_in(imported)
    assert reasons["study.zip: rs.dcm"] == "a label in a zip, which a manifest cannot name; unpack the zip"
    assert reasons["broken.zip"].startswith("broken.zip is ")
    assert import_cohort(tmp_path / "data" / "study.zip").cases == imported.cases


def test_series_in_a_zip_and_beside_it_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "ct")
    imported = import_cohort(tmp_path)
    assert labels_of(imported) == {"ct": ""}
    (reason,) = skipped_in(imported).values()
    assert reason == "the same series as in ct"


def test_label_that_cannot_be_joined_is_skipped_with_the_reason(tmp_path: Path) -> None:
    kept, gone = write_series(tmp_path / "kept"), write_series(tmp_path / "gone")
    write_rtstruct(tmp_path / "a.dcm", gone)
    write_seg(tmp_path / "b.dcm", kept)
    shutil.rmtree(gone)
    (kept / "IM0004.dcm").unlink()
    imported = import_cohort(tmp_path)
    assert labels_of(imported) == {"kept": ""}
    assert skipped_in(imported) == {
        "a.dcm": "its image series is not here.",
        "b.dcm": "only 4 of the 5 images it refers to are here; fetch the series again.",
    }


def test_structure_set_without_a_series_belongs_to_the_only_one_in_its_frame(tmp_path: Path) -> None:
    ct = write_series(tmp_path / "ct")
    write_series(tmp_path / "mr")
    write_rtstruct(tmp_path / "rs.dcm", ct, names_series=False)
    assert labels_of(import_cohort(tmp_path)) == {"ct": "rs.dcm", "mr": ""}
    frame = dcmread(ct / "IM0000.dcm").FrameOfReferenceUID
    for path in (tmp_path / "mr").iterdir():
        dataset = dcmread(path)
        dataset.FrameOfReferenceUID = frame
        dataset.save_as(path)
    imported = import_cohort(tmp_path)
    assert labels_of(imported) == {"ct": "", "mr": ""}
    assert "2 series are in its frame of reference" in skipped_in(imported)["rs.dcm"]


TWO_LABELS = "one of 2 labels of a series, which has none until you choose one with --labels PATTERN"


def test_series_with_two_labels_has_none_until_one_is_chosen(tmp_path: Path) -> None:
    ct = write_series(tmp_path / "ct")
    write_series(tmp_path / "pet")
    write_rtstruct(tmp_path / "structures" / "rs.dcm", ct)
    write_seg(tmp_path / "structures" / "seg.dcm", ct)
    imported = import_cohort(tmp_path)
    assert labels_of(imported) == {"ct": "", "pet": ""}
    assert skipped_in(imported) == {"structures/rs.dcm": TWO_LABELS, "structures/seg.dcm": TWO_LABELS}
    chosen = import_cohort(tmp_path, labels="rs*")
    assert labels_of(chosen) == {"ct": "structures/rs.dcm", "pet": ""}
    assert skipped_in(chosen) == {"structures/seg.dcm": "does not fit the pattern 'rs*'"}


def test_series_that_is_no_grid_is_skipped_with_the_reason(tmp_path: Path) -> None:
    write_series(tmp_path / "whole")
    (write_series(tmp_path / "gap") / "IM0002.dcm").unlink()
    imported = import_cohort(tmp_path)
    assert labels_of(imported) == {"whole": ""}
    assert "slice missing between" in skipped_in(imported)["series of gap/IM0000.dcm"]


def test_nothing_of_a_patient_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct = write_series(tmp_path / "data" / "a")
    write_series(tmp_path / "data" / "b", patient="=SECRET()")
    (write_series(tmp_path / "data" / "c", patient="DOE-3") / "IM0002.dcm").unlink()
    write_rtstruct(tmp_path / "data" / "rs.dcm", ct)
    (tmp_path / "data" / "x.dcm").write_bytes(b"DOE^JANE")
    written = medgan.pipeline.manifest(tmp_path / "data", tmp_path / "cohort.csv")
    told = "\n".join(
        [written.manifest.read_text(), written.skipped.read_text(), *written.lines(), *capsys.readouterr()]
    )
    assert [secret for secret in SECRETS if secret in told] == []
    keys = written.key.read_text()
    assert "MRN-00412345" in keys
    assert ",'=SECRET()," in keys
    assert "DOE" not in keys
    assert skipped_in(written.imported)["x.dcm"].startswith("x.dcm is not DICOM though its name says so")


def test_order_does_not_depend_on_who_the_patients_are(tmp_path: Path) -> None:
    for name in "abc":
        write_series(tmp_path / name, patient=f"first-{name}")
    before = [key.images for key in import_cohort(tmp_path).keys]
    for name, patient in zip("abc", "zyx", strict=True):
        for path in (tmp_path / name).iterdir():
            dataset = dcmread(path)
            dataset.PatientID = dataset.PatientName = patient
            dataset.save_as(path)
    assert [key.images for key in import_cohort(tmp_path).keys] == before


def test_patient_id_is_the_case_id_only_if_asked(tmp_path: Path) -> None:
    write_series(tmp_path / "a", patient="LUNG1/001")
    write_series(tmp_path / "b", patient="LUNG1/001")
    write_series(tmp_path / "c", patient="")
    assert [case.case_id for case in import_cohort(tmp_path, keep_ids=True).cases] == ["LUNG1_001", "LUNG1_001_2", "c"]


def test_tree_without_images_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    ct = write_series(tmp_path / "ct")
    write_rtstruct(tmp_path / "only" / "rs.dcm", ct)
    with pytest.raises(MedganError, match=r"holds no usable image .*\n  - rs\.dcm: its image series is not here"):
        import_cohort(tmp_path / "only")


shared_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared images are not there")


@shared_data
def test_thorax_ct_is_one_case_with_its_structure_set(tmp_path: Path) -> None:
    written = medgan.pipeline.manifest(SHARED / "data" / "thorax_ct_dicom_rtstruct", tmp_path / "cohort.csv")
    (key,) = written.imported.keys
    assert key.images[0].endswith("40.0B-29543")
    assert key.label.endswith("40.0B-47.35/1-1.dcm")
    assert read_manifest(written.manifest, root=written.root)[0].split == "train"
    assert [(each.source, each.reason) for each in written.imported.skipped] == [("LICENSE.repo-MIT.txt", "not DICOM")]
    assert "note         paths in the manifest hold patient ids" in "\n".join(written.lines())


@shared_data
def test_ct_with_two_segs_takes_the_one_asked_for() -> None:
    source = SHARED / "data" / "ct_dicom_seg"
    both = import_cohort(source)
    assert labels_of(both) == {"ct-3slice": ""}
    assert {name for name, reason in skipped_in(both).items() if reason == TWO_LABELS} == {
        "liver.dcm",
        "partial_overlaps.dcm",
    }
    assert labels_of(import_cohort(source, labels="liver*")) == {"ct-3slice": "liver.dcm"}


@shared_data
def test_structure_set_of_a_series_with_one_slice_left_is_skipped() -> None:
    imported = import_cohort(SHARED / "data" / "rtstruct_heart_lung")
    assert labels_of(imported) == {".": ""}
    assert "only 1 of the 98 images" in skipped_in(imported)["rtss.dcm"]

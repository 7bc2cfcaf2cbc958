"""What every derived DICOM object says of patient, study and maker, and how that is taken away again."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, RTStructureSetStorage, generate_uid

from medgan.errors import MedganError
from medgan.volume.dicom.derived import DEIDENTIFICATION_METHOD, deidentify, new_object, write_dataset

PERSONAL = ("JONSD", "Jónsdóttir", "MRN-00412345", "19480229", "ACC-77", "Landspitali", "HUESCA", "night shift")
CODED = "2.16.840.1.113883.6.96"  # names SNOMED CT itself


def source_header() -> Dataset:
    source = Dataset()
    source.SpecificCharacterSet = "ISO_IR 100"
    source.SOPClassUID, source.SOPInstanceUID = CTImageStorage, generate_uid()
    source.StudyInstanceUID, source.SeriesInstanceUID = generate_uid(), generate_uid()
    source.FrameOfReferenceUID = generate_uid()
    source.PatientName, source.PatientID, source.PatientBirthDate = "Jónsdóttir^Anna", "MRN-00412345", "19480229"
    source.PatientSex, source.PatientAge, source.AccessionNumber = "F", "077Y", "ACC-77"
    source.StudyDate, source.StudyTime, source.StudyDescription = "20260102", "101500", "night shift follow-up"
    source.ReferringPhysicianName, source.InstitutionName = "HUESCA^R", "Landspitali"
    source.SeriesNumber = 4
    return source


def derived_object(source: Dataset) -> Dataset:
    dataset = new_object(source, sop_class_uid=RTStructureSetStorage, modality="RTSTRUCT")
    dataset.StructureSetLabel, dataset.StructureSetDate = "medgan", "20260103"
    return dataset


def test_patient_study_and_frame_of_reference_are_those_of_the_source() -> None:
    source = source_header()
    dataset = derived_object(source)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientBirthDate", "StudyDate", "StudyID"):
        assert dataset.get(keyword) == source.get(keyword, ""), keyword
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert dataset.SeriesNumber == 1004
    assert (dataset.Manufacturer, dataset.ManufacturerModelName, dataset.Modality) == ("medgan", "medgan", "RTSTRUCT")


def test_name_in_another_character_set_survives(tmp_path: Path) -> None:
    write_dataset(derived_object(source_header()), tmp_path / "a.dcm")
    read = dcmread(tmp_path / "a.dcm")
    assert read.PatientName == "Jónsdóttir^Anna"
    assert read.SpecificCharacterSet == "ISO_IR 192"


def test_what_the_source_lacks_is_there_and_empty() -> None:
    dataset = derived_object(Dataset())
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
        assert keyword in dataset
        assert not dataset[keyword].value
    assert dataset.StudyInstanceUID.is_valid
    assert dataset.FrameOfReferenceUID.is_valid
    assert "StudyDescription" not in dataset


def test_value_in_no_dicom_form_is_left_empty() -> None:
    source = source_header()
    with pytest.warns(UserWarning, match="Invalid value"):
        source.PatientBirthDate, source.PatientSex = "29.02.1948", "female, pregnant"
    dataset = derived_object(source)
    assert not dataset.PatientBirthDate
    assert not dataset.PatientSex
    assert dataset.PatientID == "MRN-00412345"


def test_source_without_identity_says_how_it_was_removed() -> None:
    source = source_header()
    source.PatientIdentityRemoved = "YES"
    assert "PatientIdentityRemoved" not in derived_object(source)  # not without the method, which the standard requires
    source.DeidentificationMethod = "by hand"
    assert derived_object(source).PatientIdentityRemoved == "YES"
    assert derived_object(source).DeidentificationMethod == "by hand"


def test_deidentified_object_holds_nothing_of_the_patient(tmp_path: Path) -> None:
    source = source_header()
    dataset = derived_object(source)
    dataset.add_new(0x00130010, "LO", "CTP")
    dataset.add_new(0x00131010, "LO", "MRN-00412345")
    dataset.InstitutionName, dataset.SeriesDescription = "Landspitali", "night shift"
    dataset.OperatorsName, dataset.PatientComments = "HUESCA^R", "Jónsdóttir"
    deidentify(dataset)
    write_dataset(dataset, tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    assert not [text for text in PERSONAL if text.encode() in content]
    assert source.StudyInstanceUID.encode() not in content
    read = dcmread(tmp_path / "a.dcm")
    assert (read.PatientIdentityRemoved, read.DeidentificationMethod) == ("YES", DEIDENTIFICATION_METHOD)
    assert (read.PatientName, read.PatientID, read.StudyDate, read.StructureSetDate) == ("", "", "", "")
    assert (read.StructureSetLabel, read.Manufacturer) == ("medgan", "medgan")
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
    assert not [element for element in read.iterall() if element.tag.is_private]


def test_new_uids_are_consistent_within_and_between_objects() -> None:
    source = source_header()
    first, second = derived_object(source), derived_object(source)
    for dataset in (first, second):
        item, code = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, source.SOPInstanceUID
        item.FrameOfReferenceUID = source.FrameOfReferenceUID
        code.CodingSchemeUID, code.ContextUID = CODED, CODED
        item.PurposeOfReferenceCodeSequence = [code]
        dataset.SourceImageSequence = [item]
        deidentify(dataset)
    (item,) = first.SourceImageSequence
    assert item.ReferencedSOPClassUID == CTImageStorage
    assert item.PurposeOfReferenceCodeSequence[0].CodingSchemeUID == CODED
    assert item.ReferencedSOPInstanceUID != source.SOPInstanceUID
    assert item.FrameOfReferenceUID == first.FrameOfReferenceUID != source.FrameOfReferenceUID
    assert item.ReferencedSOPInstanceUID == second.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_header_that_cannot_be_written_is_refused_without_its_values(tmp_path: Path) -> None:
    dataset = derived_object(source_header())
    with pytest.warns(UserWarning, match="cannot be assigned"):
        dataset.add_new(0x00280010, "US", "MRN-00412345")
    with pytest.raises(MedganError, match=r"a\.dcm could not be written") as caught:
        write_dataset(dataset, tmp_path / "a.dcm")
    assert "MRN" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

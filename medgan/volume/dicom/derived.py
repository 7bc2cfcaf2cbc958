"""What the DICOM objects medgan derives from a series share: whose they are, who made them, and how to hide the former.

Text is written as UTF-8 whatever the source used. No value of a header enters a message.
"""

import secrets
import warnings
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydicom.config import RAISE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import validate_value

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.volume.dicom.files import DicomFile

MANUFACTURER = "medgan"
DEIDENTIFICATION_METHOD = "medgan: patient, study and free text blank, UIDs replaced"

_REQUIRED = (  # type 2 of the Patient, General Study and Frame of Reference modules: present, if need be empty
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "PositionReferenceIndicator",
)
_OPTIONAL = (
    "IssuerOfPatientID",
    "StudyDescription",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "LongitudinalTemporalInformationModified",
)
_STRICT = {"DA", "TM", "CS", "AS"}  # of these, a value in another form than the standard's is no value
_DICOM_ROOT = "1.2.840.10008."  # what the standard itself names: SOP classes, transfer syntaxes
_NAMES_NO_INSTANCE = {"CodingSchemeUID", "ContextUID", "MappingResourceUID"}
_DUMMIES = {"ContentDate": "19000101", "ContentTime": "000000"}  # type 1 in a SEG
_TEXT = {"LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN"}
_TIME = {"DA", "TM", "DT"}
_OWN_TEXT = {  # what medgan itself says, by keyword; all other text goes
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "CodeValue",
    "LongCodeValue",
    "CodeMeaning",
    "CodingSchemeDesignator",
    "CodingSchemeVersion",
    "MappingResource",
    "MappingResourceName",
    "SegmentLabel",
    "SegmentAlgorithmName",
    "AlgorithmName",
    "AlgorithmVersion",
    "TrackingID",
    "DimensionDescriptionLabel",
    "StructureSetLabel",
    "ROIName",
    "ROIObservationLabel",
    "ROIGenerationAlgorithm",
}
_BLANK = {  # type 2
    "ContentDescription",
    "ContentCreatorName",
    "OperatorsName",
    "ROIInterpreter",
    "StructureSetDate",
    "StructureSetTime",
}
_SECRET = secrets.token_hex()  # new UIDs agree among the objects of one run, and lead back to no old one


def new_object(source: Dataset, *, sop_class_uid: UID, modality: str) -> Dataset:
    """Return an object of the patient, study and frame of reference of `source`, with a new series of its own.

    It has its file meta information, and the attributes that the standard requires of every object: patient, study,
    series, equipment, frame of reference and SOP common.

    Args:
        source: header of an image of the series it is derived from.
        sop_class_uid: what it is to become.
        modality: such as "RTSTRUCT".
    """
    now = datetime.now()
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, generate_uid()
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.Modality, dataset.SeriesInstanceUID = modality, generate_uid()
    dataset.SeriesNumber, dataset.InstanceNumber = series_number(source), 1
    add_patient_and_study(dataset, source)
    add_equipment(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def series_number(source: Dataset) -> int:
    """Return the number of a series derived from that of `source`: 1000 further on, where viewers list it behind."""
    try:
        number = int(source.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return 1000 + max(number, 0) if number < 2**30 else 1000


def add_patient_and_study(dataset: Dataset, source: Dataset) -> None:
    """Set patient, study and frame of reference of `dataset` to those of `source`.

    What the standard requires is there even if the source has none: empty, or for a UID a new one. Dates, times and
    codes in a form the standard does not know are left empty.
    """
    dataset.SpecificCharacterSet = "ISO_IR 192"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the value
        for keyword in (*_REQUIRED, *_OPTIONAL):
            text = _text_of(source, keyword)
            if text or keyword in _REQUIRED:
                setattr(dataset, keyword, text)
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            uid = UID(_text_of(source, keyword))
            setattr(dataset, keyword, uid if uid.is_valid else generate_uid())
        methods = source.get("DeidentificationMethodCodeSequence")
    if methods:
        dataset.DeidentificationMethodCodeSequence = methods
    elif "PatientIdentityRemoved" in dataset and "DeidentificationMethod" not in dataset:
        del dataset.PatientIdentityRemoved  # which may not be said without how


def reference_to(file: DicomFile) -> Dataset:
    """Return an item that refers to an image: its SOP class and instance.

    Raises:
        MedganError: if the file does not say what it is.
    """
    meta = getattr(file.header, "file_meta", Dataset())
    uids = {
        name: UID(file.text(name) or str(meta.get(f"MediaStorage{name}", "")))
        for name in ("SOPClassUID", "SOPInstanceUID")
    }
    absent = [name for name, uid in uids.items() if not uid.is_valid]
    if absent:
        raise MedganError(f"{file.name} has no valid {absent[0]}, so a derived object cannot refer to it.")
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = uids["SOPClassUID"], uids["SOPInstanceUID"]
    return item


def add_equipment(dataset: Dataset) -> None:
    """Set the equipment of `dataset`: medgan, in its version."""
    dataset.Manufacturer = dataset.ManufacturerModelName = MANUFACTURER
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "none", version("medgan")


def deidentify(dataset: Dataset) -> None:
    """Take from a derived object, in place, whom it is of and when; and the UIDs that lead to it.

    What the standard requires becomes blank, or a dummy where it must have a value; free text, private elements and
    everything else about patient, study and institution goes. UIDs of instances, series, studies and frames of
    reference, nested ones too, become new ones: one and the same for one and the same, in all objects of one run.
    """
    dataset.remove_private_tags()  # at every depth
    _clean(dataset, cleaned=set())
    for keyword in _REQUIRED:
        setattr(dataset, keyword, "")
    for keyword in _OPTIONAL:
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.pop("DeidentificationMethodCodeSequence", None)
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", DEIDENTIFICATION_METHOD
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def write_dataset(dataset: Dataset, path: str | Path) -> None:
    """Write a derived object as a DICOM file, atomically.

    Raises:
        MedganError: if it cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the value
        with atomic_path(path) as temporary:
            try:
                dataset.save_as(temporary, enforce_file_format=True)
            except Exception as error:  # of many kinds, most of which quote it too
                if isinstance(error, OSError) and error.errno is not None:  # the disk's
                    raise
                raise MedganError(
                    f"{path} could not be written: a value of the source's header has no form."
                ) from error


def _text_of(source: Dataset, keyword: str) -> str:
    """Return an element as text, "" if it is absent, damaged, or in a form its value representation does not have."""
    try:
        if keyword not in source or source[keyword].value is None:
            return ""
        element = source[keyword]
        value = element.value[0] if isinstance(element.value, MultiValue) and element.value else element.value
        text = str(value).strip()
        if element.VR in _STRICT:
            validate_value(element.VR, text, RAISE)
    except Exception:  # pydicom converts on access, and damaged bytes raise many kinds
        return ""
    return text


def _clean(dataset: Dataset, *, cleaned: set[int]) -> None:
    """Blank or remove what names a person, a place or a time, and replace UIDs, in a dataset and all it holds.

    An item that several sequences share is cleaned once, lest its UIDs become new twice.
    """
    if id(dataset) in cleaned:
        return
    cleaned.add(id(dataset))
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _clean(item, cleaned=cleaned)
        elif element.VR == "UI":
            element.value = _new_uids(element)
        elif element.keyword in _DUMMIES:
            element.value = _DUMMIES[element.keyword]
        elif element.keyword in _BLANK:
            element.value = ""
        elif element.VR in _TIME or (element.VR in _TEXT and element.keyword not in _OWN_TEXT):
            del dataset[element.tag]


def _new_uids(element: DataElement) -> UID | list[UID] | None:
    if element.keyword in _NAMES_NO_INSTANCE or not element.value:
        return element.value  # type: ignore[no-any-return]
    if isinstance(element.value, MultiValue):
        return [_new_uid(uid) for uid in element.value]
    return _new_uid(element.value)


def _new_uid(uid: str) -> UID:
    if uid.startswith(_DICOM_ROOT):
        return UID(uid)
    return generate_uid(entropy_srcs=[_SECRET, uid])

"""Damage to the elements of DICOM files for `fuzz.py`: other values, lengths and VRs; elements lost or repeated."""

import io
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pydicom
from pydicom import config
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

Files = dict[str, bytes]
Mutator = Callable[[Files, np.random.Generator], Files]
Change = Callable[[Dataset, np.random.Generator], None]

ODD_NUMBERS = ("0", "-1", "1", "nan", "inf", "-inf", "1e400", "1e-30", "1e30", "65536", "2147483648", "4294967295")
ODD_TEXTS = (
    "",
    " ",
    "abc",
    "QUARTZ^JANE",
    "1\\2",
    "1,5",
    "\xff\xfe",
    "0x10",
    "1e",
    "--1",
    "MONOCHROME1",
    "RGB",
    "\\\\",
)
_WEIGHTY = {  # elements that decide geometry, values, or which file belongs where
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "NumberOfFrames"),
    *("RescaleSlope", "RescaleIntercept", "SliceThickness", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID"),
    *("SOPInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "ImageType", "InstanceNumber"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PlanePositionSequence"),
    *("SegmentationType", "ReferencedSegmentNumber", "SegmentNumber", "SegmentSequence", "ContourData", "ROINumber"),
    *("MaximumFractionalValue", "ContourSequence", "ROIContourSequence", "ReferencedROINumber", "ContourGeometricType"),
    *("PixelMeasuresSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence"),
}


def _edit_datasets(files: Files, rng: np.random.Generator, change: Change) -> Files:
    """Apply one change to one file, or (three times of ten) the same one to all."""
    names = [name for name in sorted(files) if name.endswith(".dcm")]
    if not names:
        return files
    chosen = names if rng.random() < 0.3 else [str(rng.choice(names))]
    seed = int(rng.integers(2**32))
    return {**files, **{name: edited(files[name], np.random.default_rng(seed), change) for name in chosen}}


def edited(content: bytes, rng: np.random.Generator, change: Change) -> bytes:
    """Return a DICOM file with a change, or as it is where earlier damage or the value keeps pydicom from writing."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            change(dataset, rng)
            dataset.save_as(buffer, enforce_file_format=False)
    except Exception:
        return content
    return buffer.getvalue()


def _pick(dataset: Dataset, rng: np.random.Generator) -> tuple[Dataset, DataElement]:
    """Return an element at any depth and the data set it lies in; one that matters three times of four."""
    found: list[tuple[Dataset, DataElement]] = [(dataset.file_meta, element) for element in dataset.file_meta]

    def collect(within: Dataset) -> None:
        for element in within:
            found.append((within, element))
            if element.VR == "SQ":
                for item in element.value:
                    collect(item)

    collect(dataset)
    weighty = [each for each in found if each[1].keyword in _WEIGHTY]
    pool = weighty if weighty and rng.random() < 0.75 else found
    return pool[int(rng.integers(len(pool)))]


def other_value(dataset: Dataset, rng: np.random.Generator) -> None:
    within, element = _pick(dataset, rng)
    value = element.value
    if element.VR == "SQ":
        _cut(within, element, rng)
    elif element.VR in ("US", "SS", "UL", "SL"):
        near = [value + 1, value - 1, value * 2, value // 2, 0, 1, 8, 12, 16, 32, 65535, 4000]
        within[element.tag].value = int(np.clip(int(rng.choice(near)), 0, 65535))
    elif element.VR in ("DS", "IS"):
        values = [str(each) for each in (value if element.VM > 1 else [value])]
        at = int(rng.integers(len(values)))
        values[at] = _other_decimal(values[at], rng)
        values = values[::-1] if rng.random() < 0.1 else values * 2 if rng.random() < 0.05 else values
        _put_raw(within, element, "\\".join(values).encode("latin-1"))
    elif element.VR == "UI":
        odd = [
            "",
            "1.2.3",
            f"{value}.1",
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.5.1.4.1.1.4",
            "abc",
        ]
        _put_raw(within, element, str(rng.choice(odd)).encode())
    elif element.VR in ("OB", "OW"):
        pixels = bytearray(value)
        pixels[int(rng.integers(len(pixels)))] ^= 1 << int(rng.integers(8))
        element.value = bytes(pixels)
    else:
        _put_raw(within, element, str(rng.choice(ODD_TEXTS)).encode("latin-1"))


def _other_decimal(text: str, rng: np.random.Generator) -> str:
    try:
        number = float(text)
    except ValueError:
        return "1"
    near = [number + 1, number - 1, number * 1.01, number + 0.01, -number, number * 2, number + 0.3]
    odd = [*(f"{each:.8g}" for each in near), *(f"{each:.8g}" for each in near), *ODD_NUMBERS, *ODD_TEXTS[:6]]
    return str(rng.choice(odd))


def _put_raw(within: Dataset, element: DataElement, value: bytes, vr: str | None = None) -> None:
    """Store bytes as they are, valid for the VR or not."""
    is_implicit, is_little = within.original_encoding if within.original_encoding[1] is not None else (False, True)
    padded = value + b" " * (len(value) % 2)
    stored_vr = None if is_implicit else vr or element.VR
    within._dict[element.tag] = RawDataElement(
        element.tag, stored_vr, len(padded), padded, 0, bool(is_implicit), bool(is_little)
    )


def _wrong_vr(dataset: Dataset, rng: np.random.Generator) -> None:
    within, element = _pick(dataset, rng)
    value = element.value if isinstance(element.value, bytes) else str(element.value).encode("latin-1", "replace")
    _put_raw(within, element, value[:64], vr=str(rng.choice(["US", "DS", "LO", "UN", "OB", "FD", "IS", "CS"])))


def _drop_element(dataset: Dataset, rng: np.random.Generator) -> None:
    within, element = _pick(dataset, rng)
    del within[element.tag]


def _empty_element(dataset: Dataset, rng: np.random.Generator) -> None:
    _, element = _pick(dataset, rng)
    element.value = None if element.VR != "SQ" else []


def _cut(within: Dataset, element: DataElement, rng: np.random.Generator) -> None:
    items = list(element.value)
    if not items:
        return
    action, at = rng.choice(["drop", "double", "swap"]), int(rng.integers(len(items)))
    if action == "drop":
        del items[at]
    elif action == "double":
        items.insert(at, items[at])
    else:
        items[at], items[0] = items[0], items[at]
    element.value = items


def _cut_sequence(dataset: Dataset, rng: np.random.Generator) -> None:
    found = [each for each in dataset if each.VR == "SQ"]
    if found:
        _cut(dataset, found[int(rng.integers(len(found)))], rng)
    else:
        _drop_element(dataset, rng)


def _other_length(files: Files, rng: np.random.Generator) -> Files:
    """Change the length that a file claims for one of its elements, or the element's tag or VR."""
    name = str(rng.choice(sorted(files)))
    raw = bytearray(files[name])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(files[name]), force=True)
    except Exception:
        return files
    found = [each for each in dataset._dict.values() if isinstance(each, RawDataElement)]
    if not found or dataset.file_meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1.99":
        return files
    element = found[int(rng.integers(len(found)))]
    back = 4 if element.is_implicit_VR or element.VR in ("OB", "OW", "SQ", "UN", "UT", "OF", "OD") else 2
    if rng.random() < 0.2:
        back = 8  # the tag, or what stands before the length
    odd = int(
        rng.choice([0, 1, element.length + 1, element.length + 2, element.length * 2, 2**31, 2**32 - 1, 2**32 - 2])
    )
    size = 2 if back == 2 else 4
    raw[element.value_tell - back : element.value_tell - back + size] = (odd % 2 ** (8 * size)).to_bytes(size, "little")
    return {**files, name: bytes(raw)}


def _double_element(files: Files, rng: np.random.Generator) -> Files:
    """Repeat a stretch of a file that holds whole elements, or move it."""
    name = str(rng.choice(sorted(files)))
    raw, marks = files[name], []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(raw), force=True)
        marks = [e for e in dataset._dict.values() if isinstance(e, RawDataElement) and e.length < 2**20]
    except Exception:
        return files
    if not marks:
        return files
    element = marks[int(rng.integers(len(marks)))]
    start = element.value_tell - (12 if element.VR in ("OB", "OW", "SQ", "UN") and not element.is_implicit_VR else 8)
    stretch = raw[start : element.value_tell + element.length]
    return {**files, name: raw[:start] + stretch + raw[start:]}


def _deflated_again(files: Files, rng: np.random.Generator) -> Files:
    """Store a data set deflated under a syntax that says it is not, or behind its own beginning."""
    name = str(rng.choice(sorted(files)))
    at = int(rng.integers(132, max(133, len(files[name]))))
    return {**files, name: files[name][:at] + _deflated(files[name][at:])}


def _deflated(raw: bytes) -> bytes:
    """Return a deflated data set, as the deflated transfer syntax stores it."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(raw) + squeeze.flush()


def _elements(change: Change) -> Mutator:
    return lambda files, rng: _edit_datasets(files, rng, change)


DICOM_KINDS: dict[str, tuple[Mutator, float]] = {
    "element: other value": (_elements(other_value), 8),
    "element: wrong VR": (_elements(_wrong_vr), 1.5),
    "element: dropped": (_elements(_drop_element), 2),
    "element: emptied": (_elements(_empty_element), 1.5),
    "element: other length": (_other_length, 2),
    "element: doubled": (_double_element, 1),
    "sequence cut": (_elements(_cut_sequence), 1),
    "deflated within": (_deflated_again, 0.3),
}

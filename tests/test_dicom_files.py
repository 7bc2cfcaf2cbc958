"""Damaged headers: one sentence that names the file, no word of pydicom's, no memory for what is not there."""

import logging
import resource
import struct
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from phantoms import box_volume, write_dicom_series, write_enhanced
from pydicom.datadict import keyword_for_tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from medgan.errors import MedganError
from medgan.volume.dicom.files import DicomFile, printable, read_header
from medgan.volume.dicom.read import read
from medgan.volume.volume import Volume

SHAPE = (6, 5, 4)
EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
UNDEFINED, FOUR_GB = 0xFFFFFFFF, 0xFFFFFFF0
MEGABYTE = 1 << 20


@pytest.fixture
def path(tmp_path):
    """A CT slice of its own, explicit VR little endian."""
    return write_dicom_series(tmp_path, box_volume((6, 5, 1))) / "IM0000.dcm"


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) >= 1
    path.write_bytes(content.replace(old, new, 1))
    return path


def long_element(group: int, number: int, kind: bytes, length: int, value: bytes = b"") -> bytes:
    """Return an element, explicit VR little endian, that claims any length."""
    return struct.pack("<HH", group, number) + kind + b"\0\0" + struct.pack("<I", length) + value


def inserted(path: Path, element: bytes) -> Path:
    """Put an element before the rows of a file."""
    rows = b"\x28\x00\x10\x00US"
    return replaced(path, rows, element + rows)


def header_of(path: Path) -> DicomFile:
    header = read_header(path)
    assert header is not None
    return header


def refused(path: Path, match: str) -> str:
    """Read, and return the message; pydicom's warnings would be errors here, and its logs are looked for."""
    with pytest.raises(MedganError, match=match) as caught:
        read(path)
    message = str(caught.value)
    assert path.name in message
    assert message.isprintable()
    assert "DOE" not in message
    return message


@pytest.mark.parametrize("kind", [b"Ur", b"\x59\x01"])
def test_file_meta_information_of_a_damaged_kind_is_refused(path, kind):
    replaced(path, b"\x08\x00\x16\x00UI\x1a\x00", b"\x08\x00\x17\x00UI\x1a\x00")  # no SOPClassUID but that one
    replaced(path, b"\x02\x00\x02\x00UI", b"\x02\x00\x02\x00" + kind)
    refused(path, "is damaged: its MediaStorageSOPClassUID|is a damaged DICOM file")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"\x28\x00\x53\x10DS", b"\x28\x00\x53\x10FD", "RescaleSlope cannot be decoded"),
        (b"\x28\x00\x52\x10DS\x06\x00-1024 ", b"\x28\x00\x52\x10FD\x08\x00-1024.00", "RescaleIntercept is of another"),
        (b"\x28\x00\x30\x00DS", b"\x28\x00\x30\x00LO", "must have 2 numbers in PixelSpacing, found text"),
        (b"\x20\x00\x32\x00DS", b"\x20\x00\x32\x00UT", "ImagePositionPatient|header|RescaleSlope"),
        (b"\x28\x00\x10\x00US\x02\x00\x05\x00", b"\x28\x00\x10\x00DS\x02\x005 ", "Rows is of another kind"),
        (b"\x28\x00\x04\x00CS", b"\x28\x00\x04\x00OB", "PhotometricInterpretation|header"),
    ],
)
def test_an_element_of_another_kind_is_refused(path, old, new, match):
    refused(replaced(path, old, new), match)


def test_text_that_is_bytes_is_refused(path):
    value = b"1.2.3\0"
    content = path.read_bytes()
    start = content.index(b"\x20\x00\x0d\x00UI")
    end = start + 8 + struct.unpack_from("<H", content, start + 6)[0]
    path.write_bytes(content[:start] + long_element(0x20, 0x0D, b"OB", len(value), value) + content[end:])
    refused(path, "StudyInstanceUID is of another kind than it must be")


@pytest.mark.parametrize(
    ("sequence", "match"),
    [
        (b"\x00\x52\x29\x92", "SharedFunctionalGroupsSequence is no sequence"),
        (b"\x00\x52\x30\x92", "PerFrameFunctionalGroupsSequence is no sequence"),
        (b"\x28\x00\x45\x91", r"frame 1|functional groups hold \(0028,9145\), which is no sequence"),
    ],
)
def test_functional_groups_that_are_no_sequence_are_refused(tmp_path, sequence, match):
    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE))
    refused(replaced(path, sequence + b"SQ", sequence + b"UT"), match)


def test_a_private_group_does_not_overrule_the_geometry(tmp_path):
    def add_private(frame, f):
        frame.add_new(0x20050010, "LO", "SOMEONE")
        frame.add_new(0x2005100E, "SQ", [type(frame)()])
        frame[0x2005100E].value[0].ImagePositionPatient = [0, 0, 0]

    volume = box_volume(SHAPE)
    again = read(write_enhanced(tmp_path / "ct.dcm", volume, edit_frame=add_private))
    assert_alike(again, volume)


def assert_alike(again: Volume, volume: Volume) -> None:
    assert again.shape == volume.shape
    assert float(again.data.sum()) == float(volume.data.sum())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.2.840.10008.1.2.1", b"1.2.840.10\x0508.1.2.1"),
        (b"\x20\x00\x13\x00IS\x02\x001 ", b"\x20\x00\x13\x00IS\x20\x001" + b"DOE^JANE" * 3 + b" " * 7),
        (b"\x08\x00\x60\x00CS\x02\x00CT", b"\x08\x00\x05\x00CS\x04\x00DOE^\x08\x00\x60\x00CS\x02\x00CT"),
    ],
)
def test_pydicom_neither_warns_nor_logs_of_a_header(path, caplog, old, new):
    replaced(path, old, new)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(MedganError):
            file = header_of(path)
            for tag in list(file.header.keys()):
                file.value(keyword_for_tag(tag))
        with suppress(MedganError):
            read(path)
    assert [str(each.message) for each in caught if str(path) not in str(each.message)] == []
    assert caplog.text == ""


@pytest.mark.filterwarnings("ignore:The value length")  # pydicom, of the writing
def test_pydicom_does_not_warn_of_functional_groups(tmp_path):
    def add_text(frame, f):
        frame.add_new("AccessionNumber", "SH", "DOE^JANE" * 8)

    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), edit_frame=add_text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(path, r"functional groups hold \(0008,0050\), which is no sequence")


@pytest.mark.parametrize(
    "element",
    [
        long_element(0x08, 0x0060, b"UT", FOUR_GB),
        long_element(0x08, 0x0060, b"UN", FOUR_GB),
        long_element(0x20, 0x0032, b"SQ", FOUR_GB, EMPTY_ITEM),
        long_element(0x08, 0x1140, b"SQ", UNDEFINED, struct.pack("<HHI", 0xFFFE, 0xE000, FOUR_GB)),
        long_element(0x08, 0x1140, b"SQ", UNDEFINED, EMPTY_ITEM[:4] + b"\xff" * 4 + long_element(8, 1, b"UT", FOUR_GB)),
    ],
)
def test_a_length_beyond_the_end_of_the_file_takes_no_memory(path, element):
    inserted(path, element)
    tracemalloc.start()
    try:
        refused(path, "truncated|damaged")
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_file_meta_information_beyond_the_end_of_the_file_takes_no_memory(path):
    replaced(path, b"\x02\x00\x01\x00OB\0\0\x02\0\0\0", long_element(2, 1, b"OB", FOUR_GB))
    tracemalloc.start()
    try:
        refused(path, "truncated|damaged")
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("order", "syntax"), [("<", ExplicitVRLittleEndian), (">", ExplicitVRBigEndian)])
@pytest.mark.parametrize("length", [UNDEFINED, 16_000_000])
def test_two_million_empty_items_are_refused_at_once(tmp_path, length, order, syntax, parsed_items):
    path = write_dicom_series(tmp_path, box_volume((6, 5, 1)), transfer_syntax=syntax) / "IM0000.dcm"
    start = struct.pack(f"{order}HH2sHI", 0x5200, 0x9230, b"SQ", 0, length)
    items = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0) * 2_000_000
    path.write_bytes(path.read_bytes() + start + items + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0))
    grown_mb = peak_mb()
    refused(path, "PerFrameFunctionalGroupsSequence has 2,000,000 sequence items|the size of its header")
    assert len(parsed_items) <= 75_000  # where the header reader stops
    assert peak_mb() - grown_mb < 256


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("group_length", [0, 200, 0xFFFFFFF0])
def test_a_deflated_bomb_is_refused_wherever_its_group_length_points(tmp_path, group_length):
    path = (
        write_dicom_series(tmp_path, box_volume((6, 5, 1)), transfer_syntax=DeflatedExplicitVRLittleEndian)
        / "IM0000.dcm"
    )
    content = path.read_bytes()
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data_set = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    packed = bomb.compress(data_set + long_element(0x7FE1, 0x1000, b"OB", 1 << 27)) + bomb.compress(bytes(1 << 27))
    path.write_bytes(content[:140] + struct.pack("<I", group_length) + content[144:start] + packed + bomb.flush())
    refused(path, "its deflated data set exceeds the limit of 128 MiB")


def test_names_are_shown_without_what_cannot_be_printed(tmp_path):
    assert printable("a\nb\x1b[31m\udcff \u00fc.dcm") == "a\\nb\\x1b[31m\\udcff \u00fc.dcm"
    path = tmp_path / "two\nlines.dcm"
    path.write_bytes(b"no DICOM")
    with pytest.raises(MedganError, match=r"two\\nlines.dcm is not DICOM") as caught:
        read_header(path)
    assert str(caught.value).isprintable()

"""A zip of DICOM files is read like the folder it holds, and nothing it says is trusted."""

import io
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from phantoms import assert_same_world, box_volume, write_dicom_series

from medgan.errors import MedganError
from medgan.volume.dicom.read import read
from medgan.volume.dicom.series import scan


@pytest.fixture
def series(tmp_path):
    return write_dicom_series(tmp_path / "series", box_volume((6, 5, 4)))


def zipped(series: Path, *, root: str = "study/a", method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = series.with_name("study.zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(series.iterdir()):
            archive.write(file, f"{root}/{file.name}")
    return path


def refused(path: Path, match: str) -> str:
    with pytest.raises(MedganError, match=match) as caught:
        read(path)
    assert "study.zip" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_like_its_folder(series, method):
    path = zipped(series, method=method)
    assert_same_world(read(path), box_volume((6, 5, 4)))
    assert_same_world(read(path.rename(path.with_name("a download"))), box_volume((6, 5, 4)))


def test_files_of_a_zip_are_called_by_their_place_in_it_and_gone_afterwards(series):
    path = zipped(series)
    with scan(path) as found:
        file = found.series[0].files[0]
        assert file.name == f"{path}: study/a/IM0000.dcm"
        assert file.path.exists()
    assert not file.path.exists()


def test_what_is_no_dicom_is_not_taken_out(series):
    path = zipped(series)
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as inner:
        inner.write(series / "IM0000.dcm", "IM0000.dcm")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("inner.zip", nested.getvalue())
        archive.writestr("__MACOSX/study/._IM0000.dcm", b"x")
        archive.writestr("study/.DS_Store", b"x")
        archive.writestr("notes/", b"")
        archive.writestr("notes/read me.txt", b"x" * 1000)
    with scan(path) as found:
        assert found.left_out == {}
        assert len(found.series[0].files) == 4


@pytest.mark.parametrize(
    "name", ["../out.dcm", "a/../../out.dcm", "/tmp/out.dcm", "C:\\out.dcm", "a\\..\\out.dcm", "C:out.dcm"]
)
def test_a_member_that_leads_out_of_the_zip_is_refused(series, name):
    path = zipped(series)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), (series / "IM0000.dcm").read_bytes())
    refused(path, "leads out of it")
    assert not (path.parent / "out.dcm").exists()
    assert not Path(tempfile.gettempdir(), "out.dcm").exists()


def test_backslashes_part_folders_as_some_windows_programs_write_them(series):
    path = zipped(series, root="study\\a")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(series.iterdir()):
            member = zipfile.ZipInfo("x")
            member.filename = f"study\\a\\{file.name}"
            archive.writestr(member, file.read_bytes())
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] == "study\\a\\IM0000.dcm"
    assert_same_world(read(path), read(series))


def test_a_link_in_a_zip_is_refused(series):
    path = zipped(series)
    link = zipfile.ZipInfo("study/link.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, "study/link.dcm is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(series):
    path = zipped(series)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(series / "IM0001.dcm", "study/a/IM0000.dcm")
    refused(path, "study/a/IM0000.dcm is there twice")


def flag_as_encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 4)
    path.write_bytes(data)


def test_a_member_whose_name_cannot_be_printed_is_named_nevertheless(series):
    path = zipped(series)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("study/a/IM\n\x1b[1m.dcm", b"no DICOM")
    assert refused(path, r"study/a/IM\\n\\x1b\[1m.dcm is not DICOM").isprintable()


def test_an_encrypted_zip_is_refused_with_the_way_out(series):
    path = zipped(series)
    flag_as_encrypted(path)
    refused(path, "is encrypted; unpack it with its password")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_without_measure_are_refused(series, method):
    refused(zipped(series, method=method), "by a method other than deflate")


def test_a_member_that_fails_its_checksum_is_refused(series):
    path = zipped(series, method=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x03\x04", 10) - 5] ^= 1  # in the pixels of the first slice
    path.write_bytes(data)
    refused(path, "study.zip: study/a/IM0000.dcm is damaged: it fails its checksum")


def test_every_truncation_of_a_zip_is_refused(series):
    path = zipped(series)
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        refused(path, "study.zip is no zip, or is truncated|study.zip is a damaged zip")


def test_a_bomb_is_refused_before_it_inflates(series, monkeypatch):
    path = zipped(series)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.dcm", "w") as bomb:
        bomb.write((series / "IM0000.dcm").read_bytes())
        for _ in range(256):
            bomb.write(bytes(1 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("a member is inflated"))
    refused(path, r"too large: its 5 files would inflate to 268,\d{3},\d{3} bytes")


def test_a_member_that_claims_less_than_it_holds_is_refused(series):
    path = zipped(series)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.find(signature) + offset, 600)
    path.write_bytes(data)
    refused(path, "IM0000.dcm is damaged|IM0000.dcm is truncated")


def test_a_zip_of_more_files_than_memory_is_worth_is_refused(series):
    path = zipped(series)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\x05\x06") + 12, 1 << 30)
    path.write_bytes(data)
    refused(path, "has too many files for one zip")


def test_damage_inside_a_zip_is_named_by_member(series):
    (series / "IM0002.dcm").write_bytes((series / "IM0002.dcm").read_bytes()[:300])
    refused(zipped(series), "study.zip: study/a/IM0002.dcm is truncated")


def test_a_zip_without_images_says_so(series):
    path = series.with_name("study.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("read me.txt", "x")
    refused(path, "there is no DICOM image series here")


def test_an_error_of_the_caller_is_not_taken_for_one_of_the_zip(series):
    with pytest.raises(RuntimeError, match="mine"), scan(zipped(series)):
        raise RuntimeError("mine")

"""The program `Decoder` runs as its child: it decodes frames of the JPEG family for as long as its input lasts.

It is run by its path, in a bare interpreter, and imports nothing of medgan. For each request (`REQUEST`, then the
frame's bytes) it writes an answer (`ANSWER`, then the pixels). The frame reaches GDCM as a DICOM file that holds its
size, its bits and itself, and nothing else: GDCM neither rescales, nor inverts MONOCHROME1, nor parses elements a
stranger wrote.
"""

import contextlib
import json
import os
import signal
import struct
import sys
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

REQUEST = struct.Struct("<32s4HQQd")  # transfer syntax, rows, columns, bits, signed, frame bytes, memory bytes, seconds
ANSWER = struct.Struct("<B2HQ")  # outcome, bits allocated, signed, pixel bytes
READY, DECODED, UNDECODABLE, OUT_OF_MEMORY = range(4)

_IMAGE = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture: the class that asks for the fewest elements
_LONG = (b"OB", b"OW")


def main() -> None:
    """Answer requests until the parent closes the pipe, or is gone."""
    folder, search_path = Path(sys.argv[1]), json.loads(sys.argv[2])
    sys.path[:0] = search_path
    requests, answers = open(os.dup(0), "rb"), open(os.dup(1), "wb")  # noqa: PTH123, SIM115
    messages = (folder / "messages").open("w+b", buffering=0)
    with open(os.devnull, "r+b") as null:  # noqa: PTH123
        for descriptor, target in enumerate((null, null, messages)):  # the C++ below prints, not to our pipe
            os.dup2(target.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    try:
        import SimpleITK as sitk  # noqa: N813, PLC0415

        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        _send(answers, READY)
        while len(header := requests.read(REQUEST.size)) == REQUEST.size:
            _answer(header, requests, answers, folder / "frame.dcm", messages)
    finally:  # comes to that if the parent was killed; else the folder is the parent's to remove
        messages.close()
        with contextlib.suppress(OSError):
            (folder / "messages").unlink()
            folder.rmdir()


def _answer(header: bytes, requests: BinaryIO, answers: BinaryIO, path: Path, messages: RawIOBase) -> None:
    syntax, rows, columns, bits, is_signed, num_bytes, memory, seconds = REQUEST.unpack(header)
    frame = requests.read(num_bytes)
    _limit(memory, seconds)
    pixels, allocated, has_sign = b"", 0, 0
    try:
        path.write_bytes(
            dicom_of(frame, syntax.rstrip(b"\0"), rows=rows, columns=columns, bits=bits, is_signed=bool(is_signed))
        )
        pixels, allocated, has_sign = _decoded(path)
        outcome = UNDECODABLE if _told_of_damage(messages) else DECODED
    except MemoryError:
        outcome = OUT_OF_MEMORY
    except Exception as error:
        outcome = OUT_OF_MEMORY if "bad_alloc" in str(error) or "memory" in str(error) else UNDECODABLE
    finally:
        path.unlink(missing_ok=True)
    _send(answers, outcome, allocated, has_sign, pixels)


def _send(answers: BinaryIO, outcome: int, bits: int = 0, is_signed: int = 0, pixels: bytes = b"") -> None:
    answers.write(ANSWER.pack(outcome, bits, is_signed, len(pixels)))
    answers.write(pixels)
    answers.flush()


def _told_of_damage(messages: RawIOBase) -> bool:
    """Return whether libjpeg printed that it made up pixels, which it does not call an error; forget what it said."""
    messages.seek(0)
    said = messages.read(1 << 16) or b""
    messages.seek(0)
    messages.truncate()
    return b"Corrupt JPEG data" in said or b"Premature end" in said


def _limit(memory_bytes: int, seconds: float) -> None:
    """Allow so much more memory and processor time than used so far, where the system has such limits (not Windows)."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = used.ru_utime + used.ru_stime + seconds  # ends a child whose parent was killed while it decoded
    for limit, wanted in ((resource.RLIMIT_AS, _mapped_bytes() + memory_bytes), (resource.RLIMIT_CPU, processor)):
        hard = resource.getrlimit(limit)[1]
        value = int(wanted) + 1
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _mapped_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1 << 30  # more than the libraries take
    return pages * os.sysconf("SC_PAGE_SIZE")


def dicom_of(frame: bytes, syntax: bytes, *, rows: int, columns: int, bits: int, is_signed: bool) -> bytes:
    """Return a DICOM file of one grey frame, explicit VR little endian, with the fewest elements GDCM takes."""
    uid = b"2.25.1"
    meta = (
        _element(0x0002, 0x0001, b"OB", b"\0\1")
        + _element(0x0002, 0x0002, b"UI", _IMAGE.encode())
        + _element(0x0002, 0x0003, b"UI", uid)
        + _element(0x0002, 0x0010, b"UI", syntax)
        + _element(0x0002, 0x0012, b"UI", uid)
    )
    allocated = 8 if bits <= 8 else 16
    data = _element(0x0008, 0x0016, b"UI", _IMAGE.encode()) + _element(0x0008, 0x0018, b"UI", uid)
    data += _element(0x0028, 0x0002, b"US", _short(1)) + _element(0x0028, 0x0004, b"CS", b"MONOCHROME2")
    for number, value in ((0x10, rows), (0x11, columns), (0x100, allocated), (0x101, bits), (0x102, bits - 1)):
        data += _element(0x0028, number, b"US", _short(value))
    data += _element(0x0028, 0x0103, b"US", _short(int(is_signed)))
    frame += b"\0" * (len(frame) % 2)
    items = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(frame)) + frame
    pixels = (
        struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    return bytes(128) + b"DICM" + _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta))) + meta + data + pixels


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += (b"\0" if kind in (b"UI", b"OB") else b" ") * (len(value) % 2)
    layout = "<HH2sHI" if kind in _LONG else "<HH2sH"
    size = (0, len(value)) if kind in _LONG else (len(value),)
    return struct.pack(layout, group, number, kind, *size) + value


def _short(value: int) -> bytes:
    return struct.pack("<H", value)


def _decoded(path: Path) -> tuple[bytes, int, int]:
    """Return the pixels row by row, little endian, the bits each takes, and whether they are signed."""
    import SimpleITK as sitk  # noqa: N813, PLC0415

    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    if pixels.dtype.kind not in "iu":
        raise ValueError("no integers")
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return little_endian.tobytes(), 8 * pixels.dtype.itemsize, int(pixels.dtype.kind == "i")


if __name__ == "__main__":
    main()

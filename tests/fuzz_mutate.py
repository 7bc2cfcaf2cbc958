"""Damage for `fuzz.py`: what transfers, editors, exporters and strangers do to a valid file, drawn from a seed."""

import gzip
import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pydicom
from fuzz_elements import DICOM_KINDS, ODD_NUMBERS, ODD_TEXTS, Files, Mutator, edited, other_value
from fuzz_inputs import Sample
from nibabel.nifti1 import header_dtype
from nibabel.nifti2 import header_dtype as header_dtype_2
from pydicom.dataset import Dataset

_HEADER_BYTES = {
    "nifti": 352,
    "itk": 700,
    "seg.nrrd": 2000,
    "image2d": 60,
    "dicom": 2500,
    "seg": 5000,
    "rtstruct": 5000,
}


@dataclass(frozen=True)
class Mutant:
    """A damaged sample: what was done, and the files."""

    kind: str
    files: Files


def mutate(sample: Sample, rng: np.random.Generator) -> Mutant:
    """Return a sample with one to three mutations of one kind; the same generator state gives the same bytes."""
    kinds = {**_byte_kinds(_HEADER_BYTES[sample.family]), **_FAMILY_KINDS[sample.family]}
    if len(sample.files) > 2:
        kinds |= _SLICE_KINDS
    names = list(kinds)
    shares = np.array([kinds[name][1] for name in names])
    kind = names[rng.choice(len(names), p=shares / shares.sum())]
    files = dict(sample.files)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        files = kinds[kind][0](files, rng)
    return Mutant(kind, files)


# bytes, whatever they mean


def _byte_kinds(header_bytes: int) -> dict[str, tuple[Mutator, float]]:
    """Return what can happen to any file, with its share; most of it strikes in the first `header_bytes`."""
    return {
        "bits flipped": (_one_file(_flip_bits, header_bytes), 4),
        "bytes overwritten": (_one_file(_overwrite, header_bytes), 3),
        "block zeroed": (_one_file(_zero, header_bytes), 1),
        "truncated": (_one_file(_truncate, header_bytes), 1),
        "bytes inserted": (_one_file(_insert, header_bytes), 1),
        "bytes deleted": (_one_file(_delete, header_bytes), 1),
    }


def _one_file(change: Callable[[bytearray, np.random.Generator, int], None], header_bytes: int) -> Mutator:
    def apply(files: Files, rng: np.random.Generator) -> Files:
        name = str(rng.choice(sorted(files)))
        within = files[name][:2] == b"\x1f\x8b" and rng.random() < 0.7
        try:
            raw = bytearray(gzip.decompress(files[name]) if within else files[name])
        except (OSError, EOFError, zlib.error):  # damaged by the mutation before
            raw, within = bytearray(files[name]), False
        if raw:
            change(raw, rng, header_bytes)
        return {**files, name: gzip.compress(bytes(raw), 1, mtime=0) if within else bytes(raw)}

    return apply


def _place(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> int:
    """Return where to strike: four times of five in the header."""
    return int(rng.integers(min(len(raw), header_bytes) if rng.random() < 0.8 else len(raw)))


def _flip_bits(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> None:
    raw[_place(raw, rng, header_bytes)] ^= 1 << int(rng.integers(8))


def _overwrite(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> None:
    at, length = _place(raw, rng, header_bytes), int(rng.integers(1, 9))
    raw[at : at + length] = rng.bytes(len(raw[at : at + length]))


def _zero(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> None:
    at, length = _place(raw, rng, header_bytes), int(rng.integers(1, 513))
    raw[at : at + length] = bytes(len(raw[at : at + length]))


def _truncate(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> None:
    del raw[_place(raw, rng, header_bytes) if rng.random() < 0.5 else len(raw) - int(rng.integers(1, 9)) :]


def _insert(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> None:
    at, length = _place(raw, rng, header_bytes), int(rng.choice([1, 2, 4, 16, 500]))
    raw[at:at] = raw[at : at + length] if rng.random() < 0.5 else rng.bytes(length)


def _delete(raw: bytearray, rng: np.random.Generator, header_bytes: int) -> None:
    at = _place(raw, rng, header_bytes)
    del raw[at : at + int(rng.choice([1, 2, 4, 16, 500]))]


# NIfTI fields


def _edit_nifti(files: Files, rng: np.random.Generator) -> Files:
    name = next(file for file in files if not file.endswith(".img"))
    is_gzip = files[name][:2] == b"\x1f\x8b"
    raw = bytearray(gzip.decompress(files[name]) if is_gzip else files[name])
    is_second, is_big = raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"), raw[0] == 0
    dtype = (header_dtype_2 if is_second else header_dtype).newbyteorder(">" if is_big else "<")
    header = np.frombuffer(raw[: dtype.itemsize], dtype, count=1).copy()
    field = str(rng.choice([n for n in dtype.names if dtype[n].base.kind != "S"]))
    values = header[field].reshape(-1)
    at = int(rng.integers(values.size))
    with np.errstate(all="ignore"):
        values[at] = _odd_number(values[at], rng)
    header[field] = values.reshape(header[field].shape)
    raw[: dtype.itemsize] = header.tobytes()
    return {**files, name: gzip.compress(bytes(raw), 1, mtime=0) if is_gzip else bytes(raw)}


def _odd_number(value: np.generic, rng: np.random.Generator) -> float:
    number = float(value)
    if value.dtype.kind == "f":
        odd = [0.0, 1.0, -1.0, number + 0.5, number * 1.001, number * 2, -number, np.nan, np.inf, 1e30, -1e-30, 352.5]
        return float(rng.choice(odd))
    limits = np.iinfo(value.dtype)
    odd = [0, 1, 2, 3, 4, -1, number + 1, number - 1, number * 2, limits.max, limits.min, 16, 64, 512, 1024, 2304]
    return int(np.clip(float(rng.choice(odd)), limits.min, float(limits.max) * (1 - 2**-50)))


# text headers: MetaImage and NRRD


def _edit_text(files: Files, rng: np.random.Generator) -> Files:
    name = next(file for file in files if not file.endswith(".raw"))
    end = files[name].find(b"\n\n") if name.endswith("nrrd") else files[name].find(b"LOCAL")
    head, rest = (files[name][:end], files[name][end:]) if end > 0 else (files[name], b"")
    lines = head.decode("latin-1").split("\n")
    at = int(rng.integers(1, max(2, len(lines))))
    action = rng.choice(["number", "number", "number", "number", "drop", "double", "swap", "word"])
    if action == "number":
        lines[at % len(lines)] = _with_other_number(lines[at % len(lines)], rng)
    elif action == "drop":
        del lines[at % len(lines)]
    elif action == "double":
        lines.insert(int(rng.integers(1, len(lines))), _with_other_number(lines[at % len(lines)], rng))
    elif action == "swap":
        lines[at % len(lines)], lines[-1] = lines[-1], lines[at % len(lines)]
    else:
        words = lines[at % len(lines)].split(" ")
        words[int(rng.integers(len(words)))] = str(rng.choice(ODD_TEXTS))
        lines[at % len(lines)] = " ".join(words)
    return {**files, name: "\n".join(lines).encode("latin-1") + rest}


def _with_other_number(line: str, rng: np.random.Generator) -> str:
    found = list(re.finditer(r"-?\d+\.?\d*(e-?\d+)?", line))
    if not found:
        return line
    match = found[int(rng.integers(len(found)))]
    number = float(match.group())
    near = [f"{number + 1:g}", f"{number - 1:g}", f"{number * 1.01:.9g}", f"{-number:.9g}", f"{number * 2:g}"]
    return line[: match.start()] + str(rng.choice([*near, *near, *ODD_NUMBERS])) + line[match.end() :]


# slices


def _drop_slice(files: Files, rng: np.random.Generator) -> Files:
    kept = dict(files)
    del kept[str(rng.choice(sorted(files)))]
    return kept or files


def _double_slice(files: Files, rng: np.random.Generator) -> Files:
    name = str(rng.choice(sorted(files)))
    content = files[name]
    if rng.random() < 0.5:
        content = edited(content, rng, other_value)
    return {**files, f"copy-{name}": content}


def _swap_contents(files: Files, rng: np.random.Generator) -> Files:
    """Exchange what two files hold: harmless, for names say nothing."""
    a, b = (str(name) for name in rng.choice(sorted(files), 2))
    return {**files, a: files[b], b: files[a]}


def _swap_positions(files: Files, rng: np.random.Generator) -> Files:
    """Give a slice another slice's position, as a wrong anonymiser might."""
    a, b = (str(name) for name in rng.choice(sorted(files), 2))
    position = pydicom.dcmread(io.BytesIO(files[b]), force=True).get("ImagePositionPatient")

    def change(dataset: Dataset, rng: np.random.Generator) -> None:
        dataset.ImagePositionPatient = position

    return {**files, a: edited(files[a], rng, change)}


_SLICE_KINDS: dict[str, tuple[Mutator, float]] = {
    "slice dropped": (_drop_slice, 1),
    "slice doubled": (_double_slice, 1),
    "files swapped": (_swap_contents, 0.5),
    "positions swapped": (_swap_positions, 0.7),
}
_FAMILY_KINDS: dict[str, dict[str, tuple[Mutator, float]]] = {
    "nifti": {"header field": (_edit_nifti, 12)},
    "itk": {"header text": (_edit_text, 12)},
    "seg.nrrd": {"header text": (_edit_text, 12)},
    "image2d": {},
    "dicom": DICOM_KINDS,
    "seg": DICOM_KINDS,
    "rtstruct": DICOM_KINDS,
}

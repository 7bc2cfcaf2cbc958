"""What a file holds, read a second time by other means than medgan's: the judge of `fuzz.py`.

NIfTI by nibabel, PNG by SimpleITK, MetaImage and NRRD by the formulas of their own documents, DICOM in `fuzz_dicom.py`
and `fuzz_labels.py`. All of it is compared at points in the patient, so axes may be permuted or flipped; what medgan
loads must be all that is there, and no more.
"""

import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from fuzz_dicom import dicom_parts
from fuzz_inputs import Sample
from fuzz_labels import LABEL_JUDGES
from fuzz_parts import TO_RAS, ContradictionError, Part, UnreadableError, difference, grid_part, same_world

from medgan.volume.volume import Volume


def judge(folder: Path, sample: Sample, volume: Volume, *, said: str) -> str:
    """Return what is wrong with a loaded volume, "" if it is what the files hold.

    Args:
        folder: where the mutated files lie.
        sample: what they were before.
        volume: what was loaded from them.
        said: the warnings; a file that was left out must be named there, or have been announced as left out.

    Raises:
        UndecidedError: if only medgan's own decoder can tell.
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if sample.family in LABEL_JUDGES:
                return LABEL_JUDGES[sample.family](folder / sample.target, volume, sample.truth, said)
            return difference(volume, _PARTS_OF[sample.family](folder / sample.target, said), said)
    except ContradictionError as error:
        return f"loaded, but {error}"
    except UnreadableError as error:
        return "" if same_world(volume, sample.truth) else f"loaded, but {error}"


# NIfTI


def _nifti_parts(path: Path, said: str) -> list[Part]:
    contents = {suffix: _unzipped(path.with_suffix(suffix)) for suffix in (".hdr", ".img") if path.suffix == ".hdr"}
    raw = contents.get(".hdr") or _unzipped(path)
    kind = nib.Nifti2Image if raw[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image
    try:
        if contents:
            maps = nib.Nifti1Pair.make_file_map()
            maps["header"].fileobj, maps["image"].fileobj = io.BytesIO(raw[:348]), io.BytesIO(contents[".img"])
            image = nib.Nifti1Pair.from_file_map(maps)
        else:
            image = kind.from_bytes(raw)
        data = np.asarray(image.dataobj)
    except Exception as error:
        raise UnreadableError(f"nibabel refuses it ({type(error).__name__}: {error})") from error
    header = image.header
    if header["qform_code"] <= 0 and header["sform_code"] <= 0:
        raise ContradictionError("both form codes are 0")
    if data.dtype.kind not in "iuf":
        raise UnreadableError(f"its values are {data.dtype}")
    if data.ndim > 3 and any(n > 1 for n in data.shape[3:]):
        raise UnreadableError(f"its shape is {data.shape}")
    _check_forms(header, said)
    mm = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7)
    if mm is None:
        raise UnreadableError("its unit is unknown")
    affine = np.diag([mm, mm, mm, 1.0]) @ image.affine
    return [grid_part(data.reshape((*data.shape, 1, 1)[:3]), affine)]


def _unzipped(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(f"gzip refuses it ({error})") from error


def _check_forms(header: nib.Nifti1Header, said: str) -> None:
    """Both forms set and apart by more than a voxel: refused, or said."""
    if min(header["qform_code"], header["sform_code"]) <= 0:
        return
    try:
        qform = header.get_qform()
    except Exception as error:
        raise UnreadableError("its qform is no rotation") from error
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array((*header.get_data_shape()[:3], 1, 1))[:3] - 1)
    sform = header.get_sform()
    apart = (corners @ (qform - sform)[:3, :3].T + (qform - sform)[:3, 3]).ravel()
    if not np.linalg.norm(apart.reshape(-1, 3), axis=1).max() <= np.linalg.norm(sform[:3, :3], axis=0).max():
        if header["qform_code"] == header["sform_code"]:
            raise ContradictionError("its qform and sform disagree under one code")
        if "sform" not in said:
            raise ContradictionError("its qform and sform disagree, and no warning says so")


# MetaImage, NRRD, PNG

_META_TYPES = {"MET_SHORT": "i2", "MET_USHORT": "u2", "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_INT": "i4"}
_META_TYPES |= {"MET_UINT": "u4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"}
_NRRD_TYPES = {"short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2", "int": "i4", "float": "f4", "double": "f8"}
_NRRD_TYPES |= {
    "unsigned char": "u1",
    "unsigned short": "u2",
    "unsigned int": "u4",
    "uchar": "u1",
    "uint8": "u1",
    "signed char": "i1",
    "int8": "i1",
    "int32": "i4",
    "uint32": "u4",
}
_NRRD_SPACES = {"left-posterior-superior": (-1, -1, 1), "right-anterior-superior": (1, 1, 1)}
_NRRD_SPACES |= {"left-anterior-superior": (-1, 1, 1), "lps": (-1, -1, 1), "ras": (1, 1, 1), "las": (-1, 1, 1)}


def _itk_parts(path: Path, said: str) -> list[Part]:
    try:
        return [_nrrd_part(path) if path.suffix in (".nrrd", ".nhdr") else _meta_part(path)]
    except (KeyError, ValueError, OSError, EOFError, IndexError, zlib.error) as error:
        raise UnreadableError(f"its header and voxels do not fit together ({type(error).__name__}: {error})") from error


def _meta_part(path: Path) -> Part:
    fields, rest = {}, path.read_bytes()
    while "elementdatafile" not in fields:
        line, _, rest = rest.partition(b"\n")
        if not rest and not line:
            raise ValueError("no ElementDataFile")
        name, _, value = line.decode("latin-1").partition("=")
        fields[name.strip().lower()] = value.strip()
    num_dims = int(fields["ndims"])
    size = _integers(fields["dimsize"], num_dims)
    file = fields["elementdatafile"]
    raw = rest if file.upper() == "LOCAL" else (path.parent / file).read_bytes()
    raw = zlib.decompress(raw) if fields.get("compresseddata", "False").lower() == "true" else raw
    is_big = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False")).lower() == "true"
    data = _as_grid(raw, (">" if is_big else "<") + _META_TYPES[fields["elementtype"]], size)
    matrix = _numbers(fields["transformmatrix"], num_dims**2).reshape(num_dims, num_dims).T
    return _placed(data, matrix * _numbers(fields["elementspacing"], num_dims), _numbers(fields["offset"], num_dims))


def _nrrd_part(path: Path) -> Part:
    head, separator, rest = path.read_bytes().partition(b"\n\n")
    lines = [line.partition(":") for line in head.decode("latin-1").splitlines()[1:] if not line.startswith("#")]
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    size = _integers(fields["sizes"], int(fields["dimension"]))
    file = fields.get("data file", fields.get("datafile"))
    raw = (path.parent / file).read_bytes() if file else rest if separator else b""
    raw = gzip.decompress(raw) if fields["encoding"] in ("gzip", "gz") else raw
    order = ">" if fields.get("endian", "little") == "big" else "<"
    data = _as_grid(raw, order + _NRRD_TYPES[fields["type"]], size)
    columns = [_numbers(text.strip("()"), 3, ",") for text in fields["space directions"].split()]
    signs = np.array(_NRRD_SPACES[fields["space"].lower()]) * TO_RAS  # to LPS, as `_placed` wants it
    origin = _numbers(fields["space origin"].strip("()"), 3, ",")
    return _placed(data, signs[:, None] * np.array(columns).T, signs * origin)


def _integers(text: str, count: int) -> list[int]:
    numbers = [int(word) for word in text.split()]
    if len(numbers) != count or min(numbers) < 1:
        raise ValueError(f"{count} sizes expected")
    return numbers


def _numbers(text: str, count: int, separator: str | None = None) -> np.ndarray:
    numbers = np.array([float(word) for word in text.split(separator)])
    if numbers.size != count or not np.isfinite(numbers).all():
        raise ValueError(f"{count} finite numbers expected")
    return numbers


def _as_grid(raw: bytes, dtype: str, size: Sequence[int]) -> np.ndarray:
    num_bytes = int(np.prod(size, dtype=object)) * np.dtype(dtype).itemsize
    if len(raw) < num_bytes:
        raise ValueError(f"{num_bytes} bytes of voxels expected, {len(raw)} there")
    return np.frombuffer(raw[:num_bytes], dtype).reshape(size, order="F")


def _placed(data: np.ndarray, columns: np.ndarray, origin: np.ndarray) -> Part:
    """Return the part of a grid whose geometry is in LPS; a 2D one lies at z = 0."""
    affine, n = np.eye(4), data.ndim
    affine[:n, :n], affine[:n, 3] = columns, origin
    return grid_part(data.reshape((*data.shape, 1)[:3]), np.diag([*TO_RAS, 1.0]) @ affine)


def _png_parts(path: Path, said: str) -> list[Part]:
    try:
        data = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="PNGImageIO"))
    except RuntimeError as error:
        raise UnreadableError("libpng refuses it") from error
    data = data[..., 0] if data.ndim == 3 else data
    return [grid_part(data.T[:, :, None], np.diag([*TO_RAS, 1.0]))]


_PARTS_OF: dict[str, Callable[[Path, str], list[Part]]] = {
    "nifti": _nifti_parts,
    "itk": _itk_parts,
    "seg.nrrd": _itk_parts,  # its three segments have three values in one layer
    "image2d": _png_parts,
    "dicom": dicom_parts,
}

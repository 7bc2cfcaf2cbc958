"""MetaImage (mha, mhd) and NRRD (nrrd, nhdr) through SimpleITK, and the check that it is the real SimpleITK."""

import zlib
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from medgan.errors import MedganError
from medgan.files import atomic_path
from medgan.volume.affine import affine_from_parts, lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_bytes, check_num_voxels, volume_at
from medgan.volume.volume import Volume

_OLDEST = (2, 4)
_MAX_HEADER_BYTES = 1 << 20
_NRRD_SPACES = {  # the ones ITK turns into LPS; it would take any other for LPS as it is
    "left-posterior-superior",
    "lps",
    "right-anterior-superior",
    "ras",
    "left-anterior-superior",
    "las",
}


def check_simpleitk() -> None:
    """Raise `MedganError` unless the installed SimpleITK is the real one, of version 2.4 or later.

    SimpleITK-SimpleElastix installs itself over SimpleITK's own files, with an unreleased ITK.
    """
    version = _version_of("SimpleITK")
    if version is None or _version_of("SimpleITK-SimpleElastix") is not None:
        raise MedganError(
            "SimpleITK must be the real one, but SimpleITK-SimpleElastix is installed over it; "
            "run pip uninstall simpleitk-simpleelastix simpleitk, then pip install simpleitk."
        )
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise MedganError(f"SimpleITK must be 2.4 or later, found {version}; run pip install -U simpleitk.")


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


check_simpleitk()
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a scalar 2D or 3D image in its stored type; a 2D one has K = 1 and a nominal 1 mm along k.

    Raises:
        MedganError: if the file is truncated or corrupt, has channels or time points, records no orientation, keeps
            its voxels outside its own folder, or claims more than `max_voxels`.
    """
    path = Path(path)
    fields, start = _header_of(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NrrdImageIO" if _is_nrrd(path) else "MetaImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path) from error
    _check_kind(path, reader)
    check_num_voxels(path, reader.GetSize(), max_voxels=max_voxels)
    _check_voxels(path, fields, start, num_bytes=_num_bytes(reader))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path) from error
    data: np.ndarray = sitk.GetArrayFromImage(image).T
    return volume_at(path, data.reshape((1, *data.shape, 1)[:4]), _affine_of(image))


def write(volume: Volume, path: str | Path) -> None:
    """Write one channel as .mha or .nrrd in its own type, compressed, atomically.

    Raises:
        MedganError: if the file cannot be written, or the affine has shear, which these formats do not keep.
    """
    path = Path(path)
    affine = lps_to_ras(volume.affine)
    directions = affine[:3, :3] / volume.spacing_mm
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4:
        raise MedganError(f"{path} cannot hold a sheared affine; write .nii.gz instead.")
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data[0].T))
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection(directions.ravel().tolist())
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise MedganError(f"{path} could not be written; is there room on the disk?") from error


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


def _header_of(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields, names in lower case, and the byte where voxels may begin."""
    is_nrrd, fields = _is_nrrd(path), {}
    with path.open("rb") as file:
        is_ours = file.read(4) == b"NRRD" if is_nrrd else True
        while is_ours and file.tell() < _MAX_HEADER_BYTES and (line := file.readline(_MAX_HEADER_BYTES)):
            name, separator, value = line.decode("latin-1").partition(":" if is_nrrd else "=")
            name = name.strip().lower()
            if separator:
                fields[name] = value.strip()
            if name == "elementdatafile" or (is_nrrd and not line.strip()):
                return fields, file.tell()
        if "sizes" in fields:  # a detached NRRD header may end without an empty line
            return fields, file.tell()
    what = "an NRRD" if is_nrrd else "a MetaImage"
    raise MedganError(f"{path} is not {what} file, or its header is truncated; check what it is.")


def _check_kind(path: Path, reader: sitk.ImageFileReader) -> None:
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    if reader.GetNumberOfComponents() != 1 or "complex" in kind:
        raise MedganError(
            f"{path} must hold one real number per voxel, but its data type is {kind} with "
            f"{reader.GetNumberOfComponents()} channels; save the channel you want as a file of its own."
        )
    if reader.GetDimension() not in (2, 3):
        raise MedganError(
            f"{path} must be one 3D volume, but has the {reader.GetDimension()}D shape {reader.GetSize()}; "
            "save the time point or channel you want as a file of its own."
        )


def _num_bytes(reader: sitk.ImageFileReader) -> int:
    probe = sitk.Image([1] * reader.GetDimension(), reader.GetPixelIDValue())
    return int(np.prod(reader.GetSize(), dtype=object)) * int(probe.GetSizeOfPixelComponent())


def _check_voxels(path: Path, fields: dict[str, str], start: int, *, num_bytes: int) -> None:
    """Check place, length and (MetaImage) checksum of the voxels, which ITK does not or reads past."""
    if _is_nrrd(path):
        _check_nrrd_space(path, fields)
        name, is_raw = fields.get("data file", fields.get("datafile", "")), fields.get("encoding") == "raw"
        is_deflated = fields.get("encoding") in ("gzip", "gz")
    else:
        if fields.get("binarydata", "True").lower() != "true":
            raise MedganError(f"{path} must hold binary voxels, found BinaryData = False; save it again in binary.")
        name = "" if fields["elementdatafile"].upper() == "LOCAL" else fields["elementdatafile"]
        is_deflated = fields.get("compresseddata", "False").lower() == "true"
        is_raw = not is_deflated
    data_path = path.parent / name if name else path
    if name and (Path(name).name != name or not data_path.is_file()):
        raise MedganError(f"{path} must name one data file in its own folder, found {name!r} or no such file there.")
    first = 0 if name else start
    if is_raw or is_deflated:
        available = data_path.stat().st_size - first
        check_num_bytes(data_path, claimed=num_bytes, available=available, is_compressed=is_deflated)
    if is_deflated and not _is_nrrd(path):
        _check_zlib(data_path, first, num_bytes=num_bytes)


def _check_nrrd_space(path: Path, fields: dict[str, str]) -> None:
    if fields.get("dimension") == "3" and fields.get("space", "").lower() not in _NRRD_SPACES:
        raise MedganError(
            f"{path} must record its orientation in a space such as left-posterior-superior, "
            f"found {fields.get('space', 'none')!r}; export it again."
        )
    if any(unit not in ("mm", '"mm"') for unit in fields.get("space units", "").split()):
        raise MedganError(f"{path} must be in mm, found space units {fields['space units']}; export it again.")


def _check_zlib(path: Path, start: int, *, num_bytes: int) -> None:
    """Inflate the whole stream for its checksum: ITK says nothing of a corrupt one, and gives back what it has."""
    inflate, found = zlib.decompressobj(), 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            while not inflate.eof and found <= num_bytes and (chunk := file.read(1 << 16)):
                found += len(inflate.decompress(chunk))
    except zlib.error as error:
        raise MedganError(f"{path} is corrupt: its compressed voxels fail their checksum; copy it again.") from error
    if not inflate.eof or found != num_bytes:
        raise MedganError(f"{path} is truncated: expected {num_bytes:,} bytes of voxels, found {found:,}.")


def _affine_of(image: sitk.Image) -> np.ndarray:
    """Return the RAS+ affine of a SimpleITK image, whose own is LPS."""
    dimension = image.GetDimension()
    directions, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    directions[:dimension, :dimension] = np.reshape(image.GetDirection(), (dimension, dimension))
    spacing[:dimension], origin[:dimension] = image.GetSpacing(), image.GetOrigin()
    return lps_to_ras(affine_from_parts(origin.tolist(), directions, spacing.tolist()))


def _unreadable(path: Path) -> MedganError:
    return MedganError(f"{path} is truncated, damaged or of an unsupported kind: ITK cannot read it; export it again.")

"""The valid inputs that `fuzz.py` starts from: one small phantom in every format, made in memory, the same every time.

Each holds the planted strings where a hospital's file would hold a person: none of them may reach a message.
"""

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from fuzz_objects import segmentation, structure_set
from phantoms import box_volume, oblique_affine, write_dicom_series, write_enhanced
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medgan.volume.affine import lps_to_ras
from medgan.volume.volume import Volume

PLANTED = ("QUARTZ", "JANE", "00412345", "19570612", "SECRET")
SHAPE = (12, 10, 5)


@dataclass(frozen=True)
class Sample:
    """A valid input: its files by name, and which of them is read ("" is the folder that holds them).

    Attributes:
        family: which judge knows it: nifti, itk, image2d, dicom, seg, seg.nrrd or rtstruct.
        weight: how often it is drawn, against the others.
        truth: what it holds.
    """

    name: str
    family: str
    files: dict[str, bytes]
    target: str
    truth: Volume
    weight: float = 1.0


@cache
def samples() -> tuple[Sample, ...]:
    """Return every valid input."""
    return (*_nifti_samples(), *_itk_samples(), *_png_samples(), *_dicom_samples(), *_label_samples())


def _volume(affine: np.ndarray | None = None) -> Volume:
    return box_volume(SHAPE, oblique_affine() if affine is None else affine)


def _nifti_samples() -> list[Sample]:
    stored = np.round(_volume().data[0]).astype(np.int16)
    return [
        _nifti("nii", nib.Nifti1Image, stored, "<i2", ["scan.nii"], slope=(2.0, -24.0)),
        _nifti("nii big-endian", nib.Nifti1Image, stored, ">f4", ["scan.nii"]),
        _nifti("nii qform", nib.Nifti1Image, stored, "<i4", ["scan.nii"], codes=(1, 0)),
        _nifti("nii two forms", nib.Nifti1Image, stored, "<f8", ["scan.nii"], codes=(1, 2)),
        _nifti("nii.gz", nib.Nifti1Image, stored, "<i2", ["scan.nii.gz"]),
        _nifti("nii-2", nib.Nifti2Image, stored, "<i2", ["scan.nii"]),
        _nifti("nii pair", nib.Nifti1Pair, stored, "<i2", ["scan.hdr", "scan.img"], slope=(0.5, 10.0)),
    ]


def _nifti(
    name: str,
    kind: type[nib.Nifti1Pair],
    stored: np.ndarray,
    dtype: str,
    files: list[str],
    *,
    slope: tuple[float, float] = (1.0, 0.0),
    codes: tuple[int, int] = (1, 1),
) -> Sample:
    affine = oblique_affine()
    header = kind.header_class(endianness=dtype[0])
    header.set_data_dtype(np.dtype(dtype))
    header.set_xyzt_units("mm")
    header["descrip"], header["aux_file"], header["intent_name"] = b"QUARTZ^JANE MRN-00412345", b"SECRET", b"JANE"
    image = kind(stored.astype(dtype), affine, header)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    with tempfile.TemporaryDirectory() as folder:
        image.header.set_slope_inter(*slope)
        nib.save(image, Path(folder) / files[0])
        contents = {file: (Path(folder) / file).read_bytes() for file in files}
    for file in files:  # nibabel scales anew when it saves; write the slope that was meant
        contents[file] = _with_slope(contents[file], slope) if file.endswith((".nii", ".hdr")) else contents[file]
    real = stored.astype(np.float64) * slope[0] + slope[1]
    return Sample(name, "nifti", contents, files[0], Volume(real[None], affine), weight=3)


def _with_slope(content: bytes, slope: tuple[float, float]) -> bytes:
    order = "little" if content[0] else "big"
    is_first = int.from_bytes(content[:4], order) == 348
    values = np.array(slope, ("<" if order == "little" else ">") + ("f4" if is_first else "f8")).tobytes()
    offset = 112 if is_first else 176
    return content[:offset] + values + content[offset + len(values) :]


def _itk_samples() -> list[Sample]:
    volume = _volume()
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data[0].T.astype(np.int16)))
    affine = lps_to_ras(volume.affine)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((affine[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetMetaData("Comment", "QUARTZ JANE 19570612 SECRET")
    kinds = {
        "mha": (["scan.mha"], False),
        "mha deflated": (["scan.mha"], True),
        "mhd": (["scan.mhd", "scan.raw"], False),
        "nrrd": (["scan.nrrd"], False),
        "nrrd gzip": (["scan.nrrd"], True),
        "nhdr": (["scan.nhdr", "scan.raw"], False),
    }
    found = []
    for name, (files, compressed) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            sitk.WriteImage(image, str(Path(folder) / files[0]), useCompression=compressed)
            contents = {file: (Path(folder) / file).read_bytes() for file in files}
        found.append(Sample(name, "itk", contents, files[0], volume, weight=2))
    return found


def _png_samples() -> list[Sample]:
    grey = (np.arange(42).reshape(6, 7) * 6).astype(np.uint8)
    return [_png("png", grey), _png("png 16 bit", grey.astype(np.uint16) * 200)]


def _png(name: str, pixels: np.ndarray) -> Sample:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("Patient", "QUARTZ^JANE 19570612")
    Image.fromarray(pixels).save(buffer, "png", pnginfo=info)
    truth = Volume(pixels.T[None, :, :, None], lps_to_ras(np.eye(4)))
    return Sample(name, "image2d", {"scan.png": buffer.getvalue()}, "scan.png", truth)


def _dicom_samples() -> list[Sample]:
    oblique = oblique_affine(left_handed=True)
    series = _series_sample("dcm", weight=6)
    return [
        series,
        _series_sample("dcm implicit", syntax=ImplicitVRLittleEndian, weight=3),
        _series_sample("dcm oblique", affine=oblique, weight=3),
        _series_sample("dcm big-endian", syntax=ExplicitVRBigEndian),
        _series_sample("dcm deflated", syntax=DeflatedExplicitVRLittleEndian),
        _series_sample("dcm rle", syntax=RLELossless, weight=2),
        _series_sample("dcm jpeg-ls", syntax=JPEGLSLossless),
        _series_sample("dcm jpeg 2000", syntax=JPEG2000Lossless),
        _series_sample("dcm jpeg lossless", syntax=JPEGLosslessSV1, weight=0.5),
        _series_sample("pet", edit=_as_pet, weight=2),
        _zipped(series),
        _enhanced_sample("enhanced", ExplicitVRLittleEndian, weight=4),
        _enhanced_sample("enhanced rle", RLELossless, weight=1.5),
    ]


def _series_sample(
    name: str,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    affine: np.ndarray | None = None,
    edit: Callable[[Dataset, int], None] = lambda dataset, k: None,
    weight: float = 1.0,
) -> Sample:
    volume = _volume(lps_to_ras(np.diag([1.5, 2.0, 3.0, 1.0])) if affine is None else affine)
    by_gdcm = syntax in (JPEG2000Lossless, JPEGLosslessSV1)

    def edit_slice(dataset: Dataset, k: int) -> None:
        plant(dataset, name, k)
        if by_gdcm:
            encode_by_gdcm(dataset, syntax)
        edit(dataset, k)

    with tempfile.TemporaryDirectory() as folder:
        written = ExplicitVRLittleEndian if by_gdcm else syntax
        write_dicom_series(Path(folder), volume, transfer_syntax=written, seed=1, edit=edit_slice)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    scale = np.array([2.0 ** (k % 2) if edit is _as_pet else 1.0 for k in range(SHAPE[2])])
    return Sample(name, "dicom", files, "", Volume((volume.data + 1024) * scale - 1024, volume.affine), weight)


def _as_pet(dataset: Dataset, k: int) -> None:
    """Give every slice a slope of its own, as PET has."""
    dataset.Modality, dataset.RescaleSlope = "PT", str(2 ** (k % 2))


def plant(dataset: Dataset, name: str, k: int) -> None:
    """Give a data set what names a person, and UIDs that are the same in every run."""
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "QUARTZ^JANE", "MRN-00412345", "19570612"
    dataset.StudyDescription, dataset.SeriesDescription = "SECRET study of QUARTZ", "SECRET JANE"
    dataset.OperatorsName, dataset.InstitutionName = "QUARTZ^JANE", "SECRET"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, keyword, generate_uid(entropy_srcs=["medgan fuzz", name, keyword]))
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["medgan fuzz", name, str(k)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def encode_by_gdcm(dataset: Dataset, syntax: UID) -> None:
    """Replace the uncompressed pixels of a one-frame data set by JPEG 2000 or lossless JPEG, which pydicom lacks."""
    kind = {JPEG2000Lossless: "JPEG2000", JPEGLosslessSV1: "JPEG"}[syntax]
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(kind)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/slice.dcm"
        writer.SetFileName(path)
        writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
        encoded = pydicom.dcmread(path)
    assert encoded.file_meta.TransferSyntaxUID == syntax
    dataset.PixelData = encapsulate([next(generate_frames(encoded.PixelData, number_of_frames=1))])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = syntax


def _label_samples() -> list[Sample]:
    grid = lps_to_ras(np.diag([1.5, 2.0, 3.0, 1.0]))
    label = box_volume(SHAPE, grid, labels=True)
    objects = {f"seg {kind.lower()}": segmentation(label, kind) for kind in ("BINARY", "FRACTIONAL", "LABELMAP")}
    found = []
    for name, dataset in objects.items():
        plant(dataset, name, 0)
        found.append(Sample(name, "seg", {"seg.dcm": _saved(dataset)}, "seg.dcm", label, weight=2))
    found.append(
        Sample("seg.nrrd", "seg.nrrd", {"label.seg.nrrd": _slicer_file(label)}, "label.seg.nrrd", label, weight=2)
    )
    rtstruct, truth = structure_set(Volume(np.zeros((1, *SHAPE), np.uint8), grid))
    plant(rtstruct, "rtstruct", 0)
    found.append(Sample("rtstruct", "rtstruct", {"rs.dcm": _saved(rtstruct)}, "rs.dcm", truth, weight=4))
    return found


def _slicer_file(label: Volume) -> bytes:
    """Return an axial LPS label volume of the values 1 to 3 as 3D Slicer writes it."""
    i, j, k = label.spacing_mm
    lines = ["NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior"]
    lines += [f"sizes: {' '.join(map(str, label.shape))}", f"space directions: ({i},0,0) (0,{j},0) (0,0,{k})"]
    lines += ["kinds: domain domain domain", "encoding: gzip", "space origin: (0,0,0)"]
    for n in range(3):
        lines += [
            f"Segment{n}_ID:=Segment_{n + 1}",
            f"Segment{n}_Name:=organ {n + 1}",
            f"Segment{n}_Color:=0.5 0.{n} 0.9",
        ]
        lines += [f"Segment{n}_Layer:=0", f"Segment{n}_LabelValue:={n + 1}", f"Segment{n}_Tags:=JANE:SECRET|"]
        lines += [f"Segment{n}_Extent:=0 {label.shape[0] - 1} 0 {label.shape[1] - 1} 0 {label.shape[2] - 1}"]
    lines += ["Segmentation_MasterRepresentation:=Binary labelmap", "", ""]
    return "\n".join(lines).encode() + gzip.compress(label.data[0].tobytes(order="F"), 6, mtime=0)


def _saved(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _zipped(sample: Sample) -> Sample:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sample.files.items():
            archive.writestr(zipfile.ZipInfo(f"study/{name}"), content, zipfile.ZIP_DEFLATED)
    return Sample("dcm zip", "dicom", {"study.zip": buffer.getvalue()}, "study.zip", sample.truth)


def _enhanced_sample(name: str, syntax: UID, *, weight: float) -> Sample:
    """Return one enhanced CT object whose frames lie in no order."""
    volume, order = _volume(oblique_affine()), np.random.default_rng(2).permutation(SHAPE[2]).tolist()

    def edit(dataset: Dataset) -> None:
        plant(dataset, name, 0)
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)

    with tempfile.TemporaryDirectory() as folder:
        content = write_enhanced(Path(folder) / "enhanced.dcm", volume, order=order, edit=edit).read_bytes()
    return Sample(name, "dicom", {"enhanced.dcm": content}, "enhanced.dcm", volume, weight)

"""A slice: one image plane with its geometry, be it a file of its own or a frame of a multi-frame object."""

from dataclasses import dataclass

import numpy as np

from medgan.errors import MedganError
from medgan.volume.dicom.enhanced import frames_of, is_multi_frame
from medgan.volume.dicom.files import DicomFile

MAX_COSINE_ERROR = 1e-3
_MAX_MM = 1e6


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice with its geometry, in DICOM's LPS millimetres.

    Attributes:
        file: the file it is in.
        frame: its 0-based index in a multi-frame file, else None.
        size: columns, rows.
        spacing_mm: between columns, between rows.
        axes: (3, 2): unit vectors along which columns and rows count up.
        position: (3,): its first pixel's centre.
        header: the frame's own elements as a file; `file` itself where it is not multi-frame.
    """

    file: DicomFile
    frame: int | None
    size: tuple[int, int]
    spacing_mm: np.ndarray
    axes: np.ndarray
    position: np.ndarray
    header: DicomFile

    @property
    def normal(self) -> np.ndarray:
        """The unit vector across the slice, (3,)."""
        return np.cross(self.axes[:, 0], self.axes[:, 1])

    @property
    def short_name(self) -> str:
        """What messages that name the folder call it: file name, and frame number from 1."""
        return self.header.short_name

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout, by ImageType or FrameType."""
        return is_localizer(self.header)


def is_localizer(file: DicomFile) -> bool:
    """Return whether a file or frame is a scout, by ImageType or FrameType."""
    return "LOCALIZER" in file.text("FrameType") or "LOCALIZER" in file.text("ImageType")


def slices_of(file: DicomFile) -> list[Slice]:
    """Return the one slice of a classic file, or the frames of a multi-frame one, with their geometry checked.

    Raises:
        MedganError: if size, spacing, orientation or position is absent or impossible.
    """
    if is_multi_frame(file):
        return [_slice(file, frame, header) for frame, header in enumerate(frames_of(file))]
    if (num_frames := file.integer("NumberOfFrames", default=1)) != 1:
        raise MedganError(
            f"{file.name} has {num_frames} frames (multi-frame) but no functional groups that would place them; "
            "export single slices, or an enhanced object."
        )
    return [_slice(file, None, file)]


def _slice(file: DicomFile, frame: int | None, header: DicomFile) -> Slice:
    row_spacing, column_spacing = header.numbers("PixelSpacing", 2)
    if min(row_spacing, column_spacing) <= 0:
        raise MedganError(
            f"{header.name} must have a PixelSpacing above zero, found ({row_spacing:g}, {column_spacing:g})."
        )
    axes = header.numbers("ImageOrientationPatient", 6).reshape(2, 3).T
    if np.abs(axes.T @ axes - np.eye(2)).max() > MAX_COSINE_ERROR:
        raise MedganError(
            f"{header.name} must have two perpendicular unit vectors in ImageOrientationPatient, "
            f"found {axes.T.tolist()}."
        )
    size = header.integer("Columns"), header.integer("Rows")
    if min(size) < 1:
        raise MedganError(f"{header.name} must have Rows and Columns above zero, found a size of {size[0]}x{size[1]}.")
    position = header.numbers("ImagePositionPatient", 3)
    if max(row_spacing, column_spacing, *np.abs(position)) > _MAX_MM:
        raise MedganError(
            f"{header.name} must lie within {_MAX_MM:g} mm of the origin, found ImagePositionPatient "
            f"{position.tolist()} and a PixelSpacing of ({row_spacing:g}, {column_spacing:g}) mm."
        )
    return Slice(
        file,
        frame,
        size,
        spacing_mm=np.array([column_spacing, row_spacing]),
        axes=axes / np.linalg.norm(axes, axis=0),
        position=position,
        header=header,
    )

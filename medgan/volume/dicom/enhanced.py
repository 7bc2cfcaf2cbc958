"""Enhanced multi-frame objects (CT, MR, PET; legacy-converted too): each frame with a header of its own.

What a classic slice says in its header, a frame says in functional groups: those shared by all frames, and its own,
which come first. Gathered in one flat header, a frame is read by the code that reads a classic slice.
"""

from collections.abc import Iterator, Sequence

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from medgan.errors import MedganError
from medgan.volume.dicom.files import DicomFile, quietly

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_OF_THE_OBJECT = (  # what holds for every frame and has no functional group
    "SOPClassUID",
    "Modality",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FrameOfReferenceUID",
)
_MAX_FRAMES = 2**16


def is_multi_frame(file: DicomFile) -> bool:
    """Return whether a file holds frames described by functional groups (there may be only one)."""
    return _SHARED in file.header or _PER_FRAME in file.header


def frames_of(file: DicomFile) -> list[DicomFile]:
    """Return each frame of a multi-frame file as if it were a file of its own, without pixels, in stored order.

    Raises:
        MedganError: if the functional groups are damaged, or not one for each frame.
    """
    num_frames = file.integer("NumberOfFrames", default=1)
    per_frame = file.items(_PER_FRAME)
    if not 1 <= num_frames <= _MAX_FRAMES or len(per_frame) != num_frames:
        raise MedganError(
            f"{file.name} must describe each of its {num_frames} frames (multi-frame) once, found {len(per_frame)} "
            "per-frame functional groups; export it again."
        )
    shared = file.items(_SHARED)[:1]
    top = Dataset()
    for keyword in _OF_THE_OBJECT:
        if file.value(keyword) is not None:
            top[keyword] = file.header.get_item(keyword)
    return [_frame(file, number, [*shared, own], top) for number, own in enumerate(per_frame, start=1)]


def _frame(file: DicomFile, number: int, groups: Sequence[DicomFile], top: Dataset) -> DicomFile:
    header = Dataset()
    header.update(top)
    try:
        with quietly():
            for group in groups:
                for macro in _macros(group):
                    header.update({tag: macro.get_item(tag) for tag in macro.keys()})  # noqa: SIM118 - keeps them raw
    except MedganError:
        raise
    except Exception as error:  # damaged bytes make pydicom raise many kinds
        raise MedganError(f"{file.name} is damaged: the functional groups of frame {number} are unreadable.") from error
    return DicomFile(file.path, header, f"{file.name}, frame {number}")


def _macros(group: DicomFile) -> Iterator[Dataset]:
    """Yield the first item of each group; private ones and what is left unassigned come first, and are overruled."""
    for element in sorted(group.header, key=_is_assigned):
        if element.VR == "SQ":
            yield from element.value[:1]
        elif not element.tag.is_private:
            raise MedganError(
                f"{group.name} is damaged: its functional groups hold {element.tag}, which is no sequence."
            )


def _is_assigned(element: DataElement) -> bool:
    return not (element.tag.is_private or element.keyword.startswith("Unassigned"))

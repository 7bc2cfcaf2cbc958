"""Enhanced multi-frame objects (CT, MR, PET; legacy-converted too): each frame with a header of its own.

What a classic slice says in its header, a frame says in functional groups: those shared by all frames, and its own,
which come first. Gathered in one flat header, a frame is read by the code that reads a classic slice.
"""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from medgan.errors import MedganError
from medgan.volume.dicom.files import DicomFile

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
    per_frame = _items(file, _PER_FRAME)
    if not 1 <= num_frames <= _MAX_FRAMES or len(per_frame) != num_frames:
        raise MedganError(
            f"{file.name} must describe each of its {num_frames} frames (multi-frame) once, found {len(per_frame)} "
            "per-frame functional groups; export it again."
        )
    shared = _items(file, _SHARED)[:1]
    top = Dataset()
    for keyword in _OF_THE_OBJECT:
        if keyword in file.header:
            top[keyword] = file.header.get_item(keyword)
    return [_frame(file, number, [*shared, own], top) for number, own in enumerate(per_frame, start=1)]


def _frame(file: DicomFile, number: int, groups: Sequence[Dataset], top: Dataset) -> DicomFile:
    header = Dataset()
    header.update(top)
    try:
        for group in groups:
            for macro in _macros(group):
                header.update({tag: macro.get_item(tag) for tag in macro.keys()})  # noqa: SIM118 - keeps them raw
    except Exception as error:  # damaged bytes make pydicom raise many kinds
        raise MedganError(f"{file.name} is damaged: the functional groups of frame {number} are unreadable.") from error
    return DicomFile(file.path, header, f"{file.name}, frame {number}")


def _macros(group: Dataset) -> Iterator[Dataset]:
    """Yield the first item of each group; what a converter left unassigned comes first, and is overruled."""
    for element in sorted(group, key=lambda element: not element.keyword.startswith("Unassigned")):
        if element.VR == "SQ" and element.value:
            yield element.value[0]


def _items(file: DicomFile, keyword: str) -> Sequence[Dataset]:
    found = file.value(keyword)
    return found if isinstance(found, Sequence) else []

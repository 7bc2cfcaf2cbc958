"""Case: one row of a manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Case:
    """One image, its label if there is one, and where it belongs.

    Attributes:
        case_id: unique in the manifest; names every output of the case.
        images: one path per channel, each a file, a DICOM folder, or a zip of one.
        label: a label volume, an RTSTRUCT or DICOM SEG, or a folder with a mask per organ; None if there is no label.
        split: train, val or test; None where no split is given, as for plain files to predict.
        patient: cases of one patient never meet in two splits; the case id where the manifest names none.
        resample_label: the label may lie on another grid and is brought to the image's by affine.
        series: the image series to read (SeriesInstanceUID or key) where the folder or zip holds several.
    """

    case_id: str
    images: tuple[Path, ...]
    label: Path | None = None
    split: Split | None = None
    patient: str = ""
    resample_label: bool = False
    series: str = ""

"""Cases read and prepared: the one way from a manifest row to what training and prediction take."""

from typing import TYPE_CHECKING

from medgan.config import PreprocessingConfig
from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.preprocessing.prepare import prepare_classes, prepare_for, require_same_grid
from medgan.preprocessing.resample import resample_label_to
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume, stack_channels

if TYPE_CHECKING:
    from medgan.preprocessing.dataset import TrainingCase


def read_image(case: Case) -> Volume:
    """Return a case's image with all its channels.

    Raises:
        MedganError: if a file cannot be read or the channels lie on different grids.
    """
    channels = [read_volume(path, series=case.series or None) for path in case.images]
    return stack_channels(channels, where=f"case {case.case_id}")


def read_case_label(case: Case, image: Volume, *, labels: LabelMap | None = None) -> Volume:
    """Return a case's label; where the manifest says so, resampled to the image's grid.

    Without resampling, what has the image's voxels in another order is laid on its grid, contours are drawn there.

    Args:
        case: labelled.
        image: its image.
        labels: the organs to take from files that name their segments (DICOM SEG, RTSTRUCT, a folder of masks); None
            takes all, by their numbers.

    Raises:
        MedganError: if the case has no label, or it cannot be read.
    """
    if case.label is None:
        raise MedganError(f"case {case.case_id}: has no label.")
    if case.resample_label:
        return resample_label_to(read_label(case.label, labels=labels), image, where=f"case {case.case_id}")
    return read_label(case.label, labels=labels, reference=image)


def load_training_case(case: Case, config: PreprocessingConfig, labels: LabelMap) -> "TrainingCase":
    """Return a labelled case, prepared.

    Raises:
        MedganError: if image or label cannot be read, differ in grid, or hold values outside the label map.
    """
    from medgan.preprocessing.dataset import TrainingCase  # noqa: PLC0415  torch, which checking a cohort never needs

    where = f"case {case.case_id}"
    image = read_image(case)
    label = read_case_label(case, image, labels=labels)
    require_same_grid(image, label, where=where)
    prepared = prepare_for(image, config)
    classes = labels.to_classes(label.data[0], where=where)
    return TrainingCase(case.case_id, prepared, prepare_classes(classes, prepared))

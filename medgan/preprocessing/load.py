"""Cases read and prepared: the one way from a manifest row to what training and prediction take."""

from medgan.config import PreprocessingConfig
from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.preprocessing.dataset import TrainingCase
from medgan.preprocessing.prepare import prepare_classes, prepare_for, require_same_grid
from medgan.preprocessing.resample import resample_label_to
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume, stack_channels


def read_image(case: Case) -> Volume:
    """Return a case's image with all its channels.

    Raises:
        MedganError: if a file cannot be read or the channels lie on different grids.
    """
    return stack_channels([read_volume(path) for path in case.images], where=f"case {case.case_id}")


def read_case_label(case: Case, image: Volume) -> Volume:
    """Return a case's label; where the manifest says so, brought to the image's grid.

    Raises:
        MedganError: if the case has no label, or it cannot be read.
    """
    if case.label is None:
        raise MedganError(f"case {case.case_id}: has no label.")
    label = read_label(case.label)
    return resample_label_to(label, image, where=f"case {case.case_id}") if case.resample_label else label


def load_training_case(case: Case, config: PreprocessingConfig, labels: LabelMap) -> TrainingCase:
    """Return a labelled case, prepared.

    Raises:
        MedganError: if image or label cannot be read, differ in grid, or hold values outside the label map.
    """
    where = f"case {case.case_id}"
    image = read_image(case)
    label = read_case_label(case, image)
    require_same_grid(image, label, where=where)
    prepared = prepare_for(image, config)
    classes = labels.to_classes(label.data[0], where=where)
    return TrainingCase(case.case_id, prepared, prepare_classes(classes, prepared))


def check_case(case: Case, labels: LabelMap | None) -> None:
    """Raise `MedganError` unless a case can be read, image and label lie on one grid, and its values are known.

    Args:
        case: labelled or not.
        labels: None accepts any label values.
    """
    where = f"case {case.case_id}"
    image = read_image(case)
    if case.label is None:
        return
    label = read_case_label(case, image)
    require_same_grid(image, label, where=where)
    if labels is not None:
        labels.to_classes(label.data[0], where=where)

"""Settings of a config that must work together."""

from collections.abc import Sequence

from medgan.config import Config
from medgan.errors import MedganError
from medgan.labels import LabelMap


def check_settings(config: Config, labels: LabelMap) -> None:
    """Raise `MedganError` for settings that cannot work together, before any volume is read."""
    from medgan.device import pick_device, pick_dtype
    from medgan.networks.plan import plan_generator
    from medgan.outputs.components import check_organs

    if config.preprocessing.spacing_mm:  # else the plan waits for the volumes' own spacing
        plan_generator(config.generator, config.patch.size, config.preprocessing.spacing_mm)
    pick_dtype(pick_device(config.training.device), config.training.precision)
    check_organs(config.outputs.largest_component, labels)
    if labels.ignored:
        raise MedganError(
            f"labels file {config.data.labels}: must have no values to ignore for training, whose losses count every "
            f"voxel, found {', '.join(map(str, labels.ignored))}; list them as background, or leave those cases out."
        )


def check_workers(workers: int | None) -> None:
    """Raise `MedganError` for a number of processes that is none."""
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise MedganError(f"workers must be 1 or more, or None for one per core, found {workers!r}.")


def check_listed(**arguments: Sequence[object]) -> None:
    """Raise `MedganError` for an argument that is no list, such as a text: its letters would be taken for one."""
    for name, value in arguments.items():
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise MedganError(f"{name} must be a list, found {value!r:.80}.")

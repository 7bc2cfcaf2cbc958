"""From files to a cohort that can be used: phantom, manifest, check."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medgan.config import Config, load_config
from medgan.labels import LabelMap
from medgan.pipeline.settings import check_settings, check_workers
from medgan.progress import Stage, silent

if TYPE_CHECKING:
    from medgan.inspection.check import CheckReport
    from medgan.manifest.importers import Written


def phantom(out: str | Path, *, num_cases: int = 16, seed: int = 0, stage: Stage = silent) -> Path:
    """Make a synthetic thorax cohort in `out` and return its manifest; see `medgan.phantom.cohort.make_cohort`."""
    from medgan.phantom.cohort import make_cohort

    with stage("phantom") as advance:
        finished = itertools.count(1)
        return make_cohort(
            out,
            num_cases=num_cases,
            seed=seed,
            on_case=lambda case: advance(next(finished) / num_cases, case.case_id),
        )


def manifest(
    source: str | Path,
    out: str | Path,
    *,
    kind: str | None = None,
    images: Sequence[str] = (),
    labels: str = "",
    keep_ids: bool = False,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    force: bool = False,
    stage: Stage = silent,
) -> "Written":
    """Make a manifest of the images and labels in a folder or zip, and say what was written.

    See `medgan.manifest.importers.import_cohort` for the arguments up to `seed`.

    Args:
        source: a folder, or a zip of DICOM.
        out: the manifest to write, a `.csv`; its key table and the list of what was skipped lie beside it.
        kind: how the source is laid out; None recognises it.
        images: patterns of the images.
        labels: pattern of the labels.
        keep_ids: take the source's own names as case ids.
        val_fraction: fraction of the patients left by test for validation.
        test_fraction: fraction of the patients with labels for testing.
        seed: seed of order and split.
        force: replace files that exist.
        stage: shows progress.

    Raises:
        MedganError: if there is nothing usable, or a file exists.
    """
    from medgan.manifest.importers import check_target, import_cohort, write_cohort

    check_target(out, force=force)
    with stage("manifest"):
        imported = import_cohort(
            source,
            kind=kind,
            images=images,
            labels=labels,
            keep_ids=keep_ids,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )
    return write_cohort(imported, out, force=force)


def check(
    path: str | Path,
    *,
    root: str | Path | None = None,
    labels: LabelMap | str | Path | None = None,
    workers: int | None = 1,
    stage: Stage = silent,
) -> "CheckReport":
    """Read every case of a manifest, or of a config's manifest, and report what is not usable and what looks wrong.

    With a config, the patch size is also held against the spacing.

    Args:
        path: manifest (.csv, .json) or config (.yaml, .yml).
        root: folder that a manifest's paths may not leave; None is its own, or what the config says.
        labels: the organs, or a labels file; None takes the config's, or the `labels.yaml` beside a manifest.
        workers: processes that read; None is one per core, up to eight. With more than one, a script must keep its
            own work below `if __name__ == "__main__":`, as always with processes in Python.
        stage: shows progress.

    Raises:
        MedganError: if config, labels file or manifest itself is not usable.
    """
    from medgan.inspection.check import check_cases
    from medgan.inspection.workers import default_num_workers
    from medgan.manifest.read import read_manifest

    check_workers(workers)
    path = Path(path)
    config = load_config(path) if path.suffix.lower() in (".yaml", ".yml") else None
    organs = _organs_to_check(path, config, labels)
    if config is None:
        cases = read_manifest(path, root=root)
    else:
        data, seed = config.data, config.training.seed
        cases = read_manifest(data.manifest, val_fraction=data.val_fraction, seed=seed, root=root or data.root)
    with stage("check") as advance:
        return check_cases(
            cases,
            labels=organs,
            expects_hu=config is not None and _expects_hu(config),
            num_workers=default_num_workers(len(cases)) if workers is None else workers,
            on_case=lambda num_done, case_id: advance(num_done / len(cases), case_id),
        )


def _organs_to_check(path: Path, config: Config | None, labels: LabelMap | str | Path | None) -> LabelMap | None:
    """Return the organs as given, of the config, or of the labels file beside a manifest."""
    beside = path.with_name("labels.yaml")
    if isinstance(labels, str | Path):
        labels = LabelMap.from_yaml(labels)
    elif labels is None and config is not None:
        labels = LabelMap.from_yaml(config.data.labels)
    elif labels is None and beside.is_file():
        labels = LabelMap.from_yaml(beside)
    if config is not None and labels is not None:
        check_settings(config, labels)
    return labels


def _expects_hu(config: Config) -> bool:
    """Return whether the intensity window only makes sense in HU."""
    return config.preprocessing.intensity == "window" and config.preprocessing.window[0] < 0

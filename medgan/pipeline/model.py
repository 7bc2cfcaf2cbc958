"""From a cohort to a model, and from a model to labels: train, predict."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medgan.config import Config, load_config
from medgan.errors import MedganError, raise_all
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.pipeline.outcome import Outcome, for_each
from medgan.pipeline.settings import check_settings
from medgan.progress import Advance, Stage, silent
from medgan.provenance import package_versions

if TYPE_CHECKING:
    from medgan.inference.predictor import Predictor
    from medgan.outputs.formats import Format
    from medgan.preprocessing.dataset import TrainingCase


def train(
    config: Config | str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    stage: Stage = silent,
) -> Path:
    """Train a model and return its folder.

    Args:
        config: a `Config` or the path of a YAML file.
        out: model folder. One that holds a model already is refused unless `resume`.
        overrides: `section.key=value` texts, if `config` is a path.
        resume: go on from the last checkpoint in `out`, as if training had never stopped.
        stage: shows progress.

    Raises:
        MedganError: if config, manifest, labels or any volume is not usable, before training starts; or if the loss
            ceases to be finite.

    Example:
        >>> model = medgan.train("configs/debug.yaml", "runs/debug")  # doctest: +SKIP
    """
    from medgan.experiment import run_experiment
    from medgan.manifest.read import read_manifest
    from medgan.training.loop import STATE_FILE

    folder = Path(out)
    if not isinstance(config, Config):
        config = load_config(config, overrides)
    if not resume and (folder / STATE_FILE).exists():
        raise MedganError(f"model folder {folder}: holds a training already; use --resume, or another folder.")
    labels = LabelMap.from_yaml(config.data.labels)
    check_settings(config, labels)
    data = config.data
    cases = read_manifest(data.manifest, val_fraction=data.val_fraction, seed=config.training.seed, root=data.root)
    chosen = {split: [c for c in cases if c.split == split and c.label] for split in ("train", "val")}
    if not chosen["train"]:
        raise MedganError(f"manifest {data.manifest}: has no labelled case with split train.")
    with stage("load") as advance:
        loaded = _load_cases(chosen["train"] + chosen["val"], config, labels, advance=advance)
    num_train = len(chosen["train"])
    return run_experiment(
        loaded[:num_train], loaded[num_train:], config, labels, folder=folder, cases=cases, resume=resume, stage=stage
    )


def predict(
    model: "str | Path | Predictor",
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    device: str = "auto",
    formats: Sequence[str] = ("nifti",),
    deidentify: bool = False,
    overrides: Sequence[str] = (),
    stage: Stage = silent,
) -> Outcome:
    """Segment every input and write `out/<case_id>.nii.gz` on its own grid, with `out/<case_id>.json` beside it.

    Every file is read back and compared before its case counts as done. A case that cannot be read, segmented or
    written is reported in the outcome and does not stop the others.

    Args:
        model: model folder, or a `Predictor`.
        inputs: files, DICOM folders, folders of files, or manifests.
        out: folder of the predictions.
        split: of manifests, take only this split.
        root: folder that a manifest's paths may not leave; None is its own.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        formats: any of nifti, mha, nrrd, seg.nrrd, dicom-seg, dicom-seg-labelmap and rtstruct; the last three want a
            DICOM series as (first) image.
        deidentify: keep patient, study and their UIDs out of DICOM objects.
        overrides: `section.key=value` texts for the sections inference and outputs.
        stage: shows progress.

    Raises:
        MedganError: if the model, the list of inputs or a format is not usable.
    """
    from medgan.inference.predictor import Predictor
    from medgan.manifest.inputs import find_inputs
    from medgan.outputs.formats import parse_formats

    written_as = parse_formats(formats)
    cases = find_inputs([Path(path) for path in inputs], split=split, root=root)
    predictor = model if isinstance(model, Predictor) else Predictor(model, device=device, overrides=tuple(overrides))
    with stage("predict") as advance:
        return for_each(
            cases,
            lambda case: _predict_case(case, predictor, Path(out), formats=written_as, deidentify=deidentify),
            Path(out),
            advance=advance,
        )


def _load_cases(cases: Sequence[Case], config: Config, labels: LabelMap, *, advance: Advance) -> "list[TrainingCase]":
    """Return all cases prepared, or raise one error that lists every case that cannot be."""
    from medgan.preprocessing.load import load_training_case

    loaded: list[TrainingCase] = []
    outcome = for_each(
        cases,
        lambda case: loaded.append(load_training_case(case, config.preprocessing, labels)),
        config.data.manifest,
        advance=advance,
    )
    raise_all(list(outcome.failed.values()), where=f"manifest {config.data.manifest}")
    counts = {case.prepared.image.shape[0] for case in loaded}
    if len(counts) > 1:
        raise MedganError(f"manifest {config.data.manifest}: cases differ in their number of channels, {counts}.")
    return loaded


def _predict_case(
    case: Case, predictor: "Predictor", out: Path, *, formats: "Sequence[Format]", deidentify: bool
) -> None:
    from medgan.files import sha256_of
    from medgan.outputs.components import keep_largest_components
    from medgan.outputs.formats import check_grid, series_for
    from medgan.outputs.save import write_prediction
    from medgan.preprocessing.load import read_image

    started, where = time.monotonic(), f"case {case.case_id}"
    source = series_for(formats, case.images[0], series=case.series or None, where=where)
    image = read_image(case)
    check_grid(formats, image.affine, where=where)
    predicted = predictor.predict(image, where=where)
    cleaned = keep_largest_components(predicted, predictor.config.outputs.largest_component, predictor.labels)
    record = {
        "image_sha256": [sha256_of(path) for path in case.images],
        "model_sha256": predictor.weights_sha256,
        "versions": package_versions(),
        "seconds": round(time.monotonic() - started, 2),
        **predictor.describe(),
    }
    write_prediction(
        cleaned,
        predictor.labels,
        out,
        case.case_id,
        record,
        formats=formats,
        source=source,
        deidentify=deidentify,
    )

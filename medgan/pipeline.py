"""START HERE: the rooms joined in order, one short function per job.

Each job imports the rooms it walks through when it is called, so that a command waits for no library it does not use.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from medgan.config import Config, load_config
from medgan.errors import MedganError, raise_all
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.progress import Advance, Stage, silent
from medgan.provenance import git_revision, package_versions

AnyCase = TypeVar("AnyCase", "Case", "Pair")

if TYPE_CHECKING:
    from medgan.evaluation.scores import Score
    from medgan.inference.predictor import Predictor
    from medgan.inspection.check import CheckReport
    from medgan.manifest.importers import Written
    from medgan.manifest.inputs import Pair
    from medgan.outputs.formats import Format
    from medgan.preprocessing.dataset import TrainingCase


@dataclass(frozen=True)
class Outcome:
    """What a job over several cases left behind.

    Attributes:
        folder: where its files lie.
        done: ids of the cases that worked.
        failed: for each case that did not, one sentence why.
    """

    folder: Path
    done: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)


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
    _check_settings(config, labels)
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
        return _for_each(
            cases,
            lambda case: _predict_case(case, predictor, Path(out), formats=written_as, deidentify=deidentify),
            Path(out),
            advance=advance,
        )


def evaluate(
    reference: str | Path,
    prediction: str | Path,
    out: str | Path,
    *,
    labels: "LabelMap | str | Path | None" = None,
    split: str | None = None,
    root: str | Path | None = None,
    surface_tolerance_mm: float = 2.0,
    stage: Stage = silent,
) -> Outcome:
    """Compare predictions with references and write `scores.csv`, `summary.json`, `report.html` and overlays to `out`.

    A missing prediction counts as an empty one, so that no failed case improves a mean. A case that cannot be compared
    is reported in the outcome.

    Args:
        reference: a label file, a folder of label files, or a manifest. Without a manifest, an RTSTRUCT is drawn on the
            grid of a prediction that is a plain volume; beside another it needs its images near it.
        prediction: a label file, or a folder with a file per case.
        out: folder of the results.
        labels: the organs, or a labels file. None takes them from the record beside a prediction, failing that from
            files that all name their organs, and failing that names the values found "label_1" and so on.
        split: of a manifest, take only this split.
        root: folder that a manifest's paths may not leave; None is its own.
        surface_tolerance_mm: distance within which surfaces agree, for surface Dice.
        stage: shows progress.

    Raises:
        MedganError: if nothing can be compared.

    Example:
        >>> medgan.evaluate("cohort/manifest.csv", "predictions", "evaluation", split="test")  # doctest: +SKIP
    """
    from medgan.evaluation.organs import organs_to_compare
    from medgan.manifest.inputs import pair_cases
    from medgan.report.html import write_report
    from medgan.report.summary import summarise, write_scores_csv, write_summary

    pairs = pair_cases(Path(reference), Path(prediction), split=split, root=root)
    organs = organs_to_compare(labels, pairs)
    folder = Path(out)
    scores: list[Score] = []
    with stage("evaluate") as advance:
        outcome = _for_each(
            pairs,
            lambda pair: scores.extend(_compare(pair, organs, folder, surface_tolerance_mm=surface_tolerance_mm)),
            folder,
            advance=advance,
        )
    raise_all([] if outcome.done else list(outcome.failed.values()), where=f"{reference} against {prediction}")
    write_scores_csv(scores, folder / "scores.csv")
    summary = summarise(
        scores,
        surface_tolerance_mm=surface_tolerance_mm,
        not_evaluated=outcome.failed,
        settings={"split": split, "git_revision": git_revision()},
    )
    write_summary(summary, folder / "summary.json")
    write_report(folder)
    return outcome


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
        _check_settings(config, labels)
    return labels


def _expects_hu(config: Config) -> bool:
    """Return whether the intensity window only makes sense in HU."""
    return config.preprocessing.intensity == "window" and config.preprocessing.window[0] < 0


def _for_each(
    cases: "Sequence[AnyCase]", act: "Callable[[AnyCase], None]", folder: Path, *, advance: Advance
) -> Outcome:
    """Do something to every case; one that fails is kept with its reason and does not stop the others."""
    done: list[str] = []
    failed: dict[str, str] = {}
    for number, case in enumerate(cases):
        advance(number / len(cases), case.case_id)
        try:
            act(case)
            done.append(case.case_id)
        except MedganError as error:
            failed[case.case_id] = str(error)
    advance(1.0)
    return Outcome(folder, tuple(done), failed)


def _check_settings(config: Config, labels: LabelMap) -> None:
    """Raise `MedganError` for settings that cannot work together, before any volume is read."""
    from medgan.device import pick_device, pick_dtype
    from medgan.networks.plan import plan_generator
    from medgan.outputs.components import check_organs

    if config.preprocessing.spacing_mm:  # else the plan waits for the volumes' own spacing
        plan_generator(config.generator, config.patch.size, config.preprocessing.spacing_mm)
    pick_dtype(pick_device(config.training.device), config.training.precision)
    check_organs(config.outputs.largest_component, labels)


def _load_cases(cases: Sequence[Case], config: Config, labels: LabelMap, *, advance: Advance) -> "list[TrainingCase]":
    """Return all cases prepared, or raise one error that lists every case that cannot be."""
    from medgan.preprocessing.load import load_training_case

    loaded: list[TrainingCase] = []
    outcome = _for_each(
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


def _compare(pair: "Pair", labels: LabelMap, out: Path, *, surface_tolerance_mm: float) -> "list[Score]":
    """Return the scores of a case and draw its overlay, over the image if there is one."""
    from medgan.evaluation.read_pair import read_pair
    from medgan.evaluation.scores import score_case
    from medgan.report.overlay import write_overlay
    from medgan.volume.readers import read_volume

    image = read_volume(pair.image, series=pair.series or None) if pair.image else None
    reference, prediction = read_pair(pair, labels, image=image)
    scores = score_case(reference, prediction, labels, case_id=pair.case_id, surface_tolerance_mm=surface_tolerance_mm)
    overlay = out / "overlays" / f"{pair.case_id}.png"
    write_overlay(image, prediction, labels, overlay, reference=reference)
    return scores

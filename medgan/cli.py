"""The command line: parse, call one function, exit code. 0 done, 1 some cases failed, 2 the user can fix it."""

import json
import re
import sys
import warnings
from collections.abc import Sized
from pathlib import Path
from typing import Annotated

import typer

from medgan import __version__
from medgan.errors import MedganError

INTERRUPTED = 130
_LIST = "\n  - "  # of several problems
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

app = typer.Typer(
    name="medgan",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Segment medical volumes with a U-Net trained against a discriminator.\n\nStart with: medgan quickstart",
)


def _folder(text: str) -> Path:
    """Return the folder of a name; an empty one would be the current folder."""
    if not text:
        raise MedganError("--out: must name a folder, found nothing; say . for the current one.")
    return Path(text)


Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that a manifest's paths may not leave; default: its own.")
]
Split = Annotated[str | None, typer.Option(help="Of a manifest, only this split: train, val or test.")]
Deidentify = Annotated[bool, typer.Option("--deidentify", help="DICOM outputs without patient, with new UIDs.")]
Results = Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.", parser=_folder, metavar="<path>")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    try:
        app(standalone_mode=True)
    except MedganError as error:
        print(f"medgan: {_visible(str(error))}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # typer's word for Ctrl-C
            print("medgan: interrupted; what was written is whole.", file=sys.stderr)
        raise


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print medgan's own warnings as one line; what libraries warn each other of is not for users."""
    if category is UserWarning:
        print(f"medgan: {_visible(str(message))}", file=sys.stderr)


def _visible(text: str) -> str:
    """Return text with its control characters, and those that turn its direction, as escapes, but for those of a list.

    File names may hold them, and a terminal would obey.
    """
    return _LIST.join(_CONTROLS.sub(lambda found: ascii(found[0])[1:-1], part) for part in text.split(_LIST))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("quickstart"),
    dims: Annotated[int, typer.Option(min=2, max=3, help="Generator in space (3) or slice by slice (2).")] = 3,
) -> None:
    """The whole way on synthetic data, in minutes.

    Example: medgan quickstart --out quickstart
    """
    from medgan.progress import on_console
    from medgan.quickstart import quickstart as run

    outcome = run(out, dims=2 if dims == 2 else 3, stage=on_console, say=print)
    _print_means(out / "evaluation")
    _finish(outcome.failed)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder of the cohort.")],
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other patients.")] = 0,
) -> None:
    """Make a synthetic thorax cohort.

    Example: medgan phantom phantom --cases 16
    """
    from medgan.pipeline import phantom as run
    from medgan.progress import on_console

    print(f"manifest     {run(out, num_cases=cases, seed=seed, stage=on_console)}")


@app.command()
def manifest(
    source: Annotated[Path, typer.Argument(help="A folder, or a zip of DICOM.")],
    out: Annotated[Path, typer.Argument(help="Manifest to write (.csv).")],
    kind: Annotated[
        str | None,
        typer.Option(help="dicom, msd, nnunet, bids, totalsegmentator or folder; default: recognised."),
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option(help='Pattern of images, as "*/ct.nii.gz"; one per channel.')
    ] = None,
    labels: Annotated[str, typer.Option(help="Pattern of labels; what * matches joins them.", show_default=False)] = "",
    keep_ids: Annotated[bool, typer.Option("--keep-ids", help="Case ids from the data; may name patients.")] = False,
    val: Annotated[float, typer.Option(help="Share of patients for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share for testing, unless given.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Another seed deals other ids and splits.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Make a manifest with made-up case ids from DICOM, MSD, nnU-Net, BIDS, ...

    Beside it: the private key table, what was skipped, and labels.yaml.

    Example: medgan manifest hospital_export cohort.csv
    """
    from medgan.pipeline import manifest as run
    from medgan.progress import on_console

    written = run(
        source,
        out,
        kind=kind,
        images=images or (),
        labels=labels,
        keep_ids=keep_ids,
        val_fraction=val,
        test_fraction=test,
        seed=seed,
        force=force,
        stage=on_console,
    )
    for line in written.lines():
        print(line)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A file, a folder or a zip.")],
    series: Annotated[
        str | None, typer.Option(help="Of several DICOM series, this one: key, UID, description.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="The image that an RTSTRUCT or DICOM SEG belongs to.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what medgan understands of an image, a label or a DICOM tree.

    Example: medgan inspect scans/case_07.nii.gz
    """
    from medgan.inspection.inspect import inspect as run
    from medgan.inspection.show import to_json, to_lines

    found = run(path, series=series, reference=reference)
    print(to_json(found) if json else "\n".join(to_lines(found)))


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A config (.yaml) or a manifest (.csv, .json).")],
    root: Root = None,
    labels: Annotated[Path | None, typer.Option(help="Labels file; default: the config's, labels.yaml beside.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read; default: one per core.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all that was found to this file.")] = None,
) -> None:
    """Read every case and say what is not usable, and what looks wrong.

    Errors: unreadable, label on another grid, label values that are no organ. Warnings: empty labels, images that are
    not HU among CT, unusual spacing or size, duplicates, left and right swapped.

    Example: medgan check data_manifests/phantom.csv --root .
    """
    from medgan.pipeline import check as run
    from medgan.progress import on_console

    report = run(path, root=root, labels=labels, workers=workers, stage=on_console)
    if json is not None:
        report.write_json(json)
    for line in report.warning_lines():
        print(line)
    if not report.organs:
        print("note: without --labels, unknown values, absent organs and swapped sides were not looked for.")
    print(_tally("usable", report.done, report.failed))
    _finish(report.failed)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML config.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, any number.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder.")] = Path("runs/model"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a model.

    Example: medgan train configs/debug.yaml -o runs/debug training.max_steps=50
    """
    from medgan.pipeline import train as run
    from medgan.progress import on_console

    model = run(config, out, overrides=overrides or (), resume=resume, stage=on_console)
    print(f"model        {model}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    inputs: Annotated[list[Path], typer.Argument(help="Files, DICOM folders, folders of files, manifests.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the predictions.")],
    split: Split = None,
    root: Root = None,
    device: Device = "auto",
    formats: Annotated[
        str, typer.Option("--format", help="Comma between: nifti, mha, nrrd, seg.nrrd, dicom-seg, rtstruct.")
    ] = "nifti",
    deidentify: Deidentify = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="inference.key=value or outputs.key=value; repeatable.")
    ] = None,
) -> None:
    """Segment volumes with a trained model.

    Writes OUT/<case_id>.nii.gz on the input's grid, and OUT/<case_id>.json.

    Example: medgan predict quickstart/model scans/case_07.nii.gz -o predictions
    """
    from medgan.pipeline import predict as run
    from medgan.progress import on_console

    outcome = run(
        model,
        inputs,
        out,
        split=split,
        root=root,
        device=device,
        formats=[name.strip() for name in formats.split(",")],
        deidentify=deidentify,
        overrides=setting or (),
        stage=on_console,
    )
    print(f"predictions  {outcome.folder} ({_cases(len(outcome.done))})")
    _finish(outcome.failed)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Image or labels: a file, folder or zip.")],
    target: Annotated[Path, typer.Argument(help="File to write; its suffix decides the format.")],
    reference: Annotated[Path | None, typer.Option(help="Image that the labels belong to.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels file: which organs, and their values.")] = None,
    series: Annotated[str | None, typer.Option(help="UID or description of the DICOM series meant.")] = None,
    deidentify: Deidentify = False,
) -> None:
    """Turn what can be read into .nii.gz, .mha or .nrrd.

    Labels also into .seg.nrrd, .seg.dcm and .rtstruct.dcm, read back and compared; DICOM needs the series as reference.

    Example: medgan convert rtstruct.dcm organs.seg.dcm --reference ct
    """
    from medgan.outputs.convert import convert as run

    done = run(source, target, reference=reference, labels=labels, series=series, deidentify=deidentify)
    print(f"{'image' if done.organs is None else 'labels':12} {done.path} ({done.grid})")
    for organ in done.organs.organs if done.organs else ():
        print(f"{organ.value:>12} {organ.name}")


@app.command()
def evaluate(
    reference: Annotated[Path | None, typer.Argument(help="Label file, folder, manifest or CSV of pairs.")] = None,
    prediction: Annotated[Path | None, typer.Argument(help="Label file, or folder of them named alike.")] = None,
    *,
    out: Results,
    references: Annotated[Path | None, typer.Option("--reference", hidden=True)] = None,
    predictions: Annotated[Path | None, typer.Option("--prediction", hidden=True)] = None,
    labels: Annotated[str | None, typer.Option(help="Labels file, or heart=3,aorta=4; default: found.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images, to see in the report.")] = None,
    regions: Annotated[Path | None, typer.Option(help="Folder of masks: only inside does anything count.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a manifest: train, val or test.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that a manifest's paths may not leave.")] = None,
    tolerance: Annotated[
        str | None, typer.Option("--tolerance-mm", help="Of surface Dice in mm: 2, or heart=3,aorta=1.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML whose section evaluation is to be used.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="evaluation.key=value; repeatable.")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="Bring predictions onto the references' grids.")] = False,
    view: Annotated[list[str] | None, typer.Option(help="Case to show in 3D, or worst:3; repeatable.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
) -> None:
    """Compare predictions with references (or: --reference A --prediction B).

    Example: medgan evaluate manifest.csv predictions --split test -o evaluation
    """
    from medgan.config import load_evaluation
    from medgan.pipeline import evaluate as run
    from medgan.progress import on_console

    given = _one_of(reference, references, name="reference")
    if given is None:
        raise MedganError("reference: is missing; medgan evaluate REFERENCE PREDICTION -o OUT, or a CSV of pairs.")
    overrides = [f"evaluation.surface_tolerance_mm={_tolerance(tolerance)}"] if tolerance is not None else []
    outcome = run(
        given,
        _one_of(prediction, predictions, name="prediction"),
        out,
        labels=labels,
        images=images,
        regions=regions,
        split=split,
        root=root,
        settings=load_evaluation(config, [*(setting or ()), *overrides]),
        resample=resample,
        view=view or (),
        workers=workers,
        stage=on_console,
    )
    _print_means(out)
    print(f"report       {outcome.folder / 'report.html'}")
    print(_tally("evaluated", outcome.done, outcome.failed))
    _finish(outcome.failed)


@app.command()
def compare(
    evaluations: Annotated[list[Path], typer.Argument(help="Two folders or more that medgan evaluate wrote.")],
    out: Results,
    names: Annotated[str | None, typer.Option(help="Names of the methods, comma between; default: folders'.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma between, or all; default: dice,hd95_mm.", show_default=False)
    ] = None,
    undefined: Annotated[
        str | None, typer.Option(help="count or penalise organs missed; default: as evaluated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of bootstrap and permutations.")] = 0,
) -> None:
    """Compare methods on the same cases: differences, tests, ranks.

    Writes comparison.html, comparison.json and tables.

    Example: medgan compare evaluation/unet evaluation/gan -o comparison
    """
    from medgan.pipeline import compare as run
    from medgan.report.comparison import compare_briefly

    comparison = run(
        evaluations,
        out,
        names=_separated(names),
        metrics=_separated(metrics),
        undefined=undefined,
        seed=seed,
    )
    for line in compare_briefly(comparison):
        print(line)
    print(f"comparison   {out / 'comparison.html'}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder that medgan evaluate wrote.")],
    figures: Annotated[bool, typer.Option("--figures", help="Also write figures/: SVG and PNG.")] = False,
) -> None:
    """Write report.html and tables/ anew from scores.csv and summary.json.

    Example: medgan report evaluation --figures
    """
    from medgan.pipeline import report as run

    print(f"report       {run(folder, figures=figures)}")
    print(f"tables       {folder / 'tables'}")
    if figures:
        print(f"figures      {folder / 'figures'}")


def _print_means(folder: Path) -> None:
    """Print the mean Dice and HD95 of each organ."""
    from medgan.report.summary import read_summary, summarise_briefly

    for line in summarise_briefly(read_summary(folder / "summary.json")):
        print(line)


def _one_of(argument: Path | None, option: Path | None, *, name: str) -> Path | None:
    """Return what was given as an argument or as an option, which are two ways to say one thing."""
    if argument is not None and option is not None:
        raise MedganError(f"{name}: is given twice, {argument} and --{name} {option}; give it once.")
    return option if argument is None else argument


def _tolerance(text: str) -> str:
    """Return a tolerance as YAML: a number as it is, "heart=3,aorta=1" as a mapping."""
    if "=" not in text and text.strip():
        return text
    pairs = [[side.strip() for side in part.partition("=")] for part in text.split(",")]
    if not all(organ and value for organ, _, value in pairs):
        raise MedganError(f"--tolerance-mm: must be a number, or such as heart=3,aorta=1, found {text!r:.80}.")
    organs = [organ for organ, *_ in pairs]
    if twice := [organ for organ in dict.fromkeys(organs) if organs.count(organ) > 1]:
        raise MedganError(f"--tolerance-mm: each organ must have one tolerance, found several for {', '.join(twice)}.")
    return "{" + ", ".join(f"{json.dumps(organ)}: {value}" for organ, _, value in pairs) + "}"


def _separated(text: str | None) -> list[str] | None:
    """Return what stands between commas; None of None."""
    return None if text is None else [part.strip() for part in text.split(",")]


def _tally(word: str, done: Sized, failed: Sized) -> str:
    """Return "12 cases are evaluated, 1 is not."."""
    are, are_not = ("is" if len(found) == 1 else "are" for found in (done, failed))
    return f"{_cases(len(done))} {are} {word}, {len(failed)} {are_not} not."


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


def _finish(failed: dict[str, str]) -> None:
    """Say which cases failed, and exit with 1 if any did."""
    for case_id, reason in failed.items():
        print(f"failed: {_visible(case_id)}: {_visible(reason)}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()

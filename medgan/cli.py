"""The command line: parse, call one function, exit code. 0 done, 1 some cases failed, 2 the user can fix it."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from medgan import __version__
from medgan.errors import MedganError

INTERRUPTED = 130

app = typer.Typer(
    name="medgan",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Segment medical volumes with a U-Net trained against a discriminator.\n\nStart with: medgan quickstart",
)

Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that a manifest's paths may not leave; default: its own.")
]
Split = Annotated[str | None, typer.Option(help="Of a manifest, only this split: train, val or test.")]
Deidentify = Annotated[bool, typer.Option("--deidentify", help="DICOM outputs without patient, with new UIDs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    try:
        app(standalone_mode=True)
    except MedganError as error:
        print(f"medgan: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # typer's word for Ctrl-C
            print("medgan: interrupted; what was written is whole.", file=sys.stderr)
        raise


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print medgan's own warnings as one line; what libraries warn each other of is not for users."""
    if category is UserWarning:
        print(f"medgan: {message}", file=sys.stderr)


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
    print(f"{len(report.done)} cases are usable, {len(report.failed)} are not.")
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
    print(f"predictions  {outcome.folder} ({len(outcome.done)} cases)")
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
    reference: Annotated[Path, typer.Argument(help="A label file, a folder of them, or a manifest.")],
    prediction: Annotated[Path, typer.Argument(help="A label file, or a folder with one per case.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    labels: Annotated[Path | None, typer.Option(help="Labels file; default: as recorded with predictions.")] = None,
    split: Split = None,
    root: Root = None,
    tolerance_mm: Annotated[float, typer.Option(min=0.0, help="Tolerance of surface Dice in mm.")] = 2.0,
) -> None:
    """Compare predictions with references.

    Writes scores.csv, summary.json and report.html.

    Example: medgan evaluate manifest.csv predictions --split test -o evaluation
    """
    from medgan.pipeline import evaluate as run
    from medgan.progress import on_console

    outcome = run(
        reference,
        prediction,
        out,
        labels=labels,
        split=split,
        root=root,
        surface_tolerance_mm=tolerance_mm,
        stage=on_console,
    )
    _print_means(out)
    print(f"report       {outcome.folder / 'report.html'}")
    _finish(outcome.failed)


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="Folder with scores.csv, as medgan evaluate writes.")],
) -> None:
    """Write report.html anew from the scores.

    Example: medgan report evaluation
    """
    from medgan.report.html import write_report

    print(f"report       {write_report(out)}")


def _print_means(folder: Path) -> None:
    """Print the mean Dice and HD95 of each organ."""
    from medgan.report.summary import read_summary, summarise_briefly

    for line in summarise_briefly(read_summary(folder / "summary.json")):
        print(line)


def _finish(failed: dict[str, str]) -> None:
    """Say which cases failed, and exit with 1 if any did."""
    for case_id, reason in failed.items():
        print(f"failed: {case_id}: {reason}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()

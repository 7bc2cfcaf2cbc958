"""What the real runs share: a manifest in, one experiment through medgan's front doors, a table out."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import medgan
from medgan.config import load_config
from medgan.manifest.case import Case
from medgan.manifest.read import write_manifest
from medgan.progress import on_console
from medgan.report.summary import Summary, read_summary

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


def parser(description: str, *, out: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments every run has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of the public images")
    made.add_argument("--out", type=Path, default=PROJECT / "runs" / out, help="folder of the results")
    made.add_argument("--minutes", type=float, default=30.0, help="time limit of each training")
    made.add_argument("overrides", nargs="*", help="section.key=value")
    return made


def run(cases: Sequence[Case], config: str, labels: Path, out: Path, *, root: Path, overrides: Sequence[str]) -> None:
    """Train on `cases`, predict and evaluate the test split, and print one markdown table."""
    manifest = out / "manifest.csv"
    write_manifest(cases, manifest)
    data = [f"data.manifest={manifest}", f"data.labels={labels}", f"data.root={root}"]
    settings = load_config(PROJECT / "configs" / config, [*data, *overrides])
    started = time.monotonic()
    model = medgan.train(settings, out / "model", stage=on_console)
    trained_s = time.monotonic() - started
    predicted = medgan.predict(model, [manifest], out / "predictions", split="test", root=root, stage=on_console)
    predicted_s = time.monotonic() - started - trained_s
    outcome = medgan.evaluate(
        manifest,
        predicted.folder,
        out / "evaluation",
        split="test",
        root=root,
        labels=labels,
        settings=settings.evaluation,
        stage=on_console,
    )
    print(f"\n{out.name}: config {config} {' '.join(overrides)}")
    print(f"training {trained_s / 60:.1f} min, prediction {predicted_s / len(predicted.done):.1f} s a case,", end=" ")
    print(f"{len(outcome.done)} test cases, failed: {predicted.failed | outcome.failed or 'none'}\n")
    print_table(read_summary(outcome.folder / "summary.json"))


def print_table(summary: Summary) -> None:
    """Print mean, median and smallest Dice, and mean HD95, per organ."""
    print("| organ | n | Dice mean | median | min | HD95 mean (mm) |\n|---|---|---|---|---|---|")
    for organ in summary.organs:
        dice, hd95 = organ.metrics["dice"], organ.metrics["hd95_mm"]
        print(f"| {organ.organ} | {dice.n} | {dice.mean:.4f} | {dice.median:.4f} | {dice.minimum:.4f}", end=" ")
        print(f"| {hd95.mean:.2f} (n={hd95.n}) |")

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
from medgan.report.summary import read_scores_csv

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
        manifest, predicted.folder, out / "evaluation", split="test", root=root, labels=labels, stage=on_console
    )
    print(f"\n{out.name}: config {config} {' '.join(overrides)}")
    print(f"training {trained_s / 60:.1f} min, prediction {predicted_s / len(predicted.done):.1f} s a case,", end=" ")
    print(f"{len(outcome.done)} test cases, failed: {predicted.failed | outcome.failed or 'none'}\n")
    print_table(outcome.folder / "scores.csv")


def print_table(scores_csv: Path) -> None:
    """Print mean, median and smallest Dice, and mean HD95, per organ."""
    scores = read_scores_csv(scores_csv)
    print("| organ | n | Dice mean | median | min | HD95 mean (mm) |\n|---|---|---|---|---|---|")
    for organ in dict.fromkeys(score.organ for score in scores):
        chosen = [score for score in scores if score.organ == organ]
        dices = sorted(score.dice for score in chosen if score.dice == score.dice)
        distances = [score.hd95_mm for score in chosen if score.hd95_mm == score.hd95_mm]
        hd95 = f"{sum(distances) / len(distances):.2f} (n={len(distances)})" if distances else "undefined"
        mean = sum(dices) / len(dices)
        print(f"| {organ} | {len(dices)} | {mean:.4f} | {dices[len(dices) // 2]:.4f} | {dices[0]:.4f} | {hd95} |")

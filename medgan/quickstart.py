"""The whole way on a synthetic cohort, in minutes and without GPU, network or data: a demonstration and a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from medgan.config import Config, parse_config
from medgan.errors import MedganError
from medgan.files import write_text
from medgan.pipeline import Outcome, evaluate, phantom, predict, train
from medgan.progress import Stage, silent

_SETTINGS: dict[str, Any] = {
    "preprocessing": {"spacing_mm": [4.0, 4.0, 4.0], "window": [-1000.0, 400.0]},
    "patch": {"size": [48, 48, 48], "foreground_fraction": 0.6},
    "augmentation": {"mirror": True},
    "generator": {"channels": 8, "max_channels": 64},
    "adversary": {"channels": 8},
    "training": {
        "max_steps": 600,
        "max_minutes": 4.0,
        "learning_rate": 3e-3,
        "ema_decay": 0.98,
        "validate_every": 200,
        "checkpoint_every": 200,
    },
    "outputs": {"largest_component": ["left_lung", "right_lung", "heart"]},
}


def quickstart(
    out: str | Path = "quickstart",
    *,
    dims: Literal[2, 3] = 3,
    stage: Stage = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Make a cohort, train on it against the adversary, segment its test cases, evaluate them and write a report.

    Leaves `cohort/`, `config.yaml`, `model/`, `predictions/` and `evaluation/` in `out`. The config is an ordinary
    one: `medgan train out/config.yaml -o model` repeats the training.

    Args:
        out: folder; refused if it holds a quickstart already.
        dims: 3, or 2 for the slice-wise generator against the same volumetric discriminator.
        stage: shows progress.
        say: takes a line on each thing done and where it lies.

    Raises:
        MedganError: if `out` is taken.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise MedganError(f"{out}: is not empty; remove it, or choose another folder with --out.")
    manifest = phantom(out / "cohort", stage=stage)
    say(f"cohort       {out / 'cohort'}")
    config = quickstart_config(out / "cohort", dims=dims)
    write_text(out / "config.yaml", config.to_yaml())

    model = train(config, out / "model", stage=stage)
    say(f"model        {model}")
    predicted = predict(model, [manifest], out / "predictions", split="test", stage=stage)
    say(f"predictions  {predicted.folder}")
    evaluated = evaluate(
        manifest,
        predicted.folder,
        out / "evaluation",
        split="test",
        settings=config.evaluation,
        stage=stage,
    )
    say(f"report       {evaluated.folder / 'report.html'}")
    return Outcome(out, evaluated.done, {**evaluated.failed, **predicted.failed})


def quickstart_config(cohort: str | Path, *, dims: Literal[2, 3]) -> Config:
    """Return the config of quickstart for a phantom cohort, with a generator of `dims` dimensions."""
    folder = Path(cohort).resolve()
    data = {"manifest": str(folder / "manifest.csv"), "labels": str(folder / "labels.yaml")}
    generator = {**_SETTINGS["generator"], "spatial_dims": dims}
    return parse_config({**_SETTINGS, "data": data, "generator": generator}, where="quickstart")

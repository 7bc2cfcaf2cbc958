"""Time medgan's scores against MONAI's metrics, on one pair of label volumes, in one run.

Five organs on 256 x 256 x 160 voxels of (1, 1, 1.5) mm; a good prediction (a few voxels off) and a bad one (shifted
by over a centimetre). Both compute Dice, Hausdorff, HD95, ASSD and surface Dice at 2 mm. MONAI gets the one-hot tensors
it needs before the clock starts, medgan starts from label values. MONAI's metrics are separate functions that each find
the surfaces anew; that is how its users call them, and much of the difference. Runs alternate; the table holds medians,
and the largest difference between any two values.

    python benchmarks/metrics.py [--repeats 5]
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_surface_dice,
)

from medgan.evaluation.scores import score_case
from medgan.labels import LabelMap
from medgan.volume.volume import Volume

SHAPE, SPACING_MM, TOLERANCE_MM = (256, 256, 160), (1.0, 1.0, 1.5), 2.0
LABELS = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "heart": 3, "spine": 4, "liver": 5})
ORGANS = (  # centre and radii in voxels
    ((80, 128, 80), (45, 70, 70)),
    ((176, 128, 80), (45, 70, 70)),
    ((128, 100, 60), (40, 40, 35)),
    ((128, 200, 80), (15, 15, 75)),
    ((120, 60, 30), (60, 25, 22)),
)
METRICS = ("dice", "hausdorff_mm", "hd95_mm", "assd_mm", "surface_dice")


def organs(*, shift: tuple[float, float, float], roughness: float, phase: float) -> np.ndarray:
    """Return label values (I, J, K) of wavy ellipsoids."""
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in SHAPE], indexing="ij", sparse=True)
    waves = sum(np.sin(axis / (4 + n) + phase) for n, axis in enumerate(axes)) * roughness / 3
    labels = np.zeros(SHAPE, np.uint8)
    for value, (centre, radii) in enumerate(ORGANS, start=1):
        distance = sum(
            ((x - c - s) / r) ** 2 for x, c, s, r in zip(axes, centre, shift, radii, strict=True)
        )  # 1 on the surface
        labels[distance + waves < 1] = value
    return labels


def one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == value for value in LABELS.values])[None].astype(np.float32))


def by_medgan(reference: Volume, prediction: Volume) -> np.ndarray:
    scores = score_case(reference, prediction, LABELS, case_id="benchmark", surface_tolerance_mm=TOLERANCE_MM)
    return np.array([[getattr(score, metric) for metric in METRICS] for score in scores])


def by_monai(y: torch.Tensor, y_pred: torch.Tensor) -> np.ndarray:
    options = {"include_background": True, "spacing": list(SPACING_MM)}
    columns = (
        compute_dice(y_pred, y, include_background=True),
        compute_hausdorff_distance(y_pred, y, **options),
        compute_hausdorff_distance(y_pred, y, percentile=95, **options),
        compute_average_surface_distance(y_pred, y, symmetric=True, **options),
        compute_surface_dice(y_pred, y, class_thresholds=[TOLERANCE_MM] * len(LABELS.values), **options),
    )
    return torch.stack([column[0] for column in columns], dim=1).numpy()


def timed(function, *arguments) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)  # of MONAI to itself
    affine = np.diag([*SPACING_MM, 1.0])
    reference = organs(shift=(0, 0, 0), roughness=0.10, phase=0.0)
    predictions = {
        "good": organs(shift=(1, 0, 1), roughness=0.12, phase=0.3),
        "bad": organs(shift=(12, -9, 7), roughness=0.30, phase=2.0),
    }
    print(f"{len(ORGANS)} labels, {'x'.join(map(str, SHAPE))} voxels, {torch.get_num_threads()} threads, medians\n")
    print("| prediction | mean Dice | medgan | MONAI | faster by | largest difference |")
    print("|---|---|---|---|---|---|")
    for name, prediction in predictions.items():
        volumes = [Volume(labels[None], affine) for labels in (reference, prediction)]
        tensors = [one_hot(labels) for labels in (reference, prediction)]
        runs = [(timed(by_medgan, *volumes), timed(by_monai, *tensors)) for _ in range(repeats)]
        ours, theirs = (statistics.median(run[side][0] for run in runs) for side in (0, 1))
        ratio = statistics.median(run[1][0] / run[0][0] for run in runs)
        difference = np.abs(runs[0][0][1] - runs[0][1][1]).max()
        dice = runs[0][0][1][:, 0].mean()
        print(f"| {name} | {dice:.3f} | {ours:.2f} s | {theirs:.2f} s | {ratio:.1f}x | {difference:.1e} |")


if __name__ == "__main__":
    main()

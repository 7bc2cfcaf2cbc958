"""Time medgan's scores against MONAI's metrics and DeepMind's surface-distance, on pairs of label volumes, in one run.

All compute Dice, Hausdorff, HD95, ASSD and surface Dice at 2 mm, and nothing else: medgan by boundary voxels against
MONAI, by area against DeepMind, whose directed averages are joined to the ASSD that medgan reports. medgan starts from
label values. The peers get the masks of each label before their clock starts. MONAI's metrics are separate functions
that each find the surfaces anew; that is how its users call them, and much of the difference.

Five organs on 256 x 256 x 160 voxels of (1, 1, 1.5) mm, a good prediction (a few voxels off), a bad one (shifted by
over a centimetre), and one that is good but calls each lung the other, so that nearly all of both surfaces is far from
where it should be; runs alternate and the table holds medians. With --large also 100 organs on 512 x 512 x 300 against
DeepMind, every run in a process of its own, with the most memory it held beyond what it held before it began. The last
column is the largest relative difference between any two values.

    python benchmarks/metrics.py [--peers monai,deepmind] [--repeats 3] [--large]
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from medgan.config import EvaluationConfig
from medgan.evaluation.scores import score_case
from medgan.labels import LabelMap
from medgan.volume.volume import Volume

TOLERANCE_MM = 2.0
METRICS = ("dice", "hausdorff_mm", "hd95_mm", "assd_mm", "surface_dice")
SURFACES = {"monai": "voxels", "deepmind": "area"}  # by whose definition medgan measures
TITLES = {"monai": "MONAI", "deepmind": "DeepMind"}

SMALL, SMALL_SPACING_MM = (256, 256, 160), (1.0, 1.0, 1.5)
SMALL_ORGANS = [  # centre and radii in voxels
    ((80, 128, 80), (45, 70, 70)),
    ((176, 128, 80), (45, 70, 70)),
    ((128, 100, 60), (40, 40, 35)),
    ((128, 200, 80), (15, 15, 75)),
    ((120, 60, 30), (60, 25, 22)),
]
LARGE, LARGE_SPACING_MM = (512, 512, 300), (0.8, 0.8, 1.0)
LARGE_ORGANS = [  # 5 x 5 x 4 of them, small to large
    ((51 + 102 * i, 51 + 102 * j, 37 + 75 * k), (12 + 8 * i, 12 + 8 * j, 9 + 8 * k))
    for i, j, k in itertools.product(range(5), range(5), range(4))
]
PREDICTIONS = {
    "good": {"shift": (1, 0, 1), "roughness": 0.12, "phase": 0.3},
    "bad": {"shift": (12, -9, 7), "roughness": 0.30, "phase": 2.0},
}
SMALL_PREDICTIONS = PREDICTIONS | {"swapped": PREDICTIONS["good"] | {"values": (2, 1, 3, 4, 5)}}
Timed = tuple[float, np.ndarray]


def labels_of(
    shape: tuple[int, ...],
    organs: list,
    *,
    shift: tuple[float, float, float] = (0, 0, 0),
    roughness: float = 0.1,
    phase: float = 0.0,
    values: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return label values (I, J, K) of wavy ellipsoids, numbered from 1 unless `values` are given."""
    labels = np.zeros(shape, np.uint8)
    for value, (centre, radii) in zip(values or range(1, len(organs) + 1), organs, strict=True):
        box = tuple(
            slice(max(0, c + s - 2 * r), min(n, c + s + 2 * r))
            for c, r, s, n in zip(centre, radii, shift, shape, strict=True)
        )
        axes = np.meshgrid(*[np.arange(s.start, s.stop, dtype=np.float32) for s in box], indexing="ij", sparse=True)
        waves = sum(np.sin(axis / (4 + n) + phase) for n, axis in enumerate(axes)) * roughness / 3
        distance = sum(((x - c - s) / r) ** 2 for x, c, s, r in zip(axes, centre, shift, radii, strict=True))
        labels[box][distance + waves < 1] = value  # the distance is 1 on the surface
    return labels


def by_medgan(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...], *, surface: str) -> Timed:
    """Return the seconds taken and the metrics (organs, metrics)."""
    affine = np.diag([*spacing_mm, 1.0])
    labels = LabelMap.from_mapping({f"organ_{v}": v for v in range(1, int(reference.max()) + 1)})
    settings = EvaluationConfig(surface=surface, surface_tolerance_mm=TOLERANCE_MM)
    start = time.perf_counter()
    volumes = [Volume(side[None], affine) for side in (reference, prediction)]
    scores = score_case(*volumes, labels, case_id="benchmark", settings=settings, metrics=METRICS)
    seconds = time.perf_counter() - start
    return seconds, np.array([[score[metric] for metric in METRICS] for score in scores])


def by_monai(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> Timed:
    """Return the seconds taken and the metrics (organs, metrics)."""
    import torch  # noqa: PLC0415 - its memory is not to be held while medgan's is measured
    from monai import metrics as monai  # noqa: PLC0415

    values = range(1, int(reference.max()) + 1)
    y, y_pred = (
        torch.from_numpy(np.stack([side == value for value in values])[None].astype(np.float32))
        for side in (reference, prediction)
    )
    options = {"include_background": True, "spacing": list(spacing_mm)}
    start = time.perf_counter()
    columns = (
        monai.compute_dice(y_pred, y, include_background=True),
        monai.compute_hausdorff_distance(y_pred, y, **options),
        monai.compute_hausdorff_distance(y_pred, y, percentile=95, **options),
        monai.compute_average_surface_distance(y_pred, y, symmetric=True, **options),
        monai.compute_surface_dice(y_pred, y, class_thresholds=[TOLERANCE_MM] * len(values), **options),
    )
    seconds = time.perf_counter() - start
    return seconds, torch.stack([column[0] for column in columns], dim=1).numpy()


def by_deepmind(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> Timed:
    """Return the seconds taken and the metrics (organs, metrics)."""
    import surface_distance as deepmind  # noqa: PLC0415

    seconds, rows = 0.0, []
    for value in range(1, int(reference.max()) + 1):
        masks = reference == value, prediction == value
        start = time.perf_counter()
        found = deepmind.compute_surface_distances(*masks, spacing_mm)
        means = deepmind.compute_average_surface_distance(found)
        row = [
            deepmind.compute_dice_coefficient(*masks),
            deepmind.compute_robust_hausdorff(found, 100),
            deepmind.compute_robust_hausdorff(found, 95),
            np.average(means, weights=[found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]),
            deepmind.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
        ]
        seconds += time.perf_counter() - start
        rows.append(row)
    return seconds, np.array(rows)


PEERS: dict[str, Callable[..., Timed]] = {"monai": by_monai, "deepmind": by_deepmind}


def compare_small(peers: list[str], *, repeats: int) -> Iterator[str]:
    """Yield the lines of a table."""
    size = "x".join(map(str, SMALL))
    yield f"{len(SMALL_ORGANS)} labels, {size} voxels, {os.cpu_count()} cores, medians of {repeats}\n"
    yield "| prediction | mean Dice | surface | medgan | peer | | faster by | largest difference |"
    yield "|---|---|---|---|---|---|---|---|"
    reference = labels_of(SMALL, SMALL_ORGANS)
    for (name, errors), peer in itertools.product(SMALL_PREDICTIONS.items(), peers):
        sides = reference, labels_of(SMALL, SMALL_ORGANS, **errors), SMALL_SPACING_MM
        runs = [(by_medgan(*sides, surface=SURFACES[peer]), PEERS[peer](*sides)) for _ in range(repeats)]
        (ours, values), (theirs, expected) = (
            (statistics.median(run[side][0] for run in runs), runs[0][side][1]) for side in (0, 1)
        )
        ratio = statistics.median(theirs / ours for (ours, _), (theirs, _) in runs)
        yield (
            f"| {name} | {values[:, 0].mean():.3f} | {SURFACES[peer]} | {ours:.2f} s | {TITLES[peer]} | {theirs:.2f} s "
            f"| {ratio:.1f}x | {largest_difference(values, expected):.0e} |"
        )


def compare_large(*, repeats: int) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"\n{len(LARGE_ORGANS)} labels, {'x'.join(map(str, LARGE))} voxels, medians of {repeats}\n"
    yield "| prediction | mean Dice | medgan | DeepMind | faster by | memory | its memory | share | difference |"
    yield "|---|---|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "reference.npy"), labels_of(LARGE, LARGE_ORGANS))
        for name, errors in PREDICTIONS.items():
            np.save(Path(folder, "prediction.npy"), labels_of(LARGE, LARGE_ORGANS, **errors))
            runs = [[_in_own_process(folder, tool) for tool in ("medgan", "deepmind")] for _ in range(repeats)]
            (seconds, memory, values), (peers_seconds, peers_memory, expected) = (
                (
                    statistics.median(run[side][0] for run in runs),
                    statistics.median(run[side][1] for run in runs),
                    runs[0][side][2],
                )
                for side in (0, 1)
            )
            ratio = statistics.median(theirs[0] / ours[0] for ours, theirs in runs)
            yield (
                f"| {name} | {values[:, 0].mean():.3f} | {seconds:.2f} s | {peers_seconds:.2f} s | {ratio:.1f}x | "
                f"{memory:.0f} MB | {peers_memory:.0f} MB | {memory / peers_memory:.2f} | "
                f"{largest_difference(values, expected):.0e} |"
            )


def largest_difference(values: np.ndarray, expected: np.ndarray) -> float:
    return float((np.abs(values - expected) / np.maximum(np.abs(expected), 1e-6)).max())


def _in_own_process(folder: str, tool: str) -> tuple[float, float, np.ndarray]:
    """Return seconds, MB and metrics of a tool on the volumes in a folder."""
    subprocess.run([sys.executable, __file__, "--worker", tool, folder], check=True)
    with np.load(Path(folder, "result.npz")) as result:
        return float(result["seconds"]), float(result["memory_mb"]), result["values"]


def work(tool: str, folder: str) -> None:
    """Run a tool on the volumes in a folder and leave its result there."""
    sides = [np.load(Path(folder, f"{side}.npy")) for side in ("reference", "prediction")]
    if tool == "medgan":
        run: Callable[..., Timed] = by_medgan
        options = {"surface": "area"}
    else:
        run, options = PEERS[tool], {}
    tiny = [side[:40, :40, :40] for side in sides]
    run(*[np.ones_like(side) for side in tiny], LARGE_SPACING_MM, **options)  # imports are not what is measured
    before = _memory_mb("VmRSS")
    seconds, values = run(*sides, LARGE_SPACING_MM, **options)
    np.savez(Path(folder, "result.npz"), seconds=seconds, values=values, memory_mb=_memory_mb("VmHWM") - before)


def _memory_mb(field: str) -> float:
    """Return what Linux says of this process: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(PEERS), help="monai, deepmind or both, with a comma between")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="100 labels, against DeepMind")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)  # of MONAI to itself
    warnings.filterwarnings("ignore", message="Please import", category=DeprecationWarning)  # DeepMind's, of scipy
    if arguments.worker:
        work(*arguments.worker)
        return
    for line in compare_small(arguments.peers.split(","), repeats=arguments.repeats):
        print(line, flush=True)
    for line in compare_large(repeats=arguments.repeats) if arguments.large else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""Lungs on the Montgomery chest X-rays (2D), with the published split lists.

python benchmarks/chest_xray.py
"""

from pathlib import Path

from experiment import PROJECT, parser, run

from medgan.manifest.case import Case


def montgomery_cases(folder: Path) -> list[Case]:
    """Return the cases of the published lists; every image is another patient."""
    cases = []
    for split in ("train", "test"):
        names = (folder / f"Montgomery_{split}_images_256.txt").read_text().split()
        for name in (Path(line).name for line in names):
            images, label = (folder / "images" / name,), folder / "labels" / name
            cases.append(Case(Path(name).stem, images, label, split, patient=Path(name).stem))  # type: ignore[arg-type]
    return cases


def main() -> None:
    options = parser(__doc__ or "", out="chest_xray").parse_args()
    run(
        montgomery_cases(options.data / "montgomery_cxr"),
        "chest_xray_2d.yaml",
        PROJECT / "data_manifests" / "labels" / "chest_xray.yaml",
        options.out,
        root=options.data,
        overrides=[f"training.max_minutes={options.minutes}", *options.overrides],
    )


if __name__ == "__main__":
    main()

"""Right ventricle, myocardium and left ventricle on ACDC cine MR, split by patient (30 / 10), 2D and 3D generators.

    python benchmarks/cardiac_mr.py --dims 2
    python benchmarks/cardiac_mr.py --dims 3

The last two patients of each of the five disease groups are the test set. Spacing, and with it every mm, is nominal.
"""

from pathlib import Path

from experiment import PROJECT, parser, run

from medgan.manifest.case import Case

TESTED = {"007", "008", "027", "028", "047", "048", "067", "068", "087", "088"}


def acdc_cases(folder: Path) -> list[Case]:
    """Return two frames per patient; both are in the patient's split."""
    cases = []
    for image in sorted(folder.glob("*_image.nii.gz")):
        case_id = image.name.removesuffix("_image.nii.gz")
        patient = case_id.partition("_")[0]
        label = image.with_name(f"{case_id}_label.nii.gz")
        split = "test" if patient.removeprefix("patient") in TESTED else "train"
        cases.append(Case(case_id, (image,), label, split, patient=patient))  # type: ignore[arg-type]
    return cases


def main() -> None:
    made = parser(__doc__ or "", out="cardiac_mr")
    made.add_argument("--dims", type=int, choices=(2, 3), default=2, help="dimensions of the generator")
    options = made.parse_args()
    run(
        acdc_cases(options.data / "acdc_cine_mr"),
        "cardiac_mr.yaml",
        PROJECT / "data_manifests" / "labels" / "cardiac_mr.yaml",
        options.out.with_name(f"{options.out.name}_{options.dims}d"),
        root=options.data,
        overrides=[
            f"training.max_minutes={options.minutes}",
            f"generator.spatial_dims={options.dims}",
            *options.overrides,
        ],
    )


if __name__ == "__main__":
    main()

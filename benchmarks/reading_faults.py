"""Read the open corpus of bad and tricky inputs with medgan and with MONAI's LoadImaged, entry by entry.

The corpus (NIfTI, DICOM and labels; `make_faults.py`) says for each input what must be true, and its own judge
(`check_faults.py`) runs each reader in a forked child with limits on time and memory. MONAI is called as a user would:
`LoadImaged(keys, ensure_channel_first=True)`, which chooses its reader by the file. LoadImaged does not promise to
check labels against an image or a label map; the rows say what a project gets that relies on it alone.

    python benchmarks/reading_faults.py FOLDER [--seed 0]    # FOLDER holds make_faults.py and check_faults.py
"""

import argparse
import importlib
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import monai
import numpy as np

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import same_grid

KINDS = ("nifti", "label", "dicom")
OUTCOMES = {
    "ok": "right",
    "warn": "right, warns",
    "error": "clear error",
    "unnamed": "obscure error",
    "obscure": "obscure error",
    "refused": "refuses valid",
    "silent": "silent wrong",
    "wrong+w": "wrong, warns",
    "crash": "crash",
    "hang": "hang",
    "memory": "memory",
}
Read = Callable[[dict, dict], tuple[np.ndarray, np.ndarray]]


def by_medgan(entry: dict, paths: dict) -> tuple[np.ndarray, np.ndarray]:
    """Read an image, or a label as training does: on the image's grid, all its values in the label map."""
    if entry["kind"] != "label":
        volume = read_volume(paths["path"])
        return volume.data, volume.affine
    labels = LabelMap.from_mapping(entry["label_map"], where=paths["path"])
    image = read_volume(paths["image"])
    label = read_label(paths["path"], labels=labels, reference=image)
    if not same_grid(label, image):
        grids = f"{label.describe_grid()} and {image.describe_grid()}"
        raise MedganError(f"{paths['path']}: label and image must share one geometry, found {grids}.")
    return labels.to_values(labels.to_classes(label.data, where=paths["path"])), label.affine


def outcome(row: dict) -> str:
    words = OUTCOMES[row["verdict"]]
    return words if row["pass"] else f"**{words}**"


def entry_rows(ours: Sequence[dict], theirs: Sequence[dict], must: dict[str, str]) -> list[str]:
    lines = ["| entry | must | medgan | MONAI |", "|---|---|---|---|"]
    for a, b in zip(ours, theirs, strict=True):
        lines.append(f"| {a['id']} | {must[a['id']].replace('|', '/')} | {outcome(a)} | {outcome(b)} |")
    return lines


def total_rows(readers: dict[str, Sequence[dict]]) -> list[str]:
    words = list(dict.fromkeys(OUTCOMES.values()))
    lines = [f"| reader | kind | entries | as it must | {' | '.join(words)} |", "|---" * (len(words) + 4) + "|"]
    for name, rows in readers.items():
        for kind in (*KINDS, "all"):
            chosen = [row for row in rows if kind in (row["kind"], "all")]
            counts = Counter(OUTCOMES[row["verdict"]] for row in chosen)
            num_passed = sum(row["pass"] for row in chosen)
            cells = [len(chosen), num_passed, *(counts[word] for word in words)]
            lines.append(f"| {name} | {kind} | {' | '.join(map(str, cells))} |")
    return lines


def judged(judge: ModuleType, corpus: Path, read: Read) -> list[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # open files of the judge, and MONAI's about itself
        rows: list[dict] = judge.run(corpus, read, kinds=KINDS)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.path.insert(0, str(options.folder))
    sys.dont_write_bytecode = True
    make, judge = (importlib.import_module(name) for name in ("make_faults", "check_faults"))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        corpus = Path(folder) / "corpus"
        make.build(corpus, seed=options.seed, only=("nii_", "lab_", "dcm_"))
        judge.warm_monai()
        readers = {"medgan": judged(judge, corpus, by_medgan), "MONAI": judged(judge, corpus, judge.reader_monai)}
    must = {spec["id"]: spec["must"] for spec, _ in make.REGISTRY}
    print(f"medgan and MONAI {monai.__version__}, corpus of seed {options.seed}, {len(readers['medgan'])} entries\n")
    print("\n".join(total_rows(readers)), end="\n\n")
    print("\n".join(entry_rows(readers["medgan"], readers["MONAI"], must)))


if __name__ == "__main__":
    main()

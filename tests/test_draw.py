"""Pictures and viewer volumes of single cases in a report's folder."""

from pathlib import Path

import numpy as np
import pytest
from phantoms import box_volume

from medgan.errors import MedganError
from medgan.evaluation.scores import Score, score_case
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.report.draw import Drawing, check_views, draw_cases, drawings_of, remove_drawings
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

LABELS = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3})
BOXES = box_volume((14, 12, 10), labels=True)


def pair_of(folder: Path, case_id: str = "p1", *, image: Volume | None = None) -> Pair:
    path = folder / f"{case_id}.nii.gz"
    write_volume(BOXES, path)
    if image is not None:
        write_volume(image, folder / "image.nii.gz")
    return Pair(case_id, path, path, image=folder / "image.nii.gz" if image else None)


def scores_of(*wrong_voxels: int) -> list[Score]:
    """Return the scores of cases p0, p1, ... with so many wrong voxels each."""
    scores = []
    for n, count in enumerate(wrong_voxels):
        data = BOXES.data.copy()
        data.reshape(-1)[np.flatnonzero(data.ravel() == 1)[:count]] = 0
        scores += score_case(BOXES, Volume(data, BOXES.affine), LABELS, case_id=f"p{n}")
    return scores


def test_worst_cases_and_those_asked_for_are_drawn() -> None:
    pairs = [Pair(f"p{n}", Path("r"), Path("p")) for n in range(4)]
    scores = scores_of(0, 30, 10, 20)

    def drawn(pictures: int, *view: str) -> list[tuple[str, bool, bool]]:
        found = drawings_of(pairs, scores, pictures=pictures, view=view)
        return [(drawing.pair.case_id, drawing.is_pictured, drawing.is_viewed) for drawing in found]

    assert drawn(1, "p0") == [("p0", False, True), ("p1", True, False)]
    assert drawn(0, "worst:2", "p1") == [("p1", False, True), ("p3", False, True)]
    assert drawn(0, "failed_case") == []


def test_view_of_what_is_no_case_is_refused() -> None:
    check_views(["a", "worst:3"], ["a", "b"])
    with pytest.raises(
        MedganError, match=r"^view: 3 problems:(.|\n)*'c' is no case; give a case id such as a, or worst:3"
    ):
        check_views(["c", "worst:0", "worst:x"], ["a", "b"])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_pictures_and_volumes_are_written_and_removed_again(tmp_path: Path, num_workers: int) -> None:
    out = tmp_path / "out"
    image = box_volume((14, 12, 10))
    drawings = [
        Drawing(pair_of(tmp_path, "p0", image=image), is_pictured=True, is_viewed=False),
        Drawing(pair_of(tmp_path, "p1", image=image), is_pictured=False, is_viewed=True),
    ]
    assert draw_cases(drawings, LABELS, out, num_workers=num_workers) == {}
    assert [path.name for path in (out / "overlays").iterdir()] == ["p0.png"]
    assert {path.name for path in (out / "viewer" / "p1").iterdir()} == {
        "image.nii.gz",
        "reference.nii.gz",
        "prediction.nii.gz",
        "case.json",
    }
    (out / "overlays" / "mine.png").write_bytes(b"precious")
    (out / "scores.csv").write_text("case_id,organ\np0,a\np1,a\n../p0,a\n")
    remove_drawings(out)
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert left == ["overlays/mine.png", "scores.csv"]
    assert not (out / "viewer" / "p1").exists()


def test_image_on_another_grid_is_left_out_and_told(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, image=box_volume((9, 9, 9)))
    found = draw_cases([Drawing(pair, is_pictured=True, is_viewed=False)], LABELS, tmp_path / "out")
    assert found == {"p1": "its image lies on another grid than its reference, so it is drawn without."}
    assert (tmp_path / "out" / "overlays" / "p1.png").is_file()


def test_image_that_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, image=BOXES)
    (tmp_path / "image.nii.gz").write_bytes(b"nothing")
    found = draw_cases([Drawing(pair, is_pictured=True, is_viewed=False)], LABELS, tmp_path / "out")
    assert found["p1"].startswith("it is drawn without its image: image image.nii.gz is not a NIfTI file")
    assert (tmp_path / "out" / "overlays" / "p1.png").is_file()


def test_case_that_can_no_longer_be_drawn_is_told(tmp_path: Path) -> None:
    pair = pair_of(tmp_path)
    pair.reference.unlink()
    found = draw_cases([Drawing(pair, is_pictured=True, is_viewed=False)], LABELS, tmp_path / "out")
    assert found == {"p1": "reference p1.nii.gz does not exist; check the path."}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_what_drawing_warns_of_is_told_once_with_the_case(
    tmp_path: Path, num_workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_volume(Volume((BOXES.data > 0).astype(np.uint8), BOXES.affine), tmp_path / "masks" / f"{name}.nii.gz")
    pairs = [Pair(i, tmp_path / "masks", pair_of(tmp_path, i).prediction) for i in ("p0", "p1")]
    drawings = [Drawing(pair, is_pictured=True, is_viewed=False) for pair in pairs]
    note = (
        f"reference masks: organs share voxels: a and b in {np.count_nonzero(BOXES.data)}; each is scored by its whole "
        "mask, and pictures show the later one there."
    )
    other = "prediction p0.nii.gz has one organ a voxel, and is scored against masks that overlap: what one organ has "
    told = {"p0": [f"{other}there, another lacks."], "p1": [note]}
    with pytest.warns(UserWarning, match="^case p") as caught:
        assert draw_cases(drawings, LABELS, tmp_path / "out", told=told, num_workers=num_workers) == {}
    assert [str(warning.message) for warning in caught] == [
        f"case p0: {note}",
        f"case p1: {other}there, another lacks.".replace("p0.nii.gz", "p1.nii.gz"),
    ]
    assert capfd.readouterr().err == ""

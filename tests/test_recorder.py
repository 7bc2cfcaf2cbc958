"""The record of a training."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import largest_file

from medgan.errors import MedganError
from medgan.training.recorder import METRICS_FILE, Recorder


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def record(folder: Path, steps: range, *, first_step: int) -> None:
    with Recorder(folder, first_step=first_step, use_tensorboard=False) as recorder:
        for step in steps:
            recorder.scalars(step, {"loss": step / 2})


def test_each_step_is_a_line(tmp_path: Path) -> None:
    record(tmp_path / "model", range(1, 4), first_step=0)
    assert lines_of(tmp_path / "model") == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 1.5},
    ]


def test_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with Recorder(tmp_path, first_step=0, use_tensorboard=False) as recorder:
        recorder.scalars(1, {"loss": 1.0})
        assert lines_of(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_resume_drops_the_steps_that_are_trained_again(tmp_path: Path) -> None:
    record(tmp_path, range(1, 6), first_step=0)
    record(tmp_path, range(4, 7), first_step=3)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_record_is_whole_as_soon_as_a_training_resumes(tmp_path: Path) -> None:
    record(tmp_path, range(1, 6), first_step=0)
    with Recorder(tmp_path, first_step=3, use_tensorboard=False):
        assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3]


def test_new_training_starts_a_new_record(tmp_path: Path) -> None:
    record(tmp_path, range(1, 6), first_step=0)
    record(tmp_path, range(1, 2), first_step=0)
    assert [line["step"] for line in lines_of(tmp_path)] == [1]


def test_line_torn_by_a_crash_is_dropped(tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    record(tmp_path, range(3, 4), first_step=2)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 3]


@pytest.mark.parametrize("line", ["not json", "[1]", '{"loss": 1}', '{"step": "one"}'])
def test_damaged_record_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / METRICS_FILE).write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(MedganError, match=r"metrics\.jsonl:2: must be a JSON object with its step"):
        Recorder(tmp_path, first_step=2, use_tensorboard=False)


def test_number_that_json_has_not_is_null(tmp_path: Path) -> None:
    with Recorder(tmp_path, first_step=0, use_tensorboard=False) as recorder:
        recorder.scalars(1, {"validation_dice": math.nan})
    assert (tmp_path / METRICS_FILE).read_text() == '{"step": 1, "validation_dice": null}\n'


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(MedganError, match=r"metrics\.jsonl could not be written"):
        Recorder(tmp_path / "model", first_step=0, use_tensorboard=False)


def test_full_disk_is_told_and_keeps_the_lines_before(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match=r"metrics\.jsonl could not be written: File too large"), largest_file(100):
        record(tmp_path, range(1, 10), first_step=0)
    record(tmp_path, range(4, 5), first_step=3)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]


def events_of(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "logs"), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def corner_batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return a batch and a prediction whose one bright voxel is the patient's right and front, in the middle slice."""
    image = torch.zeros(2, 1, 5, 4, 3)
    image[0, 0, 4, 3, 1] = 7.0
    classes = (image[:, 0] > 0).long()
    return {"image": image, "classes": classes}, torch.zeros_like(classes)


def test_tensorboard_gets_scalars_and_panels(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from matplotlib.image import imread

    batch, prediction = corner_batch()
    with Recorder(tmp_path, first_step=0, use_tensorboard=True) as recorder:
        recorder.scalars(1, {"loss": 0.5})
        recorder.panel(1, batch, prediction)
    events = events_of(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5)]
    (panel,) = events.Images("image, reference, prediction")
    (tmp_path / "panel.png").write_bytes(panel.encoded_image_string)
    picture = imread(tmp_path / "panel.png")[..., 0]
    expected = torch.zeros(4, 15)
    expected[0, 0] = expected[0, 5] = 1.0  # front up, the patient's right on the left
    assert picture.tolist() == expected.tolist()


def test_resumed_tensorboard_record_keeps_the_step_it_resumes_from(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for first_step, steps in ((0, range(1, 6)), (3, range(4, 7))):
        with Recorder(tmp_path, first_step=first_step, use_tensorboard=True) as recorder:
            for step in steps:
                recorder.scalars(step, {"loss": step + 10.0 * first_step})
    found = [(e.step, e.value) for e in events_of(tmp_path).Scalars("loss")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 34.0), (5, 35.0), (6, 36.0)]


def test_training_goes_on_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    batch, prediction = corner_batch()
    with Recorder(tmp_path, first_step=0, use_tensorboard=True) as recorder:
        recorder.scalars(1, {"loss": 0.5})
        recorder.panel(1, batch, prediction)
    assert lines_of(tmp_path) == [{"step": 1, "loss": 0.5}]
    assert not (tmp_path / "logs").exists()

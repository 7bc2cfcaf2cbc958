"""From a model folder and a volume to labels on the volume's grid."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from phantoms import box_volume, oblique_affine
from small_networks import GENERATOR, LABELS, SIZE, SLICEWISE, small_generator

from medgan.config import GeneratorConfig, parse_config
from medgan.errors import MedganError
from medgan.inference.predictor import Predictor
from medgan.labels import LabelMap
from medgan.training.checkpoint import save_weights
from medgan.volume.volume import Volume, same_grid

OTHER_VALUES = LabelMap.from_mapping({"left_lung": 10, "right_lung": 20, "heart": 300})


def write_model(
    folder: Path,
    *,
    config: GeneratorConfig = GENERATOR,
    labels: LabelMap = LABELS,
    spacing_mm: list[float] | None = None,
) -> Path:
    """Write a model folder of untrained weights, as training would."""
    sections = {
        "data": {"manifest": "manifest.csv", "labels": "labels.yaml"},
        "preprocessing": {"spacing_mm": spacing_mm},
        "patch": {"size": SIZE},
        "generator": config.model_dump(),
        "inference": {"precision": "fp32"},
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(parse_config(sections, where="test").to_yaml())
    labels.to_yaml(folder / "labels.yaml")
    (folder / "training.json").write_text(json.dumps({"num_channels": 1}))
    save_weights(small_generator(config=config), folder / "generator.safetensors")
    return folder


@pytest.mark.parametrize(
    "affine", [oblique_affine(), oblique_affine(left_handed=True), np.diag([-1.0, -1.0, 2.0, 1.0])]
)
@pytest.mark.parametrize("spacing_mm", [None, [2.0, 2.0, 2.0]])
def test_labels_come_on_the_grid_of_the_volume(
    tmp_path: Path, affine: np.ndarray, spacing_mm: list[float] | None
) -> None:
    predictor = Predictor(write_model(tmp_path / "model", spacing_mm=spacing_mm), device="cpu")
    volume = box_volume((20, 11, 6), affine)
    labels = predictor.predict(volume)
    assert same_grid(labels, volume)
    assert labels.data.shape == (1, 20, 11, 6)
    assert labels.data.dtype == np.uint8
    assert set(np.unique(labels.data)) <= {0, 1, 2, 3}


def test_values_are_those_of_the_labels_file(tmp_path: Path) -> None:
    folders = (write_model(tmp_path / "a"), write_model(tmp_path / "b", labels=OTHER_VALUES))
    first, second = (Predictor(folder, device="cpu").predict(box_volume()).data for folder in folders)
    assert second.dtype == np.uint16
    assert np.array_equal(second, np.array([0, 10, 20, 300])[first])
    assert len(np.unique(first)) > 1


def test_orientation_of_the_file_does_not_change_the_labels(tmp_path: Path) -> None:
    """The same patient, stored with the axes turned and flipped, gets the same labels at the same places."""
    predictor = Predictor(write_model(tmp_path / "model"), device="cpu")
    volume = box_volume((18, 12, 8))
    flipped_affine = volume.affine @ np.array([[0, -1, 0, 17], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    turned = Volume(np.ascontiguousarray(volume.data[:, ::-1].transpose(0, 2, 1, 3)), flipped_affine)
    labels, labels_turned = predictor.predict(volume), predictor.predict(turned)
    assert np.array_equal(labels_turned.data, labels.data[:, ::-1].transpose(0, 2, 1, 3))


def test_slicewise_model_predicts_single_slices(tmp_path: Path) -> None:
    predictor = Predictor(write_model(tmp_path / "model", config=SLICEWISE), device="cpu")
    assert predictor.predict(box_volume((20, 20, 1))).data.shape == (1, 20, 20, 1)


def test_same_weights_have_the_same_hash(tmp_path: Path) -> None:
    predictors = [Predictor(write_model(tmp_path / name), device="cpu") for name in ("a", "b")]
    assert predictors[0].weights_sha256 == predictors[1].weights_sha256
    assert len(predictors[0].weights_sha256) == 64


def test_settings_of_inference_may_change(tmp_path: Path) -> None:
    overrides = ("inference.overlap=0.25", "outputs.largest_component=[heart]", "inference.mirror=true")
    predictor = Predictor(write_model(tmp_path / "model"), device="cpu", overrides=overrides)
    assert predictor.config.inference.overlap == 0.25
    assert predictor.config.outputs.largest_component == ("heart",)
    described = predictor.describe()
    assert described["precision"] == "float32"
    assert described["inference"]["mirror"] is True  # type: ignore[index]
    assert str(described["device"]).startswith("cpu")


@pytest.mark.parametrize(
    "override", ["patch.size=[8,8,8]", "preprocessing.window=[0,1]", "generator.channels=8", "training.seed=1"]
)
def test_what_training_fixed_may_not_change(tmp_path: Path, override: str) -> None:
    model = write_model(tmp_path / "model")
    with pytest.raises(MedganError, match="only the sections inference and outputs may change after training"):
        Predictor(model, overrides=(override,))


def test_wrong_value_of_an_override_is_told(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    with pytest.raises(MedganError, match=r"override: inference\.overlap: must be less than 1"):
        Predictor(model, overrides=("inference.overlap=1",))


def test_number_of_channels_must_be_that_of_the_training(tmp_path: Path) -> None:
    predictor = Predictor(write_model(tmp_path / "model"), device="cpu")
    volume = box_volume()
    two = Volume(np.concatenate([volume.data, volume.data]), volume.affine)
    with pytest.raises(MedganError, match="case_07: must have as many channels as in training, 1; found 2"):
        predictor.predict(two, where="case_07")


def test_folder_without_a_model_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(MedganError, match=r"must be a folder with config\.yaml, as `medgan train` writes"):
            Predictor(folder)


@pytest.mark.parametrize("name", ["labels.yaml", "training.json", "generator.safetensors"])
def test_missing_file_of_a_model_is_named(tmp_path: Path, name: str) -> None:
    model = write_model(tmp_path / "model")
    (model / name).unlink()
    with pytest.raises(MedganError, match=rf"{name}.* could not be read"):
        Predictor(model)


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def edit_text(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("name", "damage", "found"),
    [
        ("generator.safetensors", flip_bit, "content does not match its own digest"),
        ("labels.yaml", edit_text("heart:", "heart:\n  value: 9\nliver:"), "do not fit the model's config.yaml"),
        ("labels.yaml", edit_text("value: 3", "value: x"), "value must be a whole number"),
        (
            "training.json",
            edit_text('"num_channels"', '"channels"'),
            "num_channels must be a whole number of 1 or more, found None",
        ),
        ("training.json", edit_text(": 1", ': "one"'), "num_channels must be a whole number of 1 or more, found 'one'"),
        ("training.json", edit_text(": 1", ": 0"), "num_channels must be a whole number of 1 or more, found 0"),
        ("training.json", edit_text(": 1", ": 2"), "do not fit the model's config.yaml"),
        (
            "config.yaml",
            edit_text("  channels: 4\n  max_channels: 8", "  channels: 8\n  max_channels: 8"),
            "do not fit",
        ),
        ("config.yaml", edit_text("  kernels:\n", "  kernels: null\n  x:\n"), "there is no such key"),
    ],
)
def test_damaged_model_is_refused_by_the_file(
    tmp_path: Path, name: str, damage: Callable[[Path], None], found: str
) -> None:
    model = write_model(tmp_path / "model")
    damage(model / name)
    with pytest.raises(MedganError, match=found) as told:
        Predictor(model)
    assert str(model) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("changes", [{"strides": None}, {"kernels": None}, {"kernels": GENERATOR.kernels[:2]}])  # type: ignore[index]
def test_config_of_a_model_must_hold_the_plan_of_the_training(tmp_path: Path, changes: dict[str, object]) -> None:
    model = write_model(tmp_path / "model")
    config = parse_config(
        {
            "data": {"manifest": "manifest.csv", "labels": "labels.yaml"},
            "patch": {"size": SIZE},
            "generator": {**GENERATOR.model_dump(), **changes},
        },
        where="test",
    )
    (model / "config.yaml").write_text(config.to_yaml())
    with pytest.raises(
        MedganError, match=r"config\.yaml: generator\.strides and generator\.kernels must be those of the training"
    ):
        Predictor(model)


def test_nan_in_a_volume_does_not_become_background(tmp_path: Path) -> None:
    predictor = Predictor(write_model(tmp_path / "model"), device="cpu")
    volume = box_volume()
    volume.data[0, 3, 3, 3] = np.nan
    with pytest.raises(MedganError, match="scores are not finite"):
        predictor.predict(volume)

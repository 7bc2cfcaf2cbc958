"""Settings: what is accepted, what is refused, and what the messages say."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from phantoms import SHARED

from medgan.config import Config, EvaluationConfig, load_config, load_evaluation, parse_config
from medgan.errors import MedganError

DATA = "data: {manifest: cohort/manifest.csv, labels: labels.yaml}\n"
MINIMAL = {"data": {"manifest": "manifest.csv", "labels": "labels.yaml"}}


def config_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(DATA + text)
    return path


def told_for(folder: Path, text: str, *overrides: str) -> str:
    """Return what is said when `text` after a valid data section is refused."""
    with pytest.raises(MedganError) as told:
        load_config(config_file(folder, text), overrides)
    return str(told.value)


def test_only_the_data_section_is_required() -> None:
    config = parse_config(MINIMAL, where="test")
    assert config.training.learning_rate == 1e-3
    assert config.generator.strides is None
    with pytest.raises(MedganError, match=r"^test: data: is required\.$"):
        parse_config({}, where="test")
    with pytest.raises(MedganError, match=r"^test: data\.labels: is required\.$"):
        parse_config({"data": {"manifest": "m.csv"}}, where="test")


def test_relative_paths_start_at_the_file_and_those_of_overrides_at_the_current_folder(tmp_path: Path) -> None:
    config = load_config(config_file(tmp_path, ""))
    assert config.data.manifest == tmp_path / "cohort" / "manifest.csv"
    assert config.data.labels == tmp_path / "labels.yaml"
    assert load_config(config_file(tmp_path, ""), ["data.labels=mine.yaml"]).data.labels == Path("mine.yaml")


def test_absolute_path_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {manifest: /data/m.csv, labels: labels.yaml}\n")
    assert load_config(path).data.manifest == Path("/data/m.csv")


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = "training:\n  max_steps: 0\n  sed: 1\npatch:\n  size: [96, 96, 0]\nadversary: {loss: wgan}\n"
    message = told_for(tmp_path, text)
    assert message.startswith(f"config {tmp_path / 'config.yaml'}: 4 problems:\n")
    for problem in (
        "line 3: training.max_steps: must be greater than or equal to 1; found 0.",
        "line 4: training.sed: there is no such key; did you mean seed.",
        "line 6: patch.size.2: must be greater than or equal to 1; found 0.",
        "line 7: adversary.loss: must be 'bce', 'least_squares' or 'hinge'; found 'wgan'.",
    ):
        assert f"  - {problem}" in message


def test_unknown_section_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    assert "line 2: trainning: there is no such key; did you mean training." in told_for(tmp_path, "trainning: {}\n")
    assert "there is no such key; known are data, preprocessing" in told_for(tmp_path, "zzz: {}\n")


@pytest.mark.parametrize(
    "text", ["training: {max_steps: yes}", "patch: {size: [96, 96, on]}", "preprocessing: {window: [no, 1]}"]
)
def test_yes_and_no_are_no_numbers(tmp_path: Path, text: str) -> None:
    assert "must not be a boolean (YAML reads a bare yes, no, on and off as one)" in told_for(tmp_path, text)


def test_yes_is_a_boolean_where_one_is_asked_for(tmp_path: Path) -> None:
    assert load_config(config_file(tmp_path, "adversary: {enabled: no}")).adversary.enabled is False


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("training: {learning_rate: .nan}", "line 2: training.learning_rate: must be a finite number"),
        ("training: {learning_rate: .inf}", "finite number"),
        ("preprocessing: {window: [-.inf, 400]}", "line 2: preprocessing.window.0: must be a finite number"),
        ("preprocessing: {window: [400, -1000]}", "line 2: preprocessing: window must rise, found [400.0, -1000.0]"),
        ("preprocessing: {spacing_mm: [1, 1, 0]}", "spacing_mm.2: must be greater than 0; found 0"),
        ("preprocessing: {spacing_mm: [1, 1]}", "spacing_mm.2: is required"),
        ("patch: {size: [96, 96, 96.5]}", "patch.size.2: must be a valid integer"),
        ("generator: {spatial_dims: 4}", "generator.spatial_dims: must be 2 or 3; found 4"),
        (
            "generator: {strides: [[2, 2, 3]]}",
            "generator.strides.0.2: must be less than or equal to 2; found 3",
        ),
        ("training:", "line 2: training: must be a section with keys of its own; found None"),
        ("3: {}", "line 2: 3: "),
        ("training: {3: 1}", "line 2: training.3: "),
    ],
)
def test_value_out_of_range_is_told_with_its_place(tmp_path: Path, text: str, found: str) -> None:
    assert found in told_for(tmp_path, text)


def test_number_in_scientific_notation_is_a_number(tmp_path: Path) -> None:
    assert load_config(config_file(tmp_path, "training: {learning_rate: 1e-4}")).training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("training:\n  seed: 1\n  seed: 2\n", "config.yaml:4: key 'seed' stands here twice, first in line 3"),
        ("patch: &p {}\ninference: *p\n", "config.yaml:2: YAML aliases (*name) are not accepted"),
        ("training: &t {seed: *t}\n", "YAML aliases"),
        ("training: {seed: 1\n", "is not valid YAML: while parsing a flow mapping"),
        ("---\na: 1\n", "expected a single document"),
        ("training: {seed: 2024-13-45}\n", "is not valid YAML: month must be in 1..12"),
        ("training: {seed: " + 5000 * "9" + "}\n", "is not valid YAML: Exceeds the limit"),
        ("a: " + 600 * "[" + "\n", "is not valid YAML"),
        ("a: !!python/name:os.system\n", "could not determine a constructor"),
        ("? [a]\n: 1\n", "is not valid YAML"),
        ("a: '\x07'\n", "is not valid YAML: unacceptable character"),
    ],
)
def test_yaml_that_is_not_plain_data_is_refused(tmp_path: Path, text: str, found: str) -> None:
    message = told_for(tmp_path, text)
    assert message.startswith(f"config {tmp_path / 'config.yaml'}")
    assert found in message


def test_file_must_be_a_small_text_with_sections(tmp_path: Path) -> None:
    assert "must be under 200000 bytes, found 2" in told_for(tmp_path, "#" * 200_000)
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MedganError, match="must be UTF-8 text"):
        load_config(path)
    path.write_text("- a\n- b\n")
    with pytest.raises(MedganError, match=r"must hold sections such as 'data:' and 'training:', found \['a', 'b'\]"):
        load_config(path)
    path.write_text("")
    with pytest.raises(MedganError, match=r"must hold sections .* found None"):
        load_config(path)
    with pytest.raises(MedganError, match=r"gone\.yaml: could not be read: No such file or directory\.$"):
        load_config(tmp_path / "gone.yaml")


def test_many_keys_take_no_long_time(tmp_path: Path) -> None:
    text = "training: {" + ", ".join(f"k{n}: 1" for n in range(2000)) + "}\n"
    assert "2000 problems" in told_for(tmp_path, text)


def test_override_replaces_one_value(tmp_path: Path) -> None:
    path = config_file(tmp_path, "training: {max_steps: 100, seed: 5}\n")
    config = load_config(path, ["training.max_steps=7", "patch.size=[8, 8, 8]", " adversary.enabled =false"])
    assert (config.training.max_steps, config.training.seed) == (7, 5)
    assert config.patch.size == (8, 8, 8)
    assert config.adversary.enabled is False
    assert load_config(path, ["training.max_minutes=2", "training.max_minutes=null"]).training.max_minutes is None


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("training.max_steps", "must look like section.key=value, as in training.max_steps=500"),
        ("max_steps=5", "must look like section.key=value"),
        ("generator.strides.0=1", "must look like section.key=value"),
        ("training.seed=[", "the value is not valid YAML"),
        ("training.seed=*a", "the value is not valid YAML"),
        ("training.seed=2024-13-45", "the value is not valid YAML"),
        ("training.sed=5", "override: training.sed: there is no such key; did you mean seed"),
        ("trainin.seed=5", "trainin: there is no such key; did you mean training"),
    ],
)
def test_override_with_a_fault_is_told(tmp_path: Path, override: str, found: str) -> None:
    assert found in told_for(tmp_path, "", override)


def test_fault_of_an_override_is_not_looked_for_in_the_file(tmp_path: Path) -> None:
    message = told_for(tmp_path, "training:\n  max_steps: 100\n", "training.max_steps=many")
    assert "override: training.max_steps: must be a valid integer" in message
    assert "line" not in message


def test_override_needs_a_section_that_is_one(tmp_path: Path) -> None:
    assert "section training must be a mapping, found None" in told_for(tmp_path, "training:\n", "training.seed=1")


def test_config_written_and_read_back_is_the_same(tmp_path: Path) -> None:
    changed = {
        "data": {"manifest": str(tmp_path / "m.csv"), "labels": str(tmp_path / "l.yaml"), "root": "/"},
        "preprocessing": {"spacing_mm": [1.5, 1, 0.1], "intensity": "zscore"},
        "generator": {"strides": [[2, 2, 1]], "kernels": [[3, 3, 1], [3, 3, 3]]},
        "training": {"learning_rate": 1e-10, "max_minutes": 0.5},
        "outputs": {"largest_component": ["heart"]},
    }
    config = parse_config(changed, where="test")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config


def test_written_config_names_every_key() -> None:
    document = yaml.safe_load(parse_config(MINIMAL, where="test").to_yaml())
    assert set(document) == set(Config.model_fields)
    for section, field in Config.model_fields.items():
        assert set(document[section]) == set(field.annotation.model_fields)  # type: ignore[union-attr]


def test_config_does_not_change() -> None:
    config = parse_config(MINIMAL, where="test")
    with pytest.raises(ValueError, match="frozen"):
        config.training.seed = 3


def test_every_key_is_documented() -> None:
    for section, field in Config.model_fields.items():
        for key, setting in field.annotation.model_fields.items():  # type: ignore[union-attr]
            assert setting.description, f"{section}.{key}"


CONFIG_FAULTS = (
    "cfg_yaml_python_tag",
    "cfg_dollar_eval",
    "cfg_yaml_bomb",
    "cfg_typo_key",
    "cfg_sci_notation",
    "cfg_zero_patch",
    "cfg_nan_value",
    "cfg_dup_key",
)


def shared_faults(name: str) -> ModuleType:
    """Return a module of the shared corpus of faults, or skip the test."""
    path = SHARED / "faults" / f"{name}.py"
    if not path.is_file():
        pytest.skip("the shared corpus of faults is not here")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_faults_of_the_shared_corpus_are_refused_or_read_right(tmp_path: Path, fault: str) -> None:
    entry = shared_faults("make_faults").build(tmp_path / "corpus", only=[fault])["entries"][0]
    source = tmp_path / "corpus" / entry["path"]
    text = source.read_text().replace("patch_size:", "patch:\n  size:")  # the corpus is flat; medgan has sections
    sections = text if text.startswith("patch:") else "training:\n  " + text.replace("\n", "\n  ")
    source.write_text(DATA + sections)
    if entry["expectation"] == "ok":
        (key, value), *_ = entry["expected"]["values"].items()
        assert getattr(load_config(source).training, key) == value
        return
    with pytest.raises(MedganError) as told:
        load_config(source)
    assert shared_faults("check_faults").says(entry, str(told.value)) == (True, True), told.value
    assert not list(source.parent.glob("MARKER"))


def test_evaluation_alone_needs_no_other_section(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.yaml"
    path.write_text("evaluation:\n  surface: voxels\n")
    assert load_evaluation(path, ["evaluation.pictures=3"]) == EvaluationConfig(surface="voxels", pictures=3)
    path.write_text("data: {manifest: m.csv, labels: l.yaml}\nevaluation: {}\n")
    assert load_evaluation(path) == load_evaluation() == EvaluationConfig()


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("evalution: {}\n", [], "line 1: evalution: there is no such key; did you mean evaluation"),
        ("data: 1\nevaluation:\n  surfce: area\n", [], "line 3: evaluation.surfce: there is no such key; did you mean"),
        ("evaluation: 3\n", [], "line 1: evaluation: must be a section with keys of its own; found 3."),
        ("[]\n", [], "must hold a section 'evaluation:', found"),
        ("data: {}\ntraining: {}\n", [], "must hold a section 'evaluation:', found data, training."),
        (
            "evaluation: {}\n",
            ["training.seed=1"],
            "override 'training.seed=1': only evaluation.key=value has a meaning",
        ),
        ("evaluation: {}\n", ["evaluation.pictures=-1"], "override: evaluation.pictures: must be greater"),
    ],
)
def test_faults_of_an_evaluation_alone_are_told(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(MedganError, match=re.escape(message)):
        load_evaluation(tmp_path / "e.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("surface_tolerance_mm=x", "must be a distance of 0 mm or more, or one by organ; found 'x'."),
        ("surface_tolerance_mm=-1", "must be a distance of 0 mm or more, or one by organ; found -1."),
        ("surface_tolerance_mm={a: 1, b: x}", "must be a distance of 0 mm or more, or one by organ; found {'a': 1, "),
        ("surface_tolerance_mm={a: on}", "must be a distance of 0 mm or more, or one by organ; found {'a': True}."),
        ("percentiles=[0, 100]", "must be a list of numbers above 0 and below 100; found [0, 100]."),
        ("percentiles=95", "must be a list of numbers above 0 and below 100; found 95."),
    ],
)
def test_a_tolerance_or_percentile_with_a_fault_is_one_problem(override: str, told: str) -> None:
    with pytest.raises(
        MedganError, match=re.escape(f"evaluation: override: evaluation.{override.partition('=')[0]}: {told}")
    ):
        load_evaluation(overrides=[f"evaluation.{override}"])

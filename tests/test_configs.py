from pathlib import Path

import pytest
import yaml

from medgan.config import Config, load_config
from medgan.labels import LabelMap
from medgan.networks.plan import plan_generator

FOLDER = Path(__file__).parents[1] / "configs"
NAMES = ("debug", "thorax_ct_3d", "thorax_ct_2d", "chest_xray_2d", "cardiac_mr")


def test_the_folder_holds_these_configs():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_config_loads_and_its_patch_fits_the_network(name):
    config = load_config(FOLDER / f"{name}.yaml")
    spacing_mm = config.preprocessing.spacing_mm
    assert spacing_mm is not None
    planned = plan_generator(config.generator, config.patch.size, spacing_mm)
    assert planned.strides
    assert len(planned.kernels or ()) == len(planned.strides) + 1


@pytest.mark.parametrize("name", NAMES)
def test_every_key_written_is_one_of_the_config(name):
    for section, values in yaml.safe_load((FOLDER / f"{name}.yaml").read_text()).items():
        known = Config.model_fields[section].annotation.model_fields
        assert set(values) <= set(known), section


@pytest.mark.parametrize("name", NAMES)
def test_config_opens_with_its_schema_and_the_command_to_run(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    comments = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    assert comments[0] == "# yaml-language-server: $schema=schema.json"
    assert 3 <= len(comments) <= 5
    assert any(f"medgan train configs/{name}.yaml -o runs/" in line for line in comments)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "debug"])
def test_labels_file_exists_and_knows_the_organs_that_are_cleaned_up(name):
    config = load_config(FOLDER / f"{name}.yaml")
    labels = LabelMap.from_yaml(config.data.labels)
    assert set(config.outputs.largest_component) <= set(labels.names)


def test_cardiac_config_also_plans_a_3d_generator():
    config = load_config(FOLDER / "cardiac_mr.yaml", ["generator.spatial_dims=3"])
    planned = plan_generator(config.generator, config.patch.size, (1.5, 1.5, 8.0))
    assert planned.strides is not None
    assert planned.strides[0] == (2, 2, 1)  # thick slices are joined only once the plane is as coarse
    assert sum(stride[2] == 2 for stride in planned.strides) == 1

"""The JSON schema that editors read."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from medgan.config import config_schema

CONFIGS = Path(__file__).parents[1] / "configs"


def test_schema_on_disk_is_current() -> None:
    assert (CONFIGS / "schema.json").read_text(encoding="utf-8") == config_schema(), (
        "write medgan.config.config_schema() to configs/schema.json"
    )


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_fulfil_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), json.loads(config_schema()))


def test_schema_refuses_unknown_keys_and_describes_known_ones() -> None:
    schema = json.loads(config_schema())
    assert schema["title"] == "medgan config"
    for name, section in schema["$defs"].items():
        assert section["additionalProperties"] is False, name
        assert all(key.get("description") for key in section["properties"].values()), name
    with pytest.raises(jsonschema.ValidationError, match="'sed' was unexpected"):
        jsonschema.validate({"data": {"manifest": "m", "labels": "l"}, "training": {"sed": 1}}, schema)

from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import write_box_cohort

import medgan


@dataclass(frozen=True)
class TinyModel:
    """A model trained for two steps, and the cohort it was trained on. Shared by tests: read it, do not change it."""

    model: Path
    config: Path

    @property
    def manifest(self) -> Path:
        """The manifest of the cohort: case_a and case_b train, case_c val, case_d test."""
        return self.config.with_name("manifest.csv")

    def image(self, case_id: str) -> Path:
        """The image of a case."""
        return self.config.with_name("images") / f"{case_id}.nii.gz"

    def label(self, case_id: str) -> Path:
        """The label of a case."""
        return self.config.with_name("labels") / f"{case_id}.nii.gz"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    folder = tmp_path_factory.mktemp("tiny")
    config = write_box_cohort(folder / "cohort")
    return TinyModel(medgan.train(config, folder / "model"), config)


@pytest.fixture
def parsed_items(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with every item of a DICOM sequence that pydicom parses."""
    from pydicom import filereader

    counted: list[None] = []
    read_item = filereader.read_sequence_item

    def count(*arguments, **options):
        counted.append(None)
        return read_item(*arguments, **options)

    monkeypatch.setattr(filereader, "read_sequence_item", count)
    return counted


@pytest.fixture(scope="module")
def browser():
    """A started Chromium."""
    from browser import chromium

    with chromium() as started:
        yield started

"""What a result came from."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from medgan import provenance
from medgan.manifest.case import Case
from medgan.provenance import data_sha256, git_revision, package_versions, text_sha256


def two_cases(folder: Path) -> list[Case]:
    folder.mkdir()
    for name in ("a_image", "a_label", "b_image"):
        (folder / name).write_text(name)
    return [
        Case("a", (folder / "a_image",), folder / "a_label", split="train", patient="p"),
        Case("b", (folder / "b_image",), split="val", patient="q"),
    ]


def test_versions_name_what_results_depend_on() -> None:
    versions = package_versions()
    assert {"python", "medgan", "torch", "monai", "pydicom"} <= set(versions)
    assert "absent" not in versions.values()


def test_package_that_is_not_there_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("no-such-package-at-all",))
    assert package_versions()["no-such-package-at-all"] == "absent"


def test_data_hash_is_of_content_not_of_place_or_order(tmp_path: Path) -> None:
    here, there = two_cases(tmp_path / "x"), two_cases(tmp_path / "y")
    assert data_sha256(here) == data_sha256(there[::-1])


def test_data_hash_changes_with_everything_that_training_sees(tmp_path: Path) -> None:
    first, second = two_cases(tmp_path / "x")
    hashes = {data_sha256([first, second]), data_sha256([first])}
    for change in (
        {"split": "val"},
        {"patient": "r"},
        {"case_id": "c"},
        {"resample_label": True},
        {"label": None},
        {"images": (*first.images, first.label), "label": None},
        {"images": second.images},
    ):
        hashes.add(data_sha256([replace(first, **change), second]))
    (tmp_path / "x" / "a_label").write_text("other")
    hashes.add(data_sha256([first, second]))
    assert len(hashes) == 10


def test_text_hash_is_sha256() -> None:
    assert text_sha256("abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize(("status", "expected"), [("", "abc"), (" M medgan/cli.py", "abc+changes")])
def test_revision_tells_whether_files_differ(monkeypatch: pytest.MonkeyPatch, status: str, expected: str) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(provenance, "_git", lambda root, *arguments: "abc" if "HEAD" in arguments else status)
    assert git_revision() == expected


@pytest.mark.parametrize(
    "error", [OSError("no git"), subprocess.CalledProcessError(128, "git"), subprocess.TimeoutExpired("git", 10)]
)
def test_revision_is_unknown_where_git_does_not_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(root: Path, *arguments: str) -> str:
        raise error

    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(provenance, "_git", refuse)
    assert git_revision() is None


def test_revision_is_unknown_outside_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert git_revision() is None

"""Atomic writing and hashing."""

import errno
import hashlib
import json
import math
import os
import stat
from pathlib import Path

import pytest

from medgan.errors import MedganError
from medgan.files import atomic_path, check_folder, sha256_of, write_json, write_text


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_under_its_name_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scores.csv"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("a")
        assert not path.exists()
    assert path.read_text() == "a"
    assert names_in(path.parent) == ["scores.csv"]


def test_temporary_name_keeps_the_suffixes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "case_01.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")


def test_failing_block_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_path(path) as temporary:
        temporary.write_text(f"half {temporary.write_bytes('half')}")  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["summary.json"]


def test_interruption_leaves_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a.json"):
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_is_told_in_one_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "summary.json"
    path.write_text("old")

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner: object = os if call == "fsync" else Path
    monkeypatch.setattr(owner, call, refuse)
    with pytest.raises(MedganError, match=r"summary\.json could not be written: No space left on device\.$"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["summary.json"]


def test_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(MedganError, match=r"out/a\.json could not be written"):
        write_json(tmp_path / "out" / "a.json", {})


def test_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "atomic", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_json_has_null_for_what_it_cannot_say(tmp_path: Path) -> None:
    value = {"dice": math.nan, "rows": [(math.inf, 1.5)], "path": Path("a/b"), 3: -math.inf, "ok": True}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"dice": None, "rows": [[None, 1.5]], "path": "a/b", "3": None, "ok": True}
    assert text.endswith("}\n")


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Größe 3×3\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe 3×3\n".encode()


def test_hash_of_a_file_is_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_hash_of_a_folder_changes_with_names_and_content_but_not_with_its_place(tmp_path: Path) -> None:
    hashes = []
    for folder, name, content in (("x", "a", b"1"), ("y", "a", b"1"), ("z", "b", b"1"), ("w", "a", b"2")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / name).write_bytes(content)
        hashes.append(sha256_of(tmp_path / folder))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_hash_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match="gone could not be read"):
        sha256_of(tmp_path / "gone")


@pytest.mark.skipif(os.name == "nt", reason="modes are a POSIX matter")
def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "key.csv", "case_0001,p1\n", is_private=True)
    write_text(tmp_path / "manifest.csv", "case_0001\n")
    assert (tmp_path / "key.csv").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "manifest.csv").stat().st_mode & 0o044 != 0


def test_a_folder_that_can_hold_results_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    check_folder(tmp_path, files=["a.csv", "b.csv"], folders=["tables"])
    check_folder(tmp_path / "new" / "deeper", files=["a.csv"])
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("file", r"file: cannot be a folder for results, as .*/file is none; choose another\."),
        ("file/inner/out", r"file/inner/out: cannot be a folder for results, as .*/file is none"),
        ("dangling", r"as .*/dangling is none"),
        ("tables_is_file", r"tables_is_file/tables: cannot be a folder for results, as .*/tables is none"),
        ("csv_is_folder", r"csv_is_folder/a\.csv: is a folder where a file is to be written; remove or rename it\."),
        ("x" * 300, r"cannot hold results: File name too long\."),
    ],
)
def test_what_is_in_the_way_of_results_is_told_at_once(tmp_path: Path, folder: str, told: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "tables_is_file").mkdir()
    (tmp_path / "tables_is_file" / "tables").write_text("")
    (tmp_path / "csv_is_folder" / "a.csv").mkdir(parents=True)
    with pytest.raises(MedganError, match=told):
        check_folder(tmp_path / folder, files=["a.csv"], folders=["tables"])


def test_a_folder_without_a_name_is_refused() -> None:
    with pytest.raises(MedganError, match="must have a name, found an empty one"):
        check_folder("")


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(MedganError, match=r"new/deeper: cannot hold results, as .* may not be written to; choose"):
        check_folder(tmp_path / "new" / "deeper")

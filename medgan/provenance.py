"""What a result came from: versions, revision and hashes, for records and reports. Nothing of the patient."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from medgan.files import sha256_of
from medgan.manifest.case import Case

_PACKAGES = ("medgan", "torch", "monai", "nibabel", "simpleitk", "numpy", "scikit-image", "scipy", "pydicom")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return versions


def git_revision() -> str | None:
    """Return the commit medgan runs from, with "+changes" if files differ from it; None outside its checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def data_sha256(cases: Iterable[Case]) -> str:
    """Return one hash of all cases: ids, splits and patients, and the content of their files, not where these lie."""
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda case: case.case_id):
        images = [sha256_of(path) for path in case.images]
        label = sha256_of(case.label) if case.label else None
        row = (case.case_id, case.split, case.patient, case.resample_label, case.series, images, label)
        digest.update(repr(row).encode())
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()

"""Judgement of DICOM objects by dciodvfy, a program nobody here wrote (Debian's dicom3tools)."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (apt-get install dicom3tools)"
)


def errors_of(path: Path) -> list[str]:
    """Return what dciodvfy calls an error."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert "Segmentation" in done.stderr or "RTStructureSet" in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]

"""Manifests from data as it is handed over: DICOM trees, MSD, nnU-Net, BIDS, TotalSegmentator, folders by pattern."""

from medgan.manifest.importers.cohort import Imported, Key, import_cohort
from medgan.manifest.importers.write import Written, check_target, write_cohort

__all__ = ["Imported", "Key", "Written", "check_target", "import_cohort", "write_cohort"]

"""Organs: their names, values in label volumes, colours, coded terms, mirror partners and groups."""

from medgan.labels.label_map import LabelMap
from medgan.labels.names import RESERVED_NAMES, is_synonym
from medgan.labels.organ import CodedTerm, Organ, OrganGroup

__all__ = ["RESERVED_NAMES", "CodedTerm", "LabelMap", "Organ", "OrganGroup", "is_synonym"]

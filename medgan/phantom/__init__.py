"""A synthetic thorax cohort: patients made of formulas, scanned on every kind of grid."""

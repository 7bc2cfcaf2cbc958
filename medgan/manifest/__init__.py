"""Cohorts: which images, labels, splits and patients there are."""

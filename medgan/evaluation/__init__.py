"""Overlap and surface metrics of a prediction against a reference."""

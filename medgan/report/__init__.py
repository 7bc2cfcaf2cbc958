"""Scores summarised and shown."""

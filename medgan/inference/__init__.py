"""Trained models on whole volumes."""

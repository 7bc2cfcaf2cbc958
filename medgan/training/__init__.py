"""Losses, the adversary, and the training loop."""

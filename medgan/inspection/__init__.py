"""What an input holds, and whether a cohort is fit for training: `medgan inspect` and `medgan check`."""

"""A simulated cohort whose best possible AUC is known."""

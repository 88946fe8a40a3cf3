"""MLflow: runs, arms, artifacts, checkpoints, provenance."""

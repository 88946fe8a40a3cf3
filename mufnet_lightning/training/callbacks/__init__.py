"""What a run leaves in MLflow."""

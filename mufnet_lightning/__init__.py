"""MUF-Net experiments: kidney tumours graded from paired B-mode and contrast-enhanced ultrasound."""

import os

__version__ = "0.1.0"

# Two libraries contact their makers on import; a hospital's workstation is often offline, and an
# experiment must neither wait for that nor tell anybody that it ran.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # it tells of every table that it creates
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

"""The tasks, detection and segmentation: their models, losses and metrics."""

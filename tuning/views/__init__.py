"""Copies of the record for other tools: Optuna, TensorBoard, Weights & Biases."""

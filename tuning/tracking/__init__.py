"""Views of the record for other eyes: an Optuna study, TensorBoard, Weights & Biases."""

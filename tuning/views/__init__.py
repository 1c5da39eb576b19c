"""Views: copies of the record for other tools, such as Optuna, TensorBoard and Weights & Biases."""

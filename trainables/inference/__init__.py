"""The use of a trained model: predictions, drawings, test scores, latency."""

"""Use a trained model: predictions, drawings, test scores, latency."""

"""Where images come from, their preparation into Arrow, and the batches that trials see."""

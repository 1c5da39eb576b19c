"""What the commands do; `tuning.cli` and its parts say how they are called."""

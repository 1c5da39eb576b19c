"""The models of trials: building them, freezing their parts, counting their parameters."""

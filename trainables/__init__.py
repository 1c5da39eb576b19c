"""The fine-tuning of one or several trials, without search."""

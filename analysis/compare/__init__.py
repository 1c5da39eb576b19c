"""The comparison of two experiments or two trials."""

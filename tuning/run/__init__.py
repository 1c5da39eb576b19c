"""Drive a sweep on Ray Tune."""

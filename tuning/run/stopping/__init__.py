"""The stopping rule of a sweep, and its trials that rest."""

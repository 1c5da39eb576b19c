"""The sections of an experiment file, one file a section."""

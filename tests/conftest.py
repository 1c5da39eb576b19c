"""Puts this folder on the path, for helpers that several rooms' tests share (`scripted`)."""

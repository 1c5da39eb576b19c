"""Designed experiments that vary one factor."""

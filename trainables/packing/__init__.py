"""Packed training: the steps of several trials over one frozen backbone, taken at once."""

"""The record of a sweep as it grows, for the live page: what has changed since it was last looked at."""

"""Readers of the layouts that annotation tools and other trainers write."""

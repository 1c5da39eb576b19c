"""Looks at data before any training: what they are, what is wrong with them, and pictures of them."""

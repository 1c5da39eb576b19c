"""What frozen blocks compute of images: computed once, kept in memory-mapped files, and trained from."""

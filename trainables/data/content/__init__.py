"""The content of the data's files: digests, kept in the cache, and the identity of a data set."""

"""The live page of `adaptertune serve`: the server, and what its viewers can ask for."""

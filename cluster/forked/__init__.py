"""Workers that begin as copies of a process which has imported what trials need."""

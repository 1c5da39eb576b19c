"""What a worker process runs, named by `module:name`."""

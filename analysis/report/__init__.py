"""The report of an experiment: its contents as values, its figures, and its page or Markdown."""

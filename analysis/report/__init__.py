"""The report of an experiment: what it holds as values, its figures, and the page or Markdown of both."""

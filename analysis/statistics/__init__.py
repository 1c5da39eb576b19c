"""What is significant: paired tests, bootstrap, importance."""

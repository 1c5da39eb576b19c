"""Statistics: paired tests, bootstrap over images, results by level, importance."""

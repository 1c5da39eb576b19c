"""What is checked of an experiment file before it is used."""

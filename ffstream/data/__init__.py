"""What can be fed: data sets by name, and files."""

"""Sources of samples: data sets by name, and files."""

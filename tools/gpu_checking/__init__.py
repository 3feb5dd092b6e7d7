"""All checks that need a GPU, in one call that fits into a limited number of minutes."""

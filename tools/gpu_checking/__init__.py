"""Everything that a GPU must show, in one call that fits the minutes for which one is lent."""

"""Sleep deprivation: a network is deprived of sleep, or of waking, and then recovers."""

"""Sleep deprivation: a network is kept from its sleep, or from its waking, and let go again."""

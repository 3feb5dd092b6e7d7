"""Looking at what a daemon keeps on disk, while it runs or not: only reads, takes no lock."""

"""Parts shared by the crash test and the power-cut test: feeders, processes, the course of a test, the checker."""

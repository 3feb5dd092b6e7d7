"""What the crash test and the power-cut test share: who feeds, the processes, the course of a test, the checker."""

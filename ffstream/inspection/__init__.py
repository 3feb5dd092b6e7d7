"""Inspection of a daemon's files, whether it runs or not: read-only and without locks."""

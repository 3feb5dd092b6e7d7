"""``python -m ffstream``."""

from ffstream.cli import main

main()

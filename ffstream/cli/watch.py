"""``ffstream watch``."""


def watch() -> None:
    """Later."""

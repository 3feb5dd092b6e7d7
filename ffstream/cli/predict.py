"""``ffstream predict``."""


def predict() -> None:
    """Later."""

"""``ffstream feed``."""


def feed() -> None:
    """Later."""

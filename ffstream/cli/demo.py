"""``ffstream demo``."""


def demo() -> None:
    """Later."""

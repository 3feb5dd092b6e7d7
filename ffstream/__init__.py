"""ffstream: a daemon that never stops learning, with the Forward-Forward algorithm on live data.

``ffstream.Client`` feeds and queries a running daemon. Importing the package loads neither torch nor pydantic; numpy
and ZeroMQ are loaded when the client is first accessed, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ffstream.errors import FFStreamError

if TYPE_CHECKING:
    from ffstream.client import Client, Event, Prediction

__version__ = "0.1.0"

__all__ = ["Client", "Event", "FFStreamError", "Prediction", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("Client", "Event", "Prediction"):
        return getattr(importlib.import_module("ffstream.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

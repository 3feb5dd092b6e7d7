"""ffstream: a daemon that never stops learning, with the Forward-Forward algorithm on live data.

``ffstream.Client`` feeds and queries a running daemon. Importing it loads neither torch nor pydantic.
"""

from ffstream.client import Client, Prediction
from ffstream.errors import FFStreamError

__version__ = "0.1.0"

__all__ = ["Client", "FFStreamError", "Prediction", "__version__"]

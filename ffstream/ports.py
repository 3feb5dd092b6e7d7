"""Where a daemon is: its address by default, and what each of its six ports is for."""

from __future__ import annotations

HOST = "127.0.0.1"
PORT = 5700
ADDRESS = f"{HOST}:{PORT}"

# Counted from the first port.
CONTROL, QUERIES, SAMPLES, PUSH, EVENTS, HTTP = range(6)

"""The algorithm: torch only; no sockets, threads or clocks."""

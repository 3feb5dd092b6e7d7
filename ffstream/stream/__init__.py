"""Learning over time; no sockets."""

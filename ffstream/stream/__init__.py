"""Learning from a stream over time, without sockets."""

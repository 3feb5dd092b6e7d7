"""The process: sockets, HTTP, signals."""

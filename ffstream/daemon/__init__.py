"""The daemon process: sockets, HTTP and signals."""

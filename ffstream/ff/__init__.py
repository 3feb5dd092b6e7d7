"""The Forward-Forward algorithm, on torch only: no sockets, threads or clocks."""

"""``ffstream watch``: a live view of a running daemon."""

from __future__ import annotations

from ffstream import ports
from ffstream.cli.options import Address
from ffstream.errors import Unreachable

SILENCE_S = 10.0


def watch(address: Address = ports.ADDRESS) -> None:
    """Watch a daemon learn: accuracy, phase, goodness by layer, latency.

    Ctrl-C ends the view, not the daemon. The view takes the width of the terminal, and what does not fit is left out.

    ```
    ffstream watch
    ffstream watch -a [::1]:5700
    ```
    """
    from rich.live import Live

    from ffstream import Client
    from ffstream.cli.output import console
    from ffstream.cli.view import View

    with Client(address) as client:
        status = client.status()
        view = View(f"ffstream {address}, {status['coding']} {status['hidden']} on {status['device']}")
        try:
            with client.events("score", after=0, timeout_s=SILENCE_S) as events, Live(view, console=console()) as live:
                for event in events:
                    view.update(event.fields)
                    live.refresh()
        except KeyboardInterrupt:
            return
    raise Unreachable(f"no score from {address} for {SILENCE_S:g} s; is the daemon still running?")

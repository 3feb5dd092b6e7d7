"""HTTP: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for the daemon's supervisor."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

Check = Callable[[], str]


def application(registry: CollectorRegistry, trouble: Check, unready: Check) -> Starlette:
    """Build the ASGI application.

    Parameters
    ----------
    registry
        Metrics to serve.
    trouble
        Returns why the daemon should be restarted, or ``""``.
    unready
        Returns why it should get no traffic yet, or ``""``.
    """

    def check(reason: Check) -> Callable[[Request], PlainTextResponse]:
        def respond(_: Request) -> PlainTextResponse:
            why = reason()
            return PlainTextResponse(f"{why or 'ok'}\n", status_code=503 if why else 200)

        return respond

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/livez", check(trouble)),
            Route("/readyz", check(unready)),
            Route("/metrics", metrics),
        ]
    )


class WebThread:
    """Serves the application in its own thread, on a socket that is already bound."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and the connections, and wait for the thread."""
        self._server.should_exit = True
        self._thread.join(timeout=5)

"""What an operator is told of weights that are not finite, and how they are got rid of."""

from __future__ import annotations

import contextlib
import http.client

import torch
from daemons import until

from ffstream import Client
from ffstream.stream.checkpoint import CheckpointStore


def test_weights_that_are_not_finite_are_told_until_somebody_goes_back(start_daemon, digits):
    first = start_daemon()
    with Client(first.address) as client:
        client.control("checkpoint", checkpoint="good")
    assert first.stop() == 0
    # Each weight is finite, so it can be saved and loaded; the norm of the layer is not.
    store = CheckpointStore(first.config.state.directory, keep=3)
    snapshot = store.read("good")
    snapshot.tensors["network"]["1.weight"].fill_(torch.finfo(torch.float32).max)
    store.save(snapshot)

    daemon = start_daemon(directory=first.config.state.directory, wait=False)
    until(lambda: answered(daemon, "/readyz").startswith("weights or goodness are not finite in layer 2"))
    assert daemon.get("/readyz")[0] == 503
    assert "ffstream ctl rollback" in daemon.get("/readyz")[1]
    # A restart would not help, so nobody is to restart it.
    assert daemon.get("/livez") == (200, "ok\n")
    assert daemon.metrics()["ffstream_layers_not_finite"] == 1
    until(lambda: "not finite" in daemon.log.read_text())
    with Client(daemon.address) as client:
        client.control("rollback", checkpoint="good")
    until(lambda: daemon.get("/readyz") == (200, "ok\n"))
    assert daemon.metrics()["ffstream_layers_not_finite"] == 0
    assert daemon.stop() == 0


def answered(daemon, path):
    """Return what a daemon that may be starting says, or nothing yet."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return daemon.get(path)[1]
    return ""

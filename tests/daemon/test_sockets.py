"""Where the daemon listens."""

from __future__ import annotations

import errno
import socket

import pytest
from daemons import PATIENCE_S, until

from ffstream import Client
from ffstream.config import ServerConfig
from ffstream.daemon import sockets
from ffstream.daemon.sockets import bind
from ffstream.daemon.spawn import free_port
from ffstream.errors import BindError


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_each_of_the_six_ports_answers_over_ipv6(start_daemon, digits, host):
    images, labels = digits
    daemon = start_daemon(port=free_port("::1"), server={"host": host})
    assert daemon.address.startswith("[::1]:")
    assert daemon.get("/readyz") == (200, "ok\n")
    with Client(daemon.address, ack="learned") as client, client.events("score", timeout_s=PATIENCE_S) as events:
        client.feed(images[:64], labels[:64])
        client.flush()
        client.push(images[:64], labels[:64])
        until(lambda: client.status()["samples_learned"] == 128)
        assert client.predict(images[:3]).labels.shape == (3,)
        assert next(iter(events)).topic == "score"


def test_a_port_that_is_taken_is_named_with_what_to_do():
    port = free_port()
    said = rf"127.0.0.1:{port + 3} cannot be bound: .*set server.port"
    with socket.create_server(("127.0.0.1", port + 3)), pytest.raises(BindError, match=said):
        bind(ServerConfig(port=port))


def test_a_port_that_needs_privileges_is_named_with_what_to_do():
    def refuse(address: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(BindError, match=r"127.0.0.1:82 cannot be bound: .*ports below 1024 need privileges"):
        sockets._bind(ServerConfig(port=80), 2, refuse)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_ours_is_named_with_what_to_do(host):
    with pytest.raises(BindError, match=rf"{host}:5700 cannot be bound: .*set server.host to an address of this"):
        bind(ServerConfig(host=host))

from __future__ import annotations

import pytest

from ffstream import ports


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:5710", "127.0.0.1", 5710),
        ("localhost:1", "localhost", 1),
        ("gpu-box.lan:65530", "gpu-box.lan", 65_530),
        ("tcp://127.0.0.1:5710", "127.0.0.1", 5710),
        ("localhost", "localhost", 5700),
        ("[::1]:5710", "::1", 5710),
        ("tcp://[::1]:5710", "::1", 5710),
        ("[::1]", "::1", 5700),
        ("[fe80::1%eth0]:5710", "fe80::1%eth0", 5710),
    ],
)
def test_an_address_is_a_host_and_a_port(written, host, port):
    assert ports.split(written) == (host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_what_is_joined_splits_into_the_same(host):
    assert ports.split(ports.join(host, 5710)) == (host, 5710)


@pytest.mark.parametrize(
    "written",
    [
        *("", ":", "5700", ":5700", "localhost:", "localhost:x", "localhost:-1", "localhost:5700:5701", "a b:5700"),
        *(
            "http://localhost:5700",
            "localhost:5700/",
            "::1",
            "::1:5700",
            "[::1",
            "[]:5700",
            "[localhost]:5700",
            "*:5700",
        ),
        *("localhost:٥٧٠٠", "-x:5700", "[/k]:5700"),
    ],
)
def test_what_is_no_address_is_shown_beside_what_is(written):
    with pytest.raises(ValueError, match=r"expected HOST:PORT or \[IPV6\]:PORT") as refused:
        ports.split(written)
    assert repr(written) in str(refused.value)


@pytest.mark.parametrize("port", [0, 65_531, 99_999])
def test_six_ports_must_fit(port):
    with pytest.raises(ValueError, match="from 1 to 65530"):
        ports.split(f"localhost:{port}")

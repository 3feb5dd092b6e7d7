from __future__ import annotations

import os
import resource
import socket
import time
from pathlib import Path

import pytest

from ffstream.config import PhasesConfig, ServerConfig
from ffstream.daemon.spawn import free_port
from ffstream.doctor import machine


def test_free_ports_are_free_afterwards_as_well():
    server = ServerConfig(port=free_port())
    for _ in range(2):
        found = machine.check_ports(server)
        assert (found.verdict, found.advice) == ("ok", "")
        assert f"{server.port} to {server.port + 5}" in found.found


def test_an_occupied_port_is_named_with_who_holds_it():
    server = ServerConfig(port=free_port())
    with socket.socket() as listener:
        listener.bind((server.host, server.port + 2))
        listener.listen()
        found = machine.check_ports(server)
    assert found.verdict == "fail"
    assert f"{server.host}:{server.port + 2} cannot be bound" in found.found
    assert f"in use by process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})" in found.found
    assert "server.port" in found.advice


def test_a_daemon_that_runs_is_told_apart_from_a_stranger(daemon):
    found = machine.check_ports(daemon.config.server)
    assert found.verdict == "warn"
    assert f"process {daemon.process.pid}" in found.found


@pytest.mark.parametrize("host", ["203.0.113.7", "no-host.invalid"])
def test_a_host_that_is_not_this_machine_is_to_be_changed(host):
    found = machine.check_ports(ServerConfig(port=free_port(), host=host))
    assert found.verdict == "fail"
    assert found.advice.startswith("set server.host to an address of this machine")


def test_a_clock_that_is_kept_right_is_ok_and_tells_its_resolution(monkeypatch):
    monkeypatch.setattr(machine, "_synchronised", lambda: True)
    found = machine.check_clock(PhasesConfig())
    assert found.verdict == "ok"
    assert " synchronized; durations are measured to " in found.found


@pytest.mark.parametrize(("schedule", "why"), [("clock", "sleeps by it"), ("alternating", "feeders")])
def test_a_clock_that_nothing_keeps_right_is_a_risk(monkeypatch, schedule, why):
    monkeypatch.setattr(machine, "_synchronised", lambda: False)
    found = machine.check_clock(PhasesConfig(schedule=schedule))
    assert found.verdict == "warn"
    assert why in found.found
    assert "chrony" in found.advice


def test_a_clock_before_the_installation_is_wrong(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert machine.check_clock(PhasesConfig()).verdict == "fail"


def test_the_kernel_tells_whether_the_clock_is_kept_right_or_that_it_cannot():
    assert machine._synchronised() in (True, False, None)


@pytest.mark.parametrize(("limit", "verdict"), [(400, "warn"), (900, "ok")])
def test_open_files_must_do_for_all_feeders(limit, verdict):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        found = machine.check_files(ServerConfig(feeders=256))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (found.verdict, f"may open {limit} files" in found.found) == (verdict, True)
    assert bool(found.advice) is (verdict != "ok")

"""Starting, stopping, and what is said when it cannot start."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq
from daemons import PATIENCE_S, counted, until
from plain_client import CONTROL, Line, command, pack

from ffstream import Client, failpoints, ports
from ffstream.daemon.spawn import free_port


def serve(config: Path, **options):
    command = [sys.executable, "-m", "ffstream", "serve", "-c", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)


@pytest.fixture(autouse=True)
def attached_to_a_terminal():
    """Let daemons start as in a terminal, though this process may have been started under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_finishes_saves_and_exits_0(start_daemon, digits, number):
    images, labels = digits
    daemon = start_daemon(by_command=True)
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:200], labels[:200])
        client.flush()
    daemon.process.send_signal(number)
    assert daemon.process.wait(PATIENCE_S) == 0
    (saved,) = daemon.config.state.directory.glob("checkpoint-*/manifest.json")
    assert json.loads(saved.read_text())["samples_learned"] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_starts_ends_it_at_once_and_leaves_nothing_half_written(start_daemon, number):
    starting = start_daemon(by_command=True, wait=False)
    # The lock is taken before torch is loaded, which takes seconds.
    until((starting.config.state.directory / "lock").exists)
    starting.process.send_signal(number)
    assert starting.process.wait(PATIENCE_S) == 0
    assert "stopped while starting" in starting.log.read_text()
    assert "ready" not in starting.log.read_text()
    assert [path.name for path in starting.config.state.directory.iterdir()] == ["lock"]
    again = start_daemon(directory=starting.config.state.directory)
    assert again.stop() == 0


def test_a_signal_while_it_loads_its_state_ends_it_at_once(start_daemon, monkeypatch):
    first = start_daemon()
    assert first.stop() == 0
    # A pipe in place of a file is never read to its end: loading takes for ever.
    (saved,) = first.config.state.directory.glob("checkpoint-*")
    (saved / "manifest.json").unlink()
    os.mkfifo(saved / "manifest.json")
    loading = start_daemon(directory=first.config.state.directory, wait=False)
    until(lambda: _says(loading, "loading"))
    loading.process.terminate()
    assert loading.process.wait(PATIENCE_S) == 0
    assert "stopped while starting" in loading.log.read_text()


def _says(daemon, text):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return daemon.get("/readyz") == (503, f"{text}\n")


def test_under_nohup_the_end_of_the_terminal_does_not_stop_it(start_daemon):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    daemon = start_daemon(by_command=True)
    daemon.process.send_signal(signal.SIGHUP)
    with Client(daemon.address) as client:
        assert not client.control("hold")["stopping"]
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ((signal.SIGTERM, signal.SIGINT), {128 + signal.SIGTERM, 128 + signal.SIGINT}),
        # As a terminal does when it is closed, and systemd under SendSIGHUP=.
        ((signal.SIGHUP, signal.SIGHUP), {0}),
        ((signal.SIGTERM, signal.SIGHUP), {0}),
    ],
)
def test_a_second_signal_ends_it_at_once_unless_it_is_the_terminals(start_daemon, signals, code):
    daemon = start_daemon(by_command=True)
    # Stopped with SIGSTOP it can finish nothing, so both signals wait for it together.
    daemon.process.send_signal(signal.SIGSTOP)
    for number in signals:
        daemon.process.send_signal(number)
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.process.wait(PATIENCE_S) in code


def test_a_signal_behind_the_command_to_stop_does_not_cut_the_saving_short_and_the_next_does(start_daemon, monkeypatch):
    monkeypatch.setenv(failpoints.VARIABLE, "checkpoint.rename:stall")
    daemon = start_daemon()
    command(daemon, "shutdown")
    daemon.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.wait(1)
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_replies_that_nobody_reads_do_not_keep_it_from_ending(start_daemon):
    stopping = start_daemon()
    with zmq.Context.instance().socket(zmq.DEALER) as deaf:
        deaf.linger, deaf.rcvhwm, deaf.rcvbuf = 0, 1, 4_096
        deaf.connect(f"tcp://{stopping.address}")
        for number in range(30_000):
            deaf.send_multipart(pack("command", id=number, name="status"))
        # Until the replies fill every buffer on the way.
        until(lambda: counted(stopping, "replies_lost", socket="control"))
        stopping.process.terminate()
        assert stopping.process.wait(PATIENCE_S) == 0


def test_commands_that_come_while_it_stops_do_not_keep_it_from_ending(start_daemon):
    # Large enough for its last checkpoint to take a while: commands that come meanwhile find no engine any more.
    stopping = start_daemon(network={"hidden": [2_000, 2_000]})
    with Line(stopping, CONTROL) as line:
        stopping.process.terminate()
        for number in range(200):
            line.send("command", id=number, name="hold")
            time.sleep(0.005)
        assert stopping.process.wait(PATIENCE_S) == 0


def test_nothing_acknowledged_is_lost_by_a_restart(start_daemon, digits):
    images, labels = digits
    first = start_daemon()
    with Client(first.address, feeder="line", epoch=7) as client:
        client.feed(images[:300], labels[:300])
    assert first.stop() == 0
    second = start_daemon(directory=first.config.state.directory)
    with Client(second.address) as client:
        # What was acknowledged and not learned yet is learned now.
        until(lambda: client.status()["samples_learned"] == 300)
        status = client.status()
    assert status["samples_learned"] == 300
    assert status["version"] > 0


def test_a_client_goes_on_when_the_daemon_is_restarted_under_it(start_daemon, digits):
    images, labels = digits
    first = start_daemon()
    with Client(first.address, ack="learned", timeout_s=PATIENCE_S) as client:
        for start in range(0, 500, 50):
            client.feed(images[start : start + 50], labels[start : start + 50])
        assert first.stop() == 0
        second = start_daemon(port=first.config.server.port, directory=first.config.state.directory)
        for start in range(500, 1000, 50):
            client.feed(images[start : start + 50], labels[start : start + 50])
        client.flush()
        assert client.acknowledged == 1000
        assert client.status()["samples_learned"] == 1000
    assert second.stop() == 0


def test_an_override_outlives_a_restart(start_daemon):
    first = start_daemon()
    with Client(first.address) as client:
        client.control("wake")
    assert first.stop() == 0
    second = start_daemon(directory=first.config.state.directory)
    with Client(second.address) as client:
        assert client.status()["override"] == "wake"


def test_a_port_in_use_is_one_line_and_exit_69_before_torch_is_loaded(tmp_path):
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + ports.SAMPLES))
        taken.listen()
        config = tmp_path / "f.toml"
        config.write_text(f'[server]\nport = {port}\n[state]\ndirectory = "{tmp_path}/state"\n')
        result = serve(config, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert result.returncode == 69
    said = [line for line in result.stderr.splitlines() if not line.startswith("import time:")]
    assert len(said) == 1
    assert f":{port + ports.SAMPLES}" in said[0]
    assert "server.port" in said[0]
    assert not any(line.endswith("| torch") for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network]\nhiden = [3]", "did you mean 'hidden'?"),
        ("[server]\nport = 99999999", "server.port"),
        ("no toml", "is not valid TOML"),
    ],
)
def test_a_bad_configuration_is_exit_78_and_names_the_key(tmp_path, text, said):
    config = tmp_path / "f.toml"
    config.write_text(text)
    result = serve(config)
    assert result.returncode == 78
    assert said in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_an_unreadable_configuration_is_exit_78(tmp_path):
    result = serve(tmp_path / "missing.toml")
    assert result.returncode == 78
    assert "missing.toml" in result.stderr


def test_a_state_directory_that_cannot_be_made_is_exit_73(tmp_path):
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "f.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}/file/state"\n')
    result = serve(config)
    assert result.returncode == 73
    assert "state.directory" in result.stderr


def test_a_second_daemon_on_the_same_state_is_exit_73(daemon, tmp_path):
    config = tmp_path / "second.toml"
    config.write_text(f'[state]\ndirectory = "{daemon.config.state.directory}"\n')
    result = serve(config)
    assert result.returncode == 73
    assert "another daemon" in result.stderr


def test_a_checkpoint_of_another_network_is_exit_65(start_daemon):
    first = start_daemon()
    assert first.stop() == 0
    wider = start_daemon(directory=first.config.state.directory, network={"hidden": [32]}, wait=False)
    assert wider.process.wait(PATIENCE_S) == 65
    assert "network" in wider.log.read_text()
    assert "Traceback" not in wider.log.read_text()


def test_systemd_is_told_when_the_daemon_is_ready_alive_and_stopping(start_daemon, tmp_path, monkeypatch):
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        daemon = start_daemon(by_command=True)
        said = [manager.recv(100) for _ in range(2)]
        daemon.stop()
        while said[-1] != b"STOPPING=1":
            said.append(manager.recv(100))
    assert said[:2] == [b"READY=1", b"WATCHDOG=1"]


def test_health_is_ready_and_live_once_it_serves(daemon):
    assert daemon.get("/readyz") == (200, "ok\n")
    assert daemon.get("/livez") == (200, "ok\n")


def test_checkpoints_are_saved_on_the_period_while_it_learns_and_none_while_nothing_is_new(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(state={"checkpoint_s": 0.2})
    with Client(daemon.address, ack="learned") as client:
        while counted(daemon, "checkpoints", outcome="saved") < 2:
            client.feed(images[:100], labels[:100])
            client.flush()
        assert daemon.metrics()["ffstream_unsaved_seconds"] < 60
        client.control("hold")
        saved_at = "ffstream_checkpoint_timestamp_seconds"
        # What hold changed is saved, and that was the last.
        until(lambda: daemon.metrics()["ffstream_holding"] == 1 and daemon.metrics()["ffstream_unsaved_seconds"] == 0)
        before = counted(daemon, "checkpoints", outcome="saved"), daemon.metrics()[saved_at]
        time.sleep(1)
        assert (counted(daemon, "checkpoints", outcome="saved"), daemon.metrics()[saved_at]) == before
    assert abs(before[1] - time.time()) < 60
    assert daemon.stop() == 0
    kept = sorted(daemon.config.state.directory.glob("checkpoint-*"))
    again = start_daemon(directory=daemon.config.state.directory)
    # The time of the last checkpoint is that of the one that it started from.
    assert again.metrics()[saved_at] == json.loads((kept[-1] / "manifest.json").read_text())["saved_at"]
    assert again.stop() == 0
    assert sorted(daemon.config.state.directory.glob("checkpoint-*")) == kept

"""The systemd unit fits the daemon."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from deployed import ALERTS, DEPLOY, ROOT, UNIT, needs, run

from ffstream.config import load
from ffstream.errors import (
    BindError,
    CheckpointError,
    ConfigError,
    DiskError,
    FFStreamError,
    JournalError,
    StateError,
)


@needs("systemd-analyze", "--version")
def test_systemd_accepts_the_unit(tmp_path):
    # The program must exist to be accepted, so one that does stands in for it.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ffstream/bin/ffstream", sys.executable))
    code, output = run("systemd-analyze", "verify", str(copy))
    assert (code, UNIT.name in output) == (0, False), output


WAITING = {error.exit_code for error in (ConfigError, StateError, CheckpointError, JournalError)}
RESTARTED = {error.exit_code for error in (BindError, DiskError, FFStreamError)}


def test_systemd_restarts_what_may_be_over_and_not_what_only_a_person_can_mend(unit):
    assert unit["Restart"] == "on-failure"
    assert {int(code) for code in unit["RestartPreventExitStatus"].split()} == WAITING
    assert WAITING.isdisjoint(RESTARTED)


def test_the_document_and_the_unit_say_the_same_of_each_exit_code():
    text = (ROOT / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \| (.*) \|$", text, re.MULTILINE)
    told = {verb: {int(code) for code, done in rows if done == verb} for _, verb in rows}
    assert told == {"does nothing": {0}, "waits for you": WAITING, "restarts": RESTARTED}


def test_the_alert_names_the_exit_codes_that_wait_for_a_person():
    (down,) = [rule for rule in ALERTS if rule["alert"] == "FFStreamDown"]
    assert {int(code) for code in re.findall(r"\d+", down["annotations"]["description"])} == WAITING


def test_the_units_configuration_keeps_its_state_where_the_unit_lets_it():
    assert load(DEPLOY / "systemd" / "ffstream.toml").state.directory == Path("/var/lib/ffstream")


def test_the_unit_makes_that_folder(unit):
    assert unit["StateDirectory"] == "ffstream"


def test_the_unit_leaves_netlink_open_without_which_zeromq_aborts(unit):
    assert "AF_NETLINK" in unit["RestrictAddressFamilies"].split()


def test_the_unit_leaves_the_gpu_in_sight_and_torch_free_to_generate_code(unit):
    harmful = {"MemoryDenyWriteExecute", "PrivateDevices", "DevicePolicy", "ProtectClock", "ProcSubset"}
    assert harmful & set(unit) == set()

"""The systemd unit fits the daemon."""

from __future__ import annotations

import sys
from pathlib import Path

from deployed import DEPLOY, UNIT, needs, run

from ffstream.config import load
from ffstream.errors import BindError, CheckpointError, ConfigError, StateError


@needs("systemd-analyze", "--version")
def test_systemd_accepts_the_unit(tmp_path):
    # The program must exist to be accepted, so one that does stands in for it.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ffstream/bin/ffstream", sys.executable))
    code, output = run("systemd-analyze", "verify", str(copy))
    assert (code, UNIT.name in output) == (0, False), output


def test_systemd_does_not_restart_what_only_a_person_can_mend(unit):
    mendable = {error.exit_code for error in (ConfigError, BindError, StateError, CheckpointError)}
    assert {int(code) for code in unit["RestartPreventExitStatus"].split()} == mendable


def test_the_units_configuration_keeps_its_state_where_the_unit_lets_it():
    assert load(DEPLOY / "systemd" / "ffstream.toml").state.directory == Path("/var/lib/ffstream")


def test_the_unit_makes_that_folder(unit):
    assert unit["StateDirectory"] == "ffstream"


def test_the_unit_leaves_netlink_open_without_which_zeromq_aborts(unit):
    assert "AF_NETLINK" in unit["RestrictAddressFamilies"].split()


def test_the_unit_leaves_the_gpu_in_sight_and_torch_free_to_generate_code(unit):
    harmful = {"MemoryDenyWriteExecute", "PrivateDevices", "DevicePolicy", "ProtectClock", "ProcSubset"}
    assert harmful & set(unit) == set()

"""What an operator runs, as the tests read it, and the programs that may be missing."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ffstream import Client

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "ffstream.service"
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]


def needs(*command):
    """Skip a test, saying so, where a program is missing."""
    found = shutil.which(command[0]) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    return pytest.mark.skipif(not found, reason=f"{shlex.join(command)} does not run here")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    return done.returncode, done.stdout + done.stderr


def do_everything(daemon, digits):
    """Feed, push, query and save; and send one message that is refused."""
    images, labels = digits
    with Client(daemon.address) as client:
        client.feed(images[:600], labels[:600])
        client.flush()
        client.push(images[:50], labels[:50])
        client.push(images[:1], [99])
        client.predict(images[:5])
        client.control("checkpoint")

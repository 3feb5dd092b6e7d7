"""Checks the installed packages before anything else runs; needs only the standard library."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The packages in the ``test`` extra that are needed to run a test.
TESTING = ("hypothesis", "pytest", "pytest-timeout")


def missing(project: Path) -> list[str]:
    """Return the requirements of the daemon and its tests that are not met here, such as ``pyzmq>=26.2``.

    Parameters
    ----------
    project
        The ``pyproject.toml`` that states them.
    """
    stated = tomllib.loads(project.read_text("utf-8"))["project"]
    optional = stated["optional-dependencies"]
    tests = [wanted for wanted in optional["test"] if _name(wanted) in TESTING]
    return [wanted for wanted in (*stated["dependencies"], *optional["daemon"], *tests) if not _met(wanted)]


def advice(unmet: list[str]) -> str:
    """Return advice on unmet requirements, for a machine that may not reach a package index."""
    names = " ".join(f"'{wanted}'" for wanted in unmet)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"gpu-check needs packages that are not installed here, or too old: {', '.join(unmet)}\n"
        f"Install them: python3 -m pip install {names}\n"
        "Without a network, bring them as wheels. On a machine that has one:\n"
        f"  python3 -m pip download --only-binary=:all: --python-version {python} -d wheels {names}\n"
        "and here: python3 -m pip install --no-index --find-links wheels " + names
    )


def _met(wanted: str) -> bool:
    name, _, least = wanted.partition(">=")
    try:
        return _numbers(version(name)) >= _numbers(least)
    except PackageNotFoundError:
        return False


def _name(wanted: str) -> str:
    return wanted.partition(">=")[0]


def _numbers(text: str) -> list[int]:
    # Only the release part counts: 2.11.0+cu130 is 2, 11, 0.
    return [int(part) for part in re.split(r"[.]", re.split(r"[^\d.]", text)[0]) if part]

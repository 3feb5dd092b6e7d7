"""Measurements of the machine, kept beside the journal: a replay must multiply as the original steps did."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from ffstream.ff.measured import Products, machine
from ffstream.stream.disk import flush

log = logging.getLogger(__name__)

FILE = "products.json"
# Errors that make a file unusable.
_DAMAGE = (OSError, ValueError, AttributeError)


def load(directory: Path) -> Products:
    """Return a state directory's measurements of this machine; missing or unreadable ones are made anew."""
    try:
        return Products(_read(directory / FILE).get(machine()))
    except _DAMAGE as error:
        log.warning(
            "%s: products are measured again, and a replay may differ in its last bits: %s", directory / FILE, error
        )
        return Products()


def save(directory: Path, products: Products) -> None:
    """Save the measurements beside those of other machines; log a warning if the file cannot be written."""
    path, name = directory / FILE, machine()
    try:
        known = _read(path)
    except _DAMAGE:
        known = {}
    measured = products.state()
    if known.get(name, {}) == measured:
        return
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps({**known, name: measured}, indent=1) + "\n")
        flush(partial)
        partial.replace(path)
        flush(directory)
    except OSError as error:
        log.warning("%s: not written, so products are measured again at the next start: %s", path, error.strerror)


def _read(path: Path) -> dict[str, dict[str, object]]:
    """Return measurements by machine; none if there is no file."""
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    if not (isinstance(known, dict) and all(isinstance(measured, dict) for measured in known.values())):
        raise ValueError("does not hold measurements by machine")
    return known

"""Check of the configuration: its validity, and the keys that it changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ffstream.config import Config, configure
from ffstream.doctor.finding import Finding
from ffstream.errors import ConfigError


def check_config(path: Path | None) -> tuple[Config, Finding]:
    """Read the file and the environment; return the configuration, or the defaults if they are not valid."""
    try:
        config = configure(path, os.environ)
    except ConfigError as error:
        advice = "correct it; all lines below refer to the defaults"
        return Config(), Finding("config", "fail", str(error), advice)
    changed = list(_changes(config.model_dump(mode="json"), Config().model_dump(mode="json")))
    if path is None and not changed:
        return config, Finding("config", "ok", "no file is given, so every key has its default")
    place = "the environment" if path is None else f"{path} is valid and"
    return config, Finding("config", "ok", f"{place} sets {', '.join(changed) or 'nothing but defaults'}")


def _changes(values: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    for section, keys in values.items():
        for key, value in keys.items():
            if value != defaults[section][key]:
                yield f"{section}.{key}"

"""The configuration: whether it is valid, and what it changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ffstream.config import Config, load
from ffstream.doctor.finding import Finding
from ffstream.errors import ConfigError


def check_config(path: Path | None) -> tuple[Config, Finding]:
    """Read the file; return the configuration, or the defaults where the file is not valid."""
    if path is None:
        return Config(), Finding("config", "ok", "no file is given, so every key has its default")
    try:
        config = load(path)
    except ConfigError as error:
        advice = "correct the file; all lines below are about the defaults"
        return Config(), Finding("config", "fail", str(error), advice)
    changed = list(_changes(config.model_dump(mode="json"), Config().model_dump(mode="json")))
    return config, Finding("config", "ok", f"{path} is valid and sets {', '.join(changed) or 'nothing but defaults'}")


def _changes(values: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    for section, keys in values.items():
        for key, value in keys.items():
            if value != defaults[section][key]:
                yield f"{section}.{key}"

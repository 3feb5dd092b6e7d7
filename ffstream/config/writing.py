"""Writing a configuration as commented TOML."""

from __future__ import annotations

import json
from typing import Any

from ffstream.config.model import Config
from ffstream.config.section import Section

# Keys that most people change; of the defaults, `ffstream config --minimal` prints only these.
MINIMAL = {
    ("network", "shape"),
    ("network", "labels"),
    ("network", "hidden"),
    ("optimizer", "rate"),
    ("phases", "schedule"),
    ("engine", "device"),
    ("server", "host"),
    ("server", "port"),
    ("state", "directory"),
    ("state", "checkpoint_s"),
}


def default_toml() -> str:
    """Return the default configuration as TOML, each key under a comment that describes it."""
    return to_toml(Config())


def to_toml(config: Config, *, minimal: bool = False) -> str:
    """Return a configuration as commented TOML that ``load`` reads back as the same configuration.

    Parameters
    ----------
    config
        Configuration to write.
    minimal
        Write only the keys that most people change, and those that differ from their defaults.
    """
    lines = ["# The keys that most people change; `ffstream config` prints all of them.", ""] if minimal else []
    for name in type(config).model_fields:
        section: Section = getattr(config, name)
        values, fields = section.model_dump(mode="json"), type(section).model_fields
        default = type(section)()
        written = [
            line
            for key, field in fields.items()
            if not minimal or (name, key) in MINIMAL or getattr(section, key) != getattr(default, key)
            for line in (f"# {field.description}", f"{key} = {_toml(values[key])}")
        ]
        if written:
            lines += [f"# {type(section).__doc__}", f"[{name}]", *written, ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """Return a value as TOML, leaving out the keys of a table that are ``None``."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(held)}" for key, held in value.items() if held is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON scalars are valid TOML, except for one control character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

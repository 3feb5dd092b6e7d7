"""Sources of a configuration, and their precedence.

Each source overrides those before it: the defaults, a TOML file, environment variables, command-line flags, and
``--set`` options. docs/configuration.md describes them for users.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ffstream.config.model import Config
from ffstream.config.reading import Place, read, validate_from
from ffstream.errors import ConfigError

PREFIX = "FFSTREAM_"
# Separates section and key in the name of a variable; keys have single underscores.
BETWEEN = "__"


@dataclass(frozen=True)
class Source:
    """Values from one source.

    Attributes
    ----------
    name
        Name of the source in errors: ``ffstream.toml``, ``FFSTREAM_SERVER__PORT``, ``--port 5710``.
    values
        The values, nested by section and key.
    """

    name: str
    values: Mapping[str, Any]


def configure(
    file: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    flags: Iterable[Source] = (),
    assignments: Sequence[str] = (),
) -> Config:
    """Read a configuration from all sources; later parameters override earlier ones.

    Parameters
    ----------
    file
        A TOML file.
    environment
        Environment variables; those of the form ``FFSTREAM_SECTION__KEY`` are settings, others are ignored.
    flags
        Values of dedicated options, such as ``--port 5710``.
    assignments
        Values of ``--set``, each ``SECTION.KEY=VALUE``.

    Raises
    ------
    ConfigError
        With one line per error: the source, the key, its value and what was expected.
    """
    files = [] if file is None else [Source(str(file), read(file))]
    variables = [_variable(name, text) for name, text in environment.items() if is_setting(name)]
    return _resolve([*files, *variables, *flags, *map(_assignment, assignments)])


def load(path: Path) -> Config:
    """Read and validate a TOML file only; raises ConfigError as ``configure`` does."""
    return configure(path)


def parse(values: dict[str, Any], name: str) -> Config:
    """Validate nested values; ``name`` is their source in errors."""
    return _resolve([Source(name, values)])


def is_setting(variable: str) -> bool:
    """Return True if an environment variable of this name sets a key of the configuration."""
    return variable.startswith(PREFIX) and BETWEEN in variable.removeprefix(PREFIX)


def _variable(name: str, text: str) -> Source:
    section, _, key = name.removeprefix(PREFIX).lower().partition(BETWEEN)
    return Source(name, {section: {key: _value(text)}})


def _assignment(text: str) -> Source:
    name = f"--set {text}"
    place, equals, value = text.partition("=")
    match place.strip().split("."):
        case [section, key] if equals:
            return Source(name, {section: {key: _value(value)}})
    raise ConfigError(f"{name}: expected SECTION.KEY=VALUE, for example server.port=5710")


def _value(text: str) -> Any:
    """Parse a TOML value; any other text is a string, so that strings need no quotes."""
    try:
        held = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    # No key holds a date or a time; phases.sleep_from, for example, is a string.
    if len(held) > 1 or isinstance(held["value"], dt.date | dt.time):
        return text
    return held["value"]


def _resolve(sources: Sequence[Source]) -> Config:
    values: dict[str, Any] = {}
    for source in sources:
        for section, table in source.values.items():
            before = values.get(section, {})
            if isinstance(before, dict):
                values[section] = {**before, **table} if isinstance(table, Mapping) else table

    def origin(place: Place) -> str:
        section, key = (*place, None, None)[:2]
        named = [source.name for source in sources if section is None or section in source.values]
        setting = [source.name for source in sources if key in _table(source, section)]
        return ", ".join(setting[-1:] or dict.fromkeys(named))

    return validate_from(Config, values, origin)


def _table(source: Source, section: int | str | None) -> Mapping[str, Any]:
    table = source.values.get(str(section), {})
    return table if isinstance(table, Mapping) else {}

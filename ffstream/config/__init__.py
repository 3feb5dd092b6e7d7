"""The TOML file, as one validated model.

``load`` reads a file, ``default_toml`` prints the commented defaults. Every key has a default, so an empty file
is a valid configuration.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError, model_validator

from ffstream.config.network import LayerConfig, NetworkConfig, Precision
from ffstream.config.section import Section
from ffstream.config.sections import (
    DreamsConfig,
    EngineConfig,
    OptimizerConfig,
    PhasesConfig,
    ServerConfig,
    StateConfig,
)
from ffstream.errors import ConfigError

__all__ = [
    "Config",
    "DreamsConfig",
    "EngineConfig",
    "LayerConfig",
    "Learning",
    "NetworkConfig",
    "OptimizerConfig",
    "PhasesConfig",
    "Precision",
    "ServerConfig",
    "StateConfig",
    "default_toml",
    "load",
    "parse",
    "read",
    "to_toml",
    "validate",
]

Model = TypeVar("Model", bound=BaseModel)


class Learning(Section):
    """What a network is, and how it learns: the sections that are not the daemon's own."""

    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    phases: PhasesConfig = PhasesConfig()
    dreams: DreamsConfig = DreamsConfig()
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _dreams_fit(self) -> Self:
        source, first = self.dreams.source, self.network.stack[0].kind
        if source != "dream" and self.engine.memory_samples == 0:
            raise ValueError(f"engine.memory_samples = 0 leaves dreams.source = {source!r} nothing to sleep on")
        if source != "memory" and first != "dense":
            raise ValueError(f"dreams.source = {source!r} needs a first layer that is dense, not {first}")
        if source != "memory" and self.network.coding == "overlay":
            raise ValueError(
                f"dreams.source = {source!r} does not go with coding overlay, which writes over what was dreamed; "
                "set network.coding = 'assembly'"
            )
        return self


class Config(Learning):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    state: StateConfig = StateConfig()


def load(path: Path) -> Config:
    """Read and validate a TOML file.

    Raises
    ------
    ConfigError
        Naming the file, the key, what it holds and what was expected.
    """
    return parse(read(path), str(path))


def parse(values: dict[str, Any], name: str) -> Config:
    """Validate nested values; ``name`` says in errors where they came from."""
    return validate(Config, values, name)


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file, whatever it says.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def validate(model: type[Model], values: dict[str, Any], name: str) -> Model:
    """Validate nested values as one of the models of a TOML file; ``name`` says in errors where they came from.

    Raises
    ------
    ConfigError
        Naming ``name``, the key, what it holds and what was expected.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {_explain(model, dict(e))}" for e in error.errors())) from error


def default_toml() -> str:
    """Return the default configuration as TOML, each key under a comment that says what it does."""
    return to_toml(Config())


def to_toml(config: Config) -> str:
    """Return a configuration as commented TOML that ``load`` reads back as the same configuration."""
    lines: list[str] = []
    for name in Config.model_fields:
        section: Section = getattr(config, name)
        lines += [f"# {type(section).__doc__}", f"[{name}]"]
        values = section.model_dump(mode="json")
        for key, field in type(section).model_fields.items():
            lines += [f"# {field.description}", f"{key} = {_toml(values[key])}"]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """Write a value as TOML; of a table only the keys that say something."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(held)}" for key, held in value.items() if held is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's scalars are TOML's, but for one control character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}, not {error['input']!r}" if where else str(error["msg"])
    *section, key = error["loc"]
    known, parts = model, iter(section)
    for part in parts:
        if isinstance(part, str):
            annotation: Any = known.model_fields[part].annotation
            # A list of tables holds tables of one kind, and so does a table of them, which has a name of its own.
            held = [inner for inner in get_args(annotation) if isinstance(inner, type) and issubclass(inner, BaseModel)]
            known = held[0] if held else annotation
            if get_origin(annotation) is dict:
                next(parts)
    near = difflib.get_close_matches(str(key), known.model_fields, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known.model_fields)}"
    return f"{where}: unknown key; {advice}"

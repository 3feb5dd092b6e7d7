"""The configuration, as one validated model.

``configure`` reads it from all sources, ``load`` from a TOML file only, and ``to_toml`` writes it. Every key has a
default, so no source is required.
"""

from __future__ import annotations

from ffstream.config.model import Config, Learning
from ffstream.config.network import LayerConfig, NetworkConfig, Precision
from ffstream.config.reading import read, validate
from ffstream.config.sections import (
    DreamsConfig,
    EngineConfig,
    OptimizerConfig,
    PhasesConfig,
    ServerConfig,
    StateConfig,
)
from ffstream.config.sources import Source, configure, is_setting, load, parse
from ffstream.config.writing import default_toml, to_toml

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
    "Source",
    "StateConfig",
    "configure",
    "default_toml",
    "is_setting",
    "load",
    "parse",
    "read",
    "to_toml",
    "validate",
]

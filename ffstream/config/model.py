"""The whole configuration: all sections, and the checks across them."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from ffstream.config.network import NetworkConfig
from ffstream.config.section import Section
from ffstream.config.sections import (
    DreamsConfig,
    EngineConfig,
    OptimizerConfig,
    PhasesConfig,
    ServerConfig,
    StateConfig,
)


class Learning(Section):
    """Sections that define a network and its learning, without those of the daemon."""

    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    phases: PhasesConfig = PhasesConfig()
    dreams: DreamsConfig = DreamsConfig()
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _dreams_fit(self) -> Self:
        source, first = self.dreams.source, self.network.stack[0].kind
        if source != "dream" and self.engine.memory_samples == 0:
            raise ValueError(
                f"dreams.source = {source!r} needs remembered samples, but engine.memory_samples = 0; raise it"
            )
        if source != "memory" and first != "dense":
            raise ValueError(f"dreams.source = {source!r} needs a first layer that is dense, not {first}")
        if source != "memory" and self.network.coding == "overlay":
            raise ValueError(
                f"dreams.source = {source!r} does not work with overlay coding, which writes over the dream; "
                "set network.coding = 'assembly'"
            )
        return self


class Config(Learning):
    """The whole configuration file."""

    server: ServerConfig = ServerConfig()
    state: StateConfig = StateConfig()

"""The stages in order, the most informative first."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from gpu_checking import daemon, place, profile, speed, suite
from gpu_checking.report import Row
from gpu_checking.site import Site

__all__ = ["STAGES", "Site", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A GPU check.

    Attributes
    ----------
    share
        Share of the time, relative to the other stages' shares.
    run
        Yields one row per case, the most informative case first.
    """

    name: str
    share: float
    run: Callable[[Site], Generator[Row]]


STAGES = (
    Stage("environment", 2, place.environment),
    Stage("smoke", 10, daemon.smoke),
    Stage("limits", 10, speed.limits),
    Stage("throughput", 20, speed.throughput),
    Stage("profile", 10, profile.profile),
    Stage("graphs", 10, speed.graphs),
    Stage("stream", 6, daemon.stream),
    Stage("latency", 8, daemon.latency),
    Stage("memory", 8, speed.memory),
    Stage("tests", 16, suite.tests),
)

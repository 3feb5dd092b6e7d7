"""The stages in their order, the most telling first, and where they run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from gpu_checking import daemon, place, profile, speed, suite
from gpu_checking.report import Row
from gpu_checking.site import Site

__all__ = ["STAGES", "Site", "Stage"]


@dataclass(frozen=True)
class Stage:
    """Something that a GPU must show.

    Attributes
    ----------
    share
        Of the time, beside the other stages' shares.
    run
        Yields a row a case, the most telling case first.
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

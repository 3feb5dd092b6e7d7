from __future__ import annotations

from engines import Driven

from ffstream.stream.reporter import Reporter


def test_dead_units_are_counted_anew_after_a_second(driven: Driven) -> None:
    driven.feed(8)
    driven.turn()
    reporter = Reporter(driven.engine.learner)
    (first,) = reporter.report(10.0)
    driven.engine.learner.network.layers[0].weight.fill_(-1)
    driven.feed(8, first=8)
    driven.turn()
    (soon,) = reporter.report(10.9)
    (later,) = reporter.report(11.0)
    assert soon.dead_units == first.dead_units
    assert later.dead_units[0] == 12 > first.dead_units[0]
    assert soon.version == first.version + 1

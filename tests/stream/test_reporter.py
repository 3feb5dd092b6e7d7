from __future__ import annotations

import pytest
import torch
from engines import Driven

from ffstream.stream.reporter import Reporter


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_report_names_the_layers_whose_weights_or_goodness_are_not_finite(driven: Driven, value: float) -> None:
    learner = driven.engine.learner
    driven.feed(8)
    driven.turn()
    reporter = Reporter(learner)
    assert [told.not_finite for told in reporter.report(0.0)] == [[]]
    goodness, real = learner._shown["negative"]
    learner._shown["negative"] = (goodness.index_fill(1, torch.tensor(0), value), real)
    assert [told.not_finite for told in reporter.report(1.0)] == [[1]]
    learner.network.layers[1].weight[0, 0] = value
    assert [told.not_finite for told in reporter.report(2.0)] == [[1, 2]]


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

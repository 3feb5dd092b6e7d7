from __future__ import annotations

import pytest
import torch

from ffstream.bench import peers, throughput, timing
from ffstream.errors import SourceError
from ffstream.ff.lesson import Phase

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(timing, "BURST_S", 1e-4)


def test_a_case_has_a_row_a_rule_beside_backprop_and_the_products():
    rows = throughput.measure("20-30-30", 4, "float32", ["in_place", "adam"], CPU)
    assert [row.optimizer for row in rows] == ["in_place", "adam"]
    for row in rows:
        assert row.backprop_samples_per_second == max(row.backprop_eager, row.backprop_compiled)
        assert row.ratio_to_backprop == pytest.approx(row.samples_per_second / row.backprop_samples_per_second)
        assert row.low <= row.samples_per_second <= row.high
        assert row.matmul_fraction > 0


def test_the_sweeps_take_the_phases_in_turns():
    sweeper = throughput.Sweeper("20-30", 4, "float32", "in_place", (Phase.WAKE, Phase.SLEEP), CPU)
    before = sweeper.network.layers[0].weight.clone()
    sweeper.sweep()
    sweeper.sweep()
    assert not torch.equal(before, sweeper.network.layers[0].weight)
    assert next(sweeper._phases) is Phase.WAKE


def test_the_bare_products_leave_the_weights_alone():
    sweeper = throughput.Sweeper("20-30-30", 4, "float32", "in_place", (Phase.WAKE,), CPU)
    before = [layer.weight.clone() for layer in sweeper.network.layers]
    sweeper.products()()
    assert all(torch.equal(a, layer.weight) for a, layer in zip(before, sweeper.network.layers, strict=True))


def test_a_peer_is_timed_in_float32_and_in_the_default_precision():
    steps: list[int] = []
    peer = peers.Peer("idle", lambda widths, rows, labels, device: lambda: steps.append(len(rows)))
    found = list(throughput.measure_peer(peer, CPU))
    assert found[0].precision == "float32"
    assert {row.net for row in found} == {throughput.PEER_NET}
    assert set(steps) == {throughput.PEER_BATCH}
    assert all(row.ratio == pytest.approx(row.ours / row.samples_per_second) for row in found)


def test_a_checkout_without_the_peer_is_refused_naming_it(tmp_path):
    with pytest.raises(SourceError, match="loeweX"):
        peers.lowe(tmp_path)

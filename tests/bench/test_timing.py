from __future__ import annotations

import torch

from ffstream.bench import timing

CPU = torch.device("cpu")


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "BURST_S", 0.0)
    monkeypatch.setattr(timing, "BURST_CALLS", 1)
    called: list[str] = []
    timing.interleave({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, CPU)
    assert called[-2 * timing.ROUNDS :] == ["a", "b"] * timing.ROUNDS


def test_a_burst_is_filled_with_calls(monkeypatch):
    monkeypatch.setattr(timing, "_burst", lambda call, calls, device: 0.01)
    monkeypatch.setattr(timing, "BURST_S", 0.07)
    assert timing._calls_a_burst(lambda: None, CPU) == 7


def test_a_burst_has_some_calls_however_long_they_take(monkeypatch):
    monkeypatch.setattr(timing, "_burst", lambda call, calls, device: 10.0)
    assert timing._calls_a_burst(lambda: None, CPU) == timing.BURST_CALLS


def test_the_spread_is_median_and_quartiles(monkeypatch):
    seconds = iter([9.0, 9.0, 9.0, 5.0, 1.0, 3.0, 2.0, 4.0, 7.0, 6.0])
    monkeypatch.setattr(timing, "_burst", lambda call, calls, device: next(seconds))
    assert timing.interleave({"a": lambda: None}, CPU)["a"] == timing.Spread(4.0, 2.0, 6.0)

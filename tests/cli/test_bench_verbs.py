from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ffstream.bench import latency, memory, stream, throughput, timing
from ffstream.cli.bench import bench

PNG = b"\x89PNG"


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Run a benchmark; return what it printed and what it wrote as JSON, and see that it drew a figure."""
    monkeypatch.setattr(timing, "BURST_S", 1e-4)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[str, dict[str, list[dict[str, object]]]]:
        written, drawn = tmp_path / "out.json", tmp_path / "out.png"
        done = CliRunner().invoke(bench, [*arguments, "--json", str(written), "--figure", str(drawn)])
        assert done.exit_code == 0, done.output
        assert drawn.read_bytes().startswith(PNG)
        return done.output, json.loads(written.read_text())

    return run


def test_throughput_writes_the_fields_that_it_promises(measured):
    printed, written = measured(
        *("throughput", "--net", "20-30", "--batch", "4", "--precision", "float32", "--optimizer", "in_place")
    )
    assert "20-30" in printed
    assert len(written["rows"]) == 1
    promised = "net batch precision optimizer samples_per_second backprop_samples_per_second ratio_to_backprop"
    assert {*promised.split(), "matmul_fraction"} <= written["rows"][0].keys()
    assert written["peers"] == []
    assert written["environment"]["threads"] >= 1


def test_throughput_measures_everything_unless_told_what(monkeypatch, measured):
    cases = []

    def note(net, batch, precision, rules, device):
        cases.append((net, batch, precision))
        return [throughput.Row(net, batch, precision, rules[0], *[1.0] * 8)]

    monkeypatch.setattr(throughput, "measure", note)
    measured("throughput")
    assert len(cases) == len(throughput.NETS) * len(throughput.BATCHES) * len(throughput.PRECISIONS)


def test_optimizers_writes_a_row_a_contender_and_seed(measured):
    printed, written = measured(*("optimizers", "--quick", "--only", "in_place", "--only", "backprop"))
    assert "backprop" in printed
    assert {row["optimizer"] for row in written["rows"]} == {"in_place", "backprop"}
    assert {"prequential_accuracy", "test_accuracy", "samples_per_second", "seed"} <= written["rows"][0].keys()


def test_memory_writes_a_row_a_method_and_depth(monkeypatch, measured):
    monkeypatch.setattr(memory, "DEPTHS", (2, 4))
    _, written = measured("memory")
    assert [(row["method"], row["layers"]) for row in written["rows"]] == [
        (method, layers) for method in memory.METHODS for layers in (2, 4)
    ]
    assert all(row["peak_bytes"] > 0 for row in written["rows"])


def test_stream_writes_what_was_measured(monkeypatch, measured):
    row = stream.Row(64, 1, "uint8", "durable", 100.0, 90.0, 110.0, 120.0, 100 / 120, 125.0, 100 / 125, 0.9)
    monkeypatch.setattr(stream, "measure", lambda folder, net, ways, seconds, advance: [row])
    _, written = measured("stream", "--quick")
    assert written["rows"][0]["fraction_of_in_process"] == pytest.approx(100 / 120)


def test_latency_writes_what_was_measured(monkeypatch, measured):
    row = latency.Row("idle", 8, 100, 1.0, 2.0, 3.0, 0.5, 0.7, 0.0, 0)
    monkeypatch.setattr(latency, "measure", lambda folder, net, seconds: iter([row]))
    _, written = measured("latency", "--quick")
    assert {"load", "clients", "p50_ms", "p99_ms", "p999_ms", "sweep_p99_ms", "lost"} <= written["rows"][0].keys()


def test_an_unknown_peer_is_refused_naming_it():
    done = CliRunner().invoke(bench, ["throughput", "--peer", "nobody"])
    assert "nobody" in str(done.exception)

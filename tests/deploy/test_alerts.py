"""Each alert fires for what it is about, and for nothing else."""

from __future__ import annotations

import pytest
import yaml
from deployed import ALERTS, DEPLOY, needs, run

needs_promtool = needs("promtool", "--version")


@needs_promtool
def test_promtool_accepts_the_configuration_and_its_rules():
    code, output = run("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    assert code == 0, output
    assert f"{len(ALERTS)} rules found" in output


def check_firing(tmp_path, expected, minutes, series):
    """Check which alerts fire some minutes into series that have a value every 15 s, in promtool's notation."""
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected],
            }
        ],
    }
    rules = [str(DEPLOY / "prometheus" / "alerts.yml")]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "15s", "tests": [test]}))
    code, output = run("promtool", "test", "rules", str(file))
    assert code == 0, output


HEALTHY = {
    'up{job="ffstream"}': "1x300",
    'ffstream_events_total{topic="score"}': "0+60x300",
    'ffstream_samples_dropped_total{reason="inbox_full"}': "7x300",
    'ffstream_messages_rejected_total{socket="queries", code="busy"}': "7x300",
    'ffstream_prequential_accuracy{over="window"}': "0.95 0.93x300",
    'ffstream_checkpoints_total{outcome="failed"}': "1x300",
    "ffstream_unsaved_seconds": "0+1x300",
    "ffstream_layers_not_finite": "0x300",
    # For ten minutes, and for three quarters of an hour, when the test looks.
    "ffstream_holding": "0x240 1x60",
    'ffstream_override{override="wake"}': "0x100 1x200",
    'ffstream_override{override="auto"}': "1x300",
}
ILL = {
    "FFStreamDown": (3, {'up{job="ffstream"}': "1 0x300"}),
    "FFStreamEngineStalled": (8, {'ffstream_events_total{topic="score"}': "0+60x20 1200x300"}),
    "FFStreamSamplesDropped": (12, {'ffstream_samples_dropped_total{reason="inbox_full"}': "0+1x300"}),
    "FFStreamMessagesRejected": (12, {'ffstream_messages_rejected_total{socket="queries", code="busy"}': "0+1x300"}),
    "FFStreamAccuracyFell": (65, {'ffstream_prequential_accuracy{over="window"}': "0.95x240 0.7x60"}),
    "FFStreamCheckpointFailing": (12, {'ffstream_checkpoints_total{outcome="failed"}': "1x20 2x280"}),
    "FFStreamCheckpointOld": (30, {"ffstream_unsaved_seconds": "0+15x300"}),
    "FFStreamNotFinite": (12, {"ffstream_layers_not_finite": "1x300"}),
    "FFStreamHeld": (30, {"ffstream_holding": "0x20 1x280"}),
    "FFStreamOverridden": (70, {'ffstream_override{override="sleep"}': "1x300"}),
    "FFStreamDiskFull": (12, {"ffstream_journal_stalled": "1x300"}),
    "FFStreamSampleQuarantined": (12, {"ffstream_samples_quarantined_total": "1x300"}),
}


@needs_promtool
def test_no_alert_fires_while_all_is_well(tmp_path):
    check_firing(tmp_path, [], 70, HEALTHY)


@needs_promtool
@pytest.mark.parametrize("alert", ILL)
def test_an_alert_fires_for_what_it_is_about_and_no_other_does(alert, tmp_path):
    minutes, series = ILL[alert]
    check_firing(tmp_path, [alert], minutes, {**HEALTHY, **series})


def test_each_alert_is_tried():
    assert list(ILL) == [rule["alert"] for rule in ALERTS]

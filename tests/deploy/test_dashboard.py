"""What the dashboard and the alerts ask for is what the daemon exports, and each curve shows something."""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import yaml
from deployed import ALERTS, DEPLOY, do_everything, needs
from prometheus_client.parser import text_string_to_metric_families

from ffstream import ports
from ffstream.daemon.spawn import free_port

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "ffstream.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN = [target["expr"] for panel in PANELS for target in panel["targets"]]
ASKED = SHOWN + [rule["expr"] for rule in ALERTS]


def exported(daemon):
    """Return each metric family's series names: a counter ends in ``_total``, a histogram has three."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    families = text_string_to_metric_families(daemon.get("/metrics")[1])
    return [{family.name + suffix for suffix in suffixes.get(family.type, ("",))} for family in families]


def named(expression):
    return set(re.findall(r"ffstream_[a-z_]+", expression))


def test_the_daemon_exports_each_metric_that_is_asked_for(busy):
    assert set.union(*map(named, ASKED)) - set.union(*exported(busy)) == set()


def test_each_metric_that_the_daemon_exports_is_asked_for(busy):
    asked = set.union(*map(named, ASKED))
    assert [family for family in exported(busy) if not family & asked] == []


def test_each_panel_asks_the_chosen_data_source():
    for panel in PANELS:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}, panel["title"]


def test_no_two_panels_overlap():
    taken = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.fixture
def prometheus(busy, tmp_path):
    """Return a function that asks a Prometheus, which scrapes the busy daemon, what an expression yields."""
    port = free_port()
    target = f"127.0.0.1:{busy.config.server.port + ports.HTTP}"
    scrape = {"job_name": "ffstream", "scrape_interval": "200ms", "static_configs": [{"targets": [target]}]}
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def ask(expression):
        filled = expression.replace("$__rate_interval", "5s").replace("$instance", target)
        url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': filled})}"
        with urllib.request.urlopen(url, timeout=60) as response:
            series = json.load(response)["data"]["result"]
        return [value for value in (float(one["value"][1]) for one in series) if not math.isnan(value)]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: ask("up"))
            yield ask
        finally:
            process.terminate()


def wait_until(done, seconds=120):
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError):
            if done():
                return
        time.sleep(0.1)


@needs("prometheus", "--version")
def test_each_curve_of_the_dashboard_shows_something_while_a_daemon_learns(busy, digits, prometheus):
    # A lost reply is too rare to wait for.
    waiting = {expression for expression in SHOWN if "replies_lost" not in expression}

    def none_waits():
        do_everything(busy, digits)
        waiting.difference_update([expression for expression in waiting if prometheus(expression)])
        return not waiting

    wait_until(none_waits)
    assert waiting == set()

"""What an operator runs fits together, and fits the daemon."""

from __future__ import annotations

import configparser
import contextlib
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from daemons import starter
from prometheus_client.parser import text_string_to_metric_families

from ffstream import Client, ports
from ffstream.config import Config, load
from ffstream.daemon.spawn import Spawned, free_port
from ffstream.errors import BindError, CheckpointError, ConfigError, StateError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "ffstream.service"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SCRAPE = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "ffstream.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def needs(*command):
    """Skip a test, saying so, where a program is missing."""
    found = shutil.which(command[0]) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    return pytest.mark.skipif(not found, reason=f"{shlex.join(command)} does not run here")


needs_promtool = needs("promtool", "--version")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unit():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser["Service"]


@pytest.fixture(scope="module")
def busy(tmp_path_factory, digits) -> Iterator[Spawned]:
    """A daemon that has done a little of everything."""
    with starter(tmp_path_factory.mktemp("busy")) as start:
        daemon = start()
        do_everything(daemon, digits)
        yield daemon


def do_everything(daemon, digits):
    """Feed, push, query and save; and send one message that is refused."""
    images, labels = digits
    with Client(daemon.address) as client:
        client.feed(images[:600], labels[:600])
        client.flush()
        client.push(images[:50], labels[:50])
        client.push(images[:1], [99])
        client.predict(images[:5])
        client.control("checkpoint")


# --- systemd ---


@needs("systemd-analyze", "--version")
def test_systemd_accepts_the_unit(tmp_path):
    # The program must exist to be accepted, so one that does stands in for it.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ffstream/bin/ffstream", sys.executable))
    code, output = run("systemd-analyze", "verify", str(copy))
    assert (code, UNIT.name in output) == (0, False), output


def test_systemd_does_not_restart_what_only_a_person_can_mend(unit):
    mendable = {error.exit_code for error in (ConfigError, BindError, StateError, CheckpointError)}
    assert {int(code) for code in unit["RestartPreventExitStatus"].split()} == mendable


def test_the_units_configuration_keeps_its_state_where_the_unit_lets_it():
    assert load(DEPLOY / "systemd" / "ffstream.toml").state.directory == Path("/var/lib/ffstream")


def test_the_unit_makes_that_folder(unit):
    assert unit["StateDirectory"] == "ffstream"


def test_the_unit_leaves_netlink_open_without_which_zeromq_aborts(unit):
    assert "AF_NETLINK" in unit["RestrictAddressFamilies"].split()


def test_the_unit_leaves_the_gpu_in_sight_and_torch_free_to_generate_code(unit):
    harmful = {"MemoryDenyWriteExecute", "PrivateDevices", "DevicePolicy", "ProtectClock", "ProcSubset"}
    assert harmful & set(unit) == set()


# --- container ---


def test_the_containers_configuration_can_be_reached_from_outside_and_keeps_its_state_in_the_volume():
    config = load(DEPLOY / "docker" / "ffstream.toml")
    assert config.server.host == "0.0.0.0"
    assert re.search(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)[1] == str(config.state.directory)


def test_the_image_exposes_the_six_ports():
    first = load(DEPLOY / "docker" / "ffstream.toml").server.port
    assert f"EXPOSE {first}-{first + ports.HTTP}" in DOCKERFILE


def test_the_image_does_not_run_as_root():
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert int(user) != 0


def test_the_build_context_holds_what_the_wheel_and_the_image_are_made_of():
    admitted = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    image = re.findall(r"^COPY (deploy\S*) ", DOCKERFILE, re.MULTILINE)
    project = pyproject["project"]
    for name in ["pyproject.toml", project["readme"], *project["license-files"], *wheel, *image]:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in admitted, name


def health(port):
    """Run the image's health check against a port of this host, and return its exit code."""
    command = json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)[1])
    own = f":{Config().server.port + ports.HTTP}/"
    assert own in command[-1]
    return run(sys.executable, *command[1:-1], command[-1].replace(own, f":{port}/"))[0]


def test_the_health_check_passes_while_the_daemon_lives(busy):
    assert health(busy.config.server.port + ports.HTTP) == 0


def test_the_health_check_fails_where_no_daemon_is():
    assert health(free_port()) != 0


# --- compose ---


@needs("docker", "compose", "version")
def test_docker_compose_accepts_the_file():
    code, output = run("docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet")
    assert code == 0, output


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_port_is_published_on_loopback_only(name):
    for port in COMPOSE["services"][name]["ports"]:
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_service_has_a_health_check(name):
    assert "healthcheck" in COMPOSE["services"][name] or (
        "build" in COMPOSE["services"][name] and "HEALTHCHECK" in DOCKERFILE
    )


def test_compose_and_the_unit_give_the_daemon_the_same_time_to_save(unit):
    assert COMPOSE["services"]["ffstream"]["stop_grace_period"] == unit["TimeoutStopSec"].replace("min", "m")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_mount_is_a_named_volume_or_a_file_of_this_folder(name):
    for mount in COMPOSE["services"][name]["volumes"]:
        source = mount.split(":")[0]
        assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), source


def test_prometheus_scrapes_the_compose_service():
    ((target,),) = (config["targets"] for config in SCRAPE["scrape_configs"][0]["static_configs"])
    service, port = target.split(":")
    assert service in COMPOSE["services"]
    assert int(port) == load(DEPLOY / "docker" / "ffstream.toml").server.port + ports.HTTP


def test_grafana_asks_the_compose_services_prometheus():
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    url = urllib.parse.urlsplit(provisioned["datasources"][0]["url"])
    assert COMPOSE["services"][url.hostname]["ports"][0].endswith(f":{url.port}")


def test_grafana_finds_the_dashboard_where_compose_mounts_it():
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/ffstream.yaml").read_text())
    grafana = COMPOSE["services"]["grafana"]
    mounts = {target: DEPLOY / source for source, target, *_ in (mount.split(":") for mount in grafana["volumes"])}
    path = Path(provisioned["providers"][0]["options"]["path"])
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == path
    assert (mounts[str(path)] / home.name).is_file()


# --- metrics: what is asked for is there, what is there is shown ---

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


# --- Prometheus ---


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
    # Its age is 0: promtool's clock begins at 0 as well.
    "ffstream_checkpoint_timestamp_seconds": "0+15x300",
}
ILL = {
    "FFStreamDown": (3, {'up{job="ffstream"}': "1 0x300"}),
    "FFStreamEngineStalled": (8, {'ffstream_events_total{topic="score"}': "0+60x20 1200x300"}),
    "FFStreamSamplesDropped": (12, {'ffstream_samples_dropped_total{reason="inbox_full"}': "0+1x300"}),
    "FFStreamMessagesRejected": (12, {'ffstream_messages_rejected_total{socket="queries", code="busy"}': "0+1x300"}),
    "FFStreamAccuracyFell": (65, {'ffstream_prequential_accuracy{over="window"}': "0.95x240 0.7x60"}),
    "FFStreamCheckpointFailing": (12, {'ffstream_checkpoints_total{outcome="failed"}': "1x20 2x280"}),
    "FFStreamCheckpointOld": (30, {"ffstream_checkpoint_timestamp_seconds": "0x300"}),
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


# --- Grafana ---


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
        with urllib.request.urlopen(url, timeout=5) as response:
            series = json.load(response)["data"]["result"]
        return [value for value in (float(one["value"][1]) for one in series) if not math.isnan(value)]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: ask("up"))
            yield ask
        finally:
            process.terminate()


def wait_until(done, seconds=30):
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

"""The image and the services of Docker Compose fit together, and fit the daemon."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from deployed import DEPLOY, ROOT, needs, run

from ffstream import ports
from ffstream.config import Config, load
from ffstream.daemon.spawn import free_port

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SCRAPE = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())


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


def test_the_daemon_comes_back_after_a_reboot_and_a_failed_start_is_cheap(tmp_path):
    # Docker cannot tell exit codes apart, so it tries a wrong configuration again: up to once a minute.
    assert COMPOSE["services"]["ffstream"]["restart"] == "unless-stopped"
    config = tmp_path / "f.toml"
    config.write_text("[network]\nhiden = [3]\n")
    serve = (sys.executable, "-X", "importtime", "-m", "ffstream", "serve", "-c", str(config))
    code, output = run(*serve)
    said = [line for line in output.splitlines() if not line.startswith("import time:")]
    assert (code, "hiden" in " ".join(said), "Traceback" in output) == (78, True, False)
    assert not any(line.endswith("| torch") for line in output.splitlines())


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

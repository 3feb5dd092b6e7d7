from __future__ import annotations

from ffstream.config import Config
from ffstream.doctor.configuration import check_config


def test_without_a_file_every_key_has_its_default():
    config, found = check_config(None)
    assert (config, found.verdict) == (Config(), "ok")


def test_the_keys_that_differ_from_the_defaults_are_named(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text("[network]\nhidden = [600]\n[server]\nport = 5700\nfeeders = 9\n")
    config, found = check_config(path)
    assert (config.network.hidden, found.verdict) == ((600,), "ok")
    assert found.found.endswith("is valid and sets network.hidden, server.feeders")


def test_a_file_that_is_not_valid_is_told_and_the_defaults_are_looked_at(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text("[network]\nhiden = [600]\n")
    config, found = check_config(path)
    assert (config, found.verdict) == (Config(), "fail")
    assert "did you mean 'hidden'?" in found.found
    assert "defaults" in found.advice


def test_a_file_that_is_not_there_fails(tmp_path):
    assert check_config(tmp_path / "none.toml")[1].verdict == "fail"


def test_the_environment_counts_as_it_does_for_a_daemon(monkeypatch):
    monkeypatch.setenv("FFSTREAM_SERVER__FEEDERS", "9")
    config, found = check_config(None)
    assert (config.server.feeders, found.verdict) == (9, "ok")
    assert found.found == "the environment sets server.feeders"
    monkeypatch.setenv("FFSTREAM_SERVER__FEDERS", "9")
    assert check_config(None)[1].verdict == "fail"

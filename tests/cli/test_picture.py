"""``ffstream picture`` on the directory of a daemon that runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from test_cli import run


def drawing(path):
    """Return the pixels of a picture, of which a part is drawn on."""
    pixels = np.asarray(Image.open(path).convert("L"))
    assert min(pixels.shape) > 300
    assert 0.01 < (pixels < 250).mean() < 0.99
    return pixels


@pytest.mark.parametrize("what", ["activities", "goodness", "fields"])
def test_it_draws_a_picture_of_the_newest_checkpoint_and_writes_its_numbers(directory, tmp_path, what):
    out, numbers = tmp_path / "picture.png", tmp_path / "numbers.json"
    done = run("picture", what, directory, "--out", str(out), "--json", str(numbers))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"drawn to {out}")
    drawing(out)
    assert json.loads(numbers.read_text())["checkpoint"].startswith("later, version ")


def test_goodness_tells_its_numbers_of_the_samples_that_were_asked_for(directory, tmp_path):
    out, numbers = tmp_path / "goodness.svg", tmp_path / "numbers.json"
    options = ("--dataset", "digits", "--samples", "200", "--out", str(out), "--json", str(numbers))
    done = run("picture", "goodness", directory, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(numbers.read_text())
    assert (found["samples"], found["source"]) == (200, "test images of digits")
    assert [layer["layer"] for layer in found["layers"]] == [1, 2]
    assert f"ROC area {found['layers'][0]['roc_area']:.3f}" in done.stdout
    assert "<svg" in out.read_text()


def test_a_checkpoint_may_be_named_and_a_seed_draws_the_same_again(directory, tmp_path):
    told = []
    for name, seed in (("later", "1"), ("later", "1"), ("later", "2"), ("start", "1")):
        numbers = tmp_path / "numbers.json"
        files = ("--out", str(tmp_path / "a.png"), "--json", str(numbers))
        done = run("picture", "activities", f"{directory}/{name}", "--dataset", "digits", "--seed", seed, *files)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(numbers.read_text())["versions"])
    assert told[0] == told[1]
    assert told[2] != told[0] != told[3]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["goodness", "{}/start"], 65, "--dataset digits"),
        (["activities", "{}/nobody"], 73, "no such directory"),
        (["goodness", "{}", "--dataset", "nothing"], 66, "no data set is called 'nothing'"),
        (["fields", "{}", "--out", "x.bmp"], 2, ".png, .svg or .pdf"),
        (["fields", "{}", "--out", "{}/missing/x.png"], 2, "there is no folder"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(directory, arguments, code, said):
    result = run("picture", *(argument.format(directory) for argument in arguments))
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_directory_without_a_checkpoint_says_how_one_is_made(tmp_path):
    result = run("picture", "fields", str(tmp_path))
    assert result.returncode == 65
    assert "ffstream ctl checkpoint" in result.stderr

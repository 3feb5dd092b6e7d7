from __future__ import annotations

import pytest

from ffstream.errors import ConfigError
from ffstream.experiments.row import find, load

ROW = """
name = "mine"
title = "Mine"
dataset = "digits"
passes = 1
batch = 16
{more}
[network]
shape = [8, 8]
{network}
"""


@pytest.fixture
def written(tmp_path):
    def write(more="", network="", name="mine"):
        file = tmp_path / f"{name}.toml"
        file.write_text(ROW.format(more=more, network=network))
        return file

    return write


def test_the_bundled_rows_are_there_and_valid():
    rows = find()
    assert {"article-overlay", "supervised-overlay", "assembly", "backprop", "frozen", "recurrent"} <= {
        row.name for row in rows
    }
    assert {row.method for row in rows} == {"forward", "backprop", "frozen", "recurrent"}


def test_the_published_figures_are_percent_and_have_a_source():
    published = {row.name: row.published_error for row in find() if row.published_error is not None}
    assert published["article-overlay"] == 4.74
    assert published["supervised-overlay"] == 1.36
    assert published["recurrent"] == 1.31


@pytest.mark.parametrize(
    ("more", "network", "told"),
    [
        ("seeds = 0", "", "seeds"),
        ("jiter = 2", "", "jiter: unknown key; did you mean 'jitter'"),
        ("", 'coding = "overley"', "network.coding"),
        ("", "hiden = [3]", "network.hiden: unknown key; did you mean 'hidden'"),
        ("rate = 1e-3", "", r"forward takes that of \[optimizer\]"),
        ("published_error = 4.74", "", "needs a source"),
        ("decay = 2.0", "", "decay"),
        ("jitter = 1", "", None),
    ],
)
def test_a_row_that_says_something_impossible_is_refused_naming_file_and_key(written, more, network, told):
    file = written(more, network)
    if told is None:
        assert load(file).jitter == 1
        return
    with pytest.raises(ConfigError, match=told) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")


def test_an_optimizer_belongs_to_forward_alone(written):
    with pytest.raises(ConfigError, match="backprop learns by Adam"):
        load(written('method = "backprop"', "[optimizer]\nrate = 1e-3"))


def test_an_unknown_data_set_is_refused(written):
    file = written()
    file.write_text(file.read_text().replace('"digits"', '"digit"'))
    with pytest.raises(ConfigError, match="'digit' is unknown"):
        load(file)


def test_a_row_is_called_as_its_file(written):
    with pytest.raises(ConfigError, match="must match the file's name, 'other'"):
        load(written(name="other"))


def test_rows_of_a_folder_stand_beside_the_bundled_ones_and_may_replace_them(written, tmp_path):
    written()
    replaced = written(name="assembly")
    replaced.write_text(replaced.read_text().replace('"mine"', '"assembly"'))
    rows = {row.name: row for row in find(tmp_path)}
    assert {"mine", "backprop"} <= rows.keys()
    assert rows["assembly"].dataset == "digits"


def test_rows_come_in_the_order_in_which_they_are_asked_for():
    assert [row.name for row in find(names=["frozen", "assembly"])] == ["frozen", "assembly"]


def test_a_row_that_is_not_there_is_refused_naming_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'frozen'"):
        find(names=["frosen"])
    with pytest.raises(ConfigError, match="not a folder"):
        find(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        {"passes": 5},
        {"jitter": 1},
        {"decay": 0.0},
        {"network": {"shape": [8, 8], "hidden": [40, 41]}},
        {"optimizer": {"rate": 2e-3}},
    ],
)
def test_whatever_changes_the_figures_changes_the_stamp(declare, change):
    assert declare(**change).stamp(0, [b"labels"]) != declare().stamp(0, [b"labels"])


def test_the_stamp_tells_seeds_and_data_apart_but_not_prose(declare):
    row = declare()
    assert len({row.stamp(0, [b"a"]), row.stamp(1, [b"a"]), row.stamp(0, [b"b"])}) == 3
    assert declare(title="Another", seeds=9).stamp(0, [b"a"]) == row.stamp(0, [b"a"])

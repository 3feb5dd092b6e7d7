from __future__ import annotations

import copy
import tomllib

import pytest

from ffstream.config import validate
from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments.deprivation import plan as planning
from ffstream.experiments.deprivation.plan import Plan, Segment


def declare(*path_and_value):
    """Declare the quick plan, with the value at a path changed."""
    told = tomllib.loads(planning.text(quick=True))
    if path_and_value:
        *path, key, value = path_and_value
        place = told
        for part in path:
            place = place[part]
        place[key] = copy.deepcopy(value)
    return validate(Plan, told, "own.toml")


@pytest.mark.parametrize("quick", [True, False])
def test_a_bundled_plan_is_valid_and_comes_out_as_it_is_written(quick, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(planning.text(quick=quick))
    assert planning.load(file) == planning.load(None, quick=quick)


def test_the_bundled_plan_has_every_kind_of_manipulation_and_two_recipes():
    plan = planning.load(None)
    assert {arm.timeline[0].do for arm in plan.arms.values()} == {"deprived", "restricted", "sham", "asleep"}
    assert len(plan.recipes) == 2
    assert plan.recipes["default"].optimizer.rule == "in_place"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("dataset", "mnits"), "own.toml: .*'mnits' is unknown"),
        (("margin", 0), "margin: .*greater than 0"),
        (("arms", "deprived-40", "timeline", []), "arms.deprived-40.timeline: "),
        (("arms", "deprived-40", "timeline", [{"do": "awake", "steps": 3}]), "timeline.0.do: .*'rested', 'deprived'"),
        (("arms", "deprived-40", "timeline", [{"do": "sham", "steps": 0}]), "timeline.0.steps: "),
        (("arms", "sham", "timeline", [{"do": "sham", "stesp": 3}]), "unknown key; did you mean 'steps'"),
        (("arms", "sham", "timeline", [{"do": "sham", "steps": 3, "naps": 0.5}]), "'restricted' needs naps, a share"),
        (("arms", "sham", "timeline", [{"do": "restricted", "steps": 3}]), "'restricted' needs naps, a share"),
        (
            ("arms", "rested", {"title": "x", "timeline": [{"do": "rested", "steps": 3}]}),
            "arms.rested: is always added",
        ),
        (("recipes", "default", "network", {"hiden": [4]}), "network.hiden: unknown key; did you mean 'hidden'"),
        (
            ("recipes", "default", "network", {"readout": "all", "prediction": "readout"}),
            "network.prediction must be one of goodness, upper_goodness, top_goodness",
        ),
        (("recipes", "default", "network", {"threshold": "running"}), "network.threshold must be a number"),
        (
            ("recipes", "default", {"title": "x", "network": {"coding": "overlay"}, "dreams": {"source": "dream"}}),
            r"own.toml: recipes.default: .* set network.coding = 'assembly'",
        ),
        (("recipes", "default", "phases", {"schedule": "together"}), "arms.short-nights: only the schedule"),
    ],
)
def test_a_plan_that_cannot_be_says_where(change, told):
    with pytest.raises(ConfigError, match=told):
        declare(*change)


def test_a_network_of_other_data_is_refused():
    plan, data = declare("recipes", "default", "network", {"shape": [5, 5]}), datasets.load("digits", None)
    with pytest.raises(ConfigError, match=r"network.shape = \[5, 5\], but digits has \[8, 8\]"):
        plan.config(plan.recipes["default"], data, 0, "cpu")


def test_data_batch_and_seed_are_the_experiments():
    plan, data = declare(), datasets.load("digits", None)
    config = plan.config(plan.recipes["default"], data, 3, "cpu")
    assert (config.network.shape, config.network.labels, config.network.seed) == ((8, 8), 10, 3)
    assert (config.engine.max_batch, config.engine.device, config.engine.compile) == (32, "cpu", False)


def test_what_a_recipe_says_of_every_section_is_what_is_lived_by():
    said = {
        "network": {"hidden": [20]},
        "optimizer": {"rate": 2e-3},
        "phases": {"wake_steps": 5},
        "dreams": {"source": "hybrid"},
        "engine": {"memory_samples": 7},
    }
    plan = declare("recipes", "default", {"title": "x", **said})
    config = plan.config(plan.recipes["default"], datasets.load("digits", None), 0, "cpu")
    beside = {"network": {"shape": (8, 8)}, "engine": {"max_batch": 32, "device": "cpu"}}
    for name, values in said.items():
        section, default = getattr(config, name), type(getattr(config, name))()
        expected = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        assert section == default.model_copy(update={**expected, **beside.get(name, {})})


def test_some_arms_and_recipes_can_be_named():
    plan = declare().only(arms=["sham", "rested"], recipes=[])
    assert ([*plan.arms], [*plan.recipes]) == (["sham"], ["default"])
    with pytest.raises(ConfigError, match="--arms shame: there is no such name; choose from sham"):
        plan.only(arms=["shame"], recipes=[])


def test_a_segment_is_looked_at_behind_naps_and_at_its_end():
    plan = declare("recipes", "default", "phases", {"wake_steps": 6, "sleep_steps": 6})
    recipe = plan.recipes["default"]
    looks = plan.looks(recipe, Segment(do="deprived", steps=100))
    assert looks[-1] == 100
    assert all(step % 6 == 0 for step in looks[:-1])
    assert plan.looks(recipe, Segment(do="asleep", steps=1)) == [1]


def test_the_reference_is_looked_at_whenever_an_arm_is():
    plan = declare()
    recipe = plan.recipes["default"]
    looks = set(plan.looks_at_reference(recipe))
    deprived, rested = plan.arms["deprived-200"].timeline
    assert {*plan.looks(recipe, deprived), *(200 + step for step in plan.looks(recipe, rested))} <= looks
    assert max(looks) == plan.reference.batches == 280


def test_steps_of_nothing_but_sleep_are_no_batches_of_the_reference():
    plan = declare().only(arms=["oversleep"], recipes=[])
    recipe, (_, rested) = plan.recipes["default"], plan.arms["oversleep"].timeline
    assert plan.looks_at_reference(recipe) == plan.looks(recipe, rested)


def test_another_arm_makes_another_life_of_the_reference_alone():
    plan, more = declare(), declare("arms", "more", {"title": "x", "timeline": [{"do": "deprived", "steps": 60}]})
    assert plan.reference == more.reference
    same = {
        name: plan.stamp("default", name, 0, []) == more.stamp("default", name, 0, []) for name in ("rested", "sham")
    }
    assert same == {"rested": False, "sham": True}


def test_a_stamp_changes_with_what_counts_and_not_with_what_does_not():
    stamp = declare().stamp("default", "sham", 0, ["in process"])
    assert stamp == declare("arms", "sham", "title", "another").stamp("default", "sham", 0, ["in process"])
    assert stamp == declare("margin", 2.0).stamp("default", "sham", 0, ["in process"])
    assert stamp != declare("warm_up", 201).stamp("default", "sham", 0, ["in process"])
    assert stamp != declare("recipes", "default", "optimizer", {"rate": 1e-3}).stamp(
        "default", "sham", 0, ["in process"]
    )
    assert (
        len({stamp, declare().stamp("default", "sham", 1, ["in process"]), declare().stamp("default", "sham", 0, [])})
        == 3
    )

"""The derived step size learns in networks of any shape, and never diverges."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ffstream.data import datasets
from ffstream.experiments.steps import AXES, Plan, draw_shapes, make_stream, measure, run, table, vary_shapes

SAMPLES = 640


@pytest.fixture(scope="module")
def plan():
    return Plan([], SAMPLES, 1, (1e-3,), (2.0,), datasets.load("digits", Path()))


SHAPES = [shape for shape in vary_shapes() if shape.width < 2000 and shape.labels <= 100]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, dataclasses.astuple(shape))))
def test_whatever_varies_the_weights_stay_finite_and_something_is_learned(plan, shape):
    found = run(shape, "auto", 1.0, 0, *make_stream(shape, plan, 0))
    assert found.finite
    # Overlay takes more samples than these, and so do 100 labels and a batch that leaves two steps.
    slow = shape.coding == "overlay" or shape.labels == 100 or shape.batch == 512
    assert found.held_out_accuracy > (1 if slow else 2.5) / max(shape.labels, 4)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 10.0, 1e4])
@pytest.mark.parametrize("batch", [1, 64])
def test_no_step_size_that_is_set_by_hand_makes_the_weights_infinite(plan, rate, batch):
    shape = dataclasses.replace(SHAPES[0], batch=batch, width=24)
    assert run(shape, rate, 1.0, 0, *make_stream(shape, plan, 0)).finite


def test_shapes_are_drawn_alike_from_a_seed_and_each_once():
    one, other = draw_shapes(40), draw_shapes(40)
    assert one == other
    assert len(set(one)) == 40
    assert {shape.coding for shape in one} == set(AXES["coding"])


def test_the_table_begins_with_the_shape_that_falls_shortest(plan):
    shapes = [dataclasses.replace(SHAPES[0], width=width, depth=1) for width in (16, 64)]
    rows = [dataclasses.asdict(row) for row in measure(dataclasses.replace(plan, shapes=shapes), lambda: None)]
    assert [(row["shape"]["width"], row["rate"], row["multiple"]) for row in rows] == [
        (width, *step) for width in (16, 64) for step in (("auto", 1.0), ("auto", 2.0), (1e-3, 1.0))
    ]
    gaps = [float(line["auto less the best rate"]) for line in table(rows)]
    assert gaps == sorted(gaps)
    assert {line["finite"] for line in table(rows)} == {"yes"}


def test_no_test_image_is_scored(plan):
    shape = dataclasses.replace(SHAPES[0], labels=10)
    (_, learned), (inputs, _) = make_stream(shape, plan, 0)
    images = {image.tobytes() for image in plan.digits.test[0].astype("float32")}
    assert len(learned) == SAMPLES
    assert not images & {image.tobytes() for image in inputs}

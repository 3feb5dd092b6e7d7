"""What a layer learns is what autograd computes from the plain formula; autograd itself is used in tests alone."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, get_args

import pytest
import torch
from plain_forward import LABELS, PHASES, configure, make_labels, make_layer, relative_error, seeded
from plain_layer import PlainLayer, levels
from torch import Tensor

from ffstream.config import NetworkConfig
from ffstream.config.network import Activation, Against, Goodness
from ffstream.ff.judging import Verdict
from ffstream.ff.layers import Layer
from ffstream.ff.lesson import Phase, Teaching
from ffstream.ff.stepsize import EARLY

LEARNING, ROWS = 5, 7
SIGNS = {Phase.WAKE: [1.0], Phase.SLEEP: [0.0], Phase.TOGETHER: [1.0, 0.0]}
LABELLED = make_labels(LEARNING)
NEGATIVES = (LABELLED + torch.tensor([1, 2, 3, 1, 2])) % LABELS
WEIGHTS = torch.tensor([1.0, 0.25, 1.0, 0.5, 1.0], dtype=torch.float64)
# Images are not square, so that no side is taken for the other.
IMAGE = {"kind": "convolution", "units": 9, "kernel": 2}
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"shape": (12,), "hidden": (9,)},
    "local": {"shape": (2, 3, 5), "layers": ({**IMAGE, "kind": "local"},)},
    "local by region": {"shape": (2, 3, 5), "layers": ({**IMAGE, "kind": "local", "regions": 2},)},
    "convolution": {"shape": (2, 3, 5), "layers": (IMAGE,)},
    "convolution by region": {"shape": (2, 3, 5), "layers": ({**IMAGE, "regions": 2},)},
    "convolution by place": {"shape": (2, 3, 5), "layers": ({**IMAGE, "regions": 0},)},
}
CODINGS = ("disjoint", "random", "learned", "context", "overlay", "none")
FORMS = [
    {"goodness": goodness, "against": against, "activation": activation}
    for goodness, against, activation in itertools.product(get_args(Goodness), get_args(Against), get_args(Activation))
]


def goes_with(coding: str, form: dict[str, str]) -> bool:
    """Whether a coding has a meaning under a form; the configuration refuses the others."""
    if coding == "learned" and form["goodness"] in ("ratio", "topk"):
        return False
    return coding != "none" or form["against"] != "labels"


def lesson(config: NetworkConfig, phase: Phase) -> tuple[Teaching, Tensor]:
    """Teach the first rows, and return the targets (m, t) beside it; the noise of ``judged`` draws ``NEGATIVES``."""
    labelled = torch.zeros_like(LABELLED) if config.coding == "none" else LABELLED
    if config.corruption is None:
        signs = torch.tensor(SIGNS[phase], dtype=torch.float64).expand(ROWS, -1)
        targets = torch.stack([LABELLED if sign else NEGATIVES for sign in SIGNS[phase]], 1)
    else:
        # Some rows are real and some corrupted: each has one target.
        mixed = torch.arange(ROWS, dtype=torch.float64).remainder(2)
        signs = {Phase.WAKE: torch.ones_like(mixed), Phase.SLEEP: torch.zeros_like(mixed)}.get(phase, mixed)[:, None]
        targets = labelled[:, None]
    labels, weights = torch.zeros(ROWS, 1, dtype=torch.int64), torch.zeros(ROWS, 1, dtype=torch.float64)
    labels[:LEARNING, 0], weights[:LEARNING, 0] = labelled, WEIGHTS
    return Teaching(labels, signs, weights), targets


def judged(layer: Layer, x: Tensor, teaching: Teaching) -> Verdict:
    noise = torch.ones(ROWS, LABELS, dtype=torch.float64)
    noise[torch.arange(LEARNING), NEGATIVES] = 1e-90
    believed = torch.zeros(ROWS, layer.form.labels, dtype=torch.float64)
    return layer.judge(x, believed, torch.tensor(0.0), noise, teaching)


def errors(coding: str, phase: Phase, keys: dict[str, Any]) -> dict[str, float]:
    """Return how far what a layer learns is from autograd's, by tensor."""
    # So fast that some of the rows are a crowd.
    config, layer = configure(coding, **keys), make_layer(coding, rate=2.0, **keys)
    # And some labels new.
    layer.form = dataclasses.replace(layer.form, bound=layer.form.bound._replace(early=2.0))
    layer.running.taught.copy_(torch.arange(len(layer.running.taught)) * EARLY / 3 + 30)
    x = torch.randn(ROWS, LABELS if coding == "overlay" else 1, config.width, generator=seeded(5), dtype=torch.float64)
    teaching, targets = lesson(config, phase)
    tensors = {name: tensor.clone() for name, tensor in layer.state().items()} | {
        "thresholds": layer.running.thresholds.clone(),
        "activity": layer.running.activity.clone(),
    }
    learned = ("weight", *layer.form.coding.parameters())
    for name in learned:
        tensors[name].requires_grad_()
    plain = PlainLayer(config, 0, tensors, layer.form.bound.crowd, 2.0)
    paths = [x[:LEARNING, c % x.shape[1]] for c in range(plain.labels)]
    loss, activity = plain.lesson(paths, targets, teaching.signs[:LEARNING], WEIGHTS)
    loss.backward()
    verdict = judged(layer, x, teaching)
    formed = torch.zeros_like(layer.weight)
    layer.gradient(x, verdict.delta, verdict.moved, LEARNING).accumulate(formed, 0.0, 1.0)
    found = {"weight": relative_error(formed, tensors["weight"].grad)}
    for name in learned[1:]:
        found[name] = relative_error(verdict.label_weights, tensors[name].grad)
    assert (verdict.label_weights is None) == (len(learned) == 1)
    if config.peer:
        activity = tensors["activity"] if activity is None else activity
        found["activity"] = relative_error(layer.running.activity, activity)
    return found


def check(coding: str, kind: str, phases: tuple[Phase, ...], forms: list[dict[str, Any]]) -> None:
    wrong = []
    for form, phase in itertools.product(forms, phases):
        keys = {"top_share": 0.4, "temperature": 2.0, **KINDS[kind], **form}
        wrong += [(form, phase, name, error) for name, error in errors(coding, phase, keys).items() if not error < 1e-5]
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_layer_learns_is_the_gradient_that_autograd_computes(kind, coding):
    check(coding, kind, PHASES, [form for form in FORMS if goes_with(coding, form)])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_peers_pull_with_their_running_activity_held(kind, coding):
    forms = [{"peer": 0.3, "activation": "gelu", "against": against} for against in get_args(Against)]
    check(coding, kind, PHASES, [form for form in forms if goes_with(coding, {"goodness": "squares", **form})])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_and_temperatures_are_a_number_the_width_or_running(kind, coding):
    forms = [
        {"goodness": goodness, "threshold": threshold, "temperature": temperature, "activation": "tanh"}
        for goodness in ("squares", "minimised", "mean")
        for threshold, temperature in (("width", "width"), ("running", 2.0), ("width", 0.5), (1.5, "width"))
    ]
    check(coding, kind, (Phase.TOGETHER,), forms)


@pytest.mark.parametrize("coding", ["disjoint", "context", "overlay"])
def test_labelled_rows_and_their_corrupted_copies_teach_each_by_their_sign(coding):
    forms = [{"negatives": "shuffled", **form} for form in FORMS if form["activation"] in ("gelu", "relu")]
    check(coding, "convolution by region", PHASES, forms)


def test_every_kind_has_the_places_that_it_is_meant_to_have():
    assert {name: levels(configure("disjoint", **keys))[0] for name, keys in KINDS.items()} == {
        "dense": ((12, 1, 1), (1, 1)),
        **{name: ((2, 3, 5), (2, 4)) for name in KINDS if name != "dense"},
    }

"""One sweep, two jobs: what it answers is untouched by what it learns, and what it learns by what it answers."""

from __future__ import annotations

import itertools

import pytest
import torch
from plain_forward import (
    CODINGS,
    LABELS,
    NETWORKS,
    OPTIONS,
    PHASES,
    RULES,
    copy_of,
    equal,
    learn,
    make_labels,
    make_network,
    make_rows,
    plain_inputs,
    plain_layers,
    plain_negative,
    plain_scores,
    seeded,
)
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from ffstream.ff.lesson import Lesson, Phase

# More rows than are a crowd for any coding.
CROWDED = 400
LEARNING, QUERIES = 8, 5
LEARNED = ("weight", "context", "assemblies")
# Every coding under every rule, and every other option under one rule.
RULED = [
    *itertools.product(CODINGS, RULES),
    *zip(OPTIONS, itertools.islice(itertools.cycle(RULES), len(OPTIONS)), strict=True),
]


def plain_negatives(scores: torch.Tensor, labels: torch.Tensor, negatives: str, seed: int = 3) -> torch.Tensor:
    """Draw the wrong labels (m, layers) that a network would that finds goodness (m, layers, C)."""
    generator, columns = seeded(seed), []
    for depth in range(scores.shape[1]):
        belief = scores[:, : depth + 1].mean(1) * (negatives == "belief")
        noise = torch.empty_like(belief).exponential_(generator=generator)
        rows = zip(belief.tolist(), labels.tolist(), noise.tolist(), strict=True)
        columns.append(torch.tensor([plain_negative(*row) for row in rows]))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("learned", [0, 3])
@pytest.mark.parametrize("coding", NETWORKS)
def test_a_sweep_scores_as_a_plain_forward_pass_does(coding, learned):
    network = make_network(coding)
    for seed in range(learned):
        learn(network, make_rows(LEARNING, seed), LEARNING)
    rows = make_rows(LEARNING + QUERIES)
    expected, found = plain_scores(network, rows), network.sweep(rows)
    torch.testing.assert_close(found.goodness, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.total, expected.sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("coding", "rule"), RULED)
class TestLearningBesideQueries:
    def test_learning_leaves_the_answers_of_every_row_bit_for_bit_as_they_are(self, coding, phase, rule):
        rows = make_rows(LEARNING + QUERIES)
        answered = make_network(coding, rule).sweep(rows)
        taught = learn(make_network(coding, rule), rows, LEARNING, phase)
        assert torch.equal(taught.total, answered.total)
        assert torch.equal(taught.evidence, answered.evidence)
        assert torch.equal(taught.goodness, answered.goodness[LEARNING:])

    def test_what_the_queries_hold_changes_nothing_about_what_is_learned(self, coding, phase, rule):
        one, other = make_network(coding, rule), make_network(coding, rule)
        taught = make_rows(LEARNING)
        learn(one, torch.cat([taught, make_rows(QUERIES, 8)]), LEARNING, phase)
        learn(other, torch.cat([taught, make_rows(QUERIES, 9) * 50]), LEARNING, phase)
        assert equal(copy_of(one), copy_of(other))

    def test_a_lesson_without_queries_teaches_the_same(self, coding, phase, rule):
        alone, beside = make_network(coding, rule), make_network(coding, rule)
        rows = make_rows(LEARNING + QUERIES)
        learn(alone, rows[:LEARNING], LEARNING, phase)
        learn(beside, rows, LEARNING, phase)
        for name, tensor in alone.state().items():
            torch.testing.assert_close(tensor, beside.state()[name], rtol=1e-4, atol=1e-6)

    def test_a_lesson_changes_the_weights_of_every_layer(self, coding, phase, rule):
        network = make_network(coding, rule)
        before = copy_of(network)
        learn(network, make_rows(LEARNING), LEARNING, phase)
        assert not any(torch.equal(before[f"{i}.weight"], layer.weight) for i, layer in enumerate(network.layers))

    def test_nothing_requires_a_gradient_after_a_sweep(self, coding, phase, rule):
        network = make_network(coding, rule)
        scores = learn(network, make_rows(LEARNING + QUERIES), LEARNING, phase)
        found = [scores.evidence, scores.total, scores.goodness, scores.shown, scores.real, *network.state().values()]
        assert not any(tensor.requires_grad for tensor in found)

    def test_writing_a_state_back_restores_a_network_bit_for_bit(self, coding, phase, rule):
        going, fresh = make_network(coding, rule), make_network(coding, rule, seed=1)
        learn(going, make_rows(LEARNING), LEARNING, phase)
        for name, tensor in fresh.state().items():
            tensor.copy_(going.state()[name])
        for network in (going, fresh):
            learn(network, make_rows(LEARNING, 4), LEARNING, phase, seed=5)
        assert equal(copy_of(going), copy_of(fresh))


@pytest.mark.parametrize("phase", [*PHASES, None])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("coding", NETWORKS)
def test_the_answer_to_a_query_does_not_depend_on_the_lesson(coding, precision, phase):
    rows = make_rows(LEARNING + QUERIES)
    network, other = (make_network(coding, precision=precision) for _ in range(2))
    expected = learn(network, rows, LEARNING)
    rows[:LEARNING] = 7 * make_rows(LEARNING, 6)
    found = other.sweep(rows, phase and Lesson(make_labels(LEARNING, 9), phase), seeded(8))
    assert torch.equal(found.total[LEARNING:], expected.total[LEARNING:])
    assert torch.equal(found.goodness[-QUERIES:], expected.goodness)


@pytest.mark.parametrize(("m", "negatives"), [(LEARNING, "belief"), (LEARNING, "uniform"), (CROWDED, "belief")])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", [name for name in NETWORKS if name != "held"])
def test_each_layer_goes_down_the_gradient_of_its_own_loss(coding, phase, negatives, m):
    network, twin = (make_network(coding, negatives=negatives) for _ in range(2))
    for made in (network, twin):
        learn(made, make_rows(LEARNING, 7), LEARNING)
    rows, labels = make_rows(m + QUERIES), make_labels(m)
    wrong = plain_negatives(plain_scores(twin, rows[:m]), labels, negatives)
    paths = [plain_inputs(twin, rows[:m], label) for label in range(LABELS)]
    weights = torch.ones(m)
    learn(network, rows, m, phase)
    for depth, (plain, taught) in enumerate(zip(plain_layers(twin), network.layers, strict=True)):
        plain.tensors |= {"activity": twin.layers[depth].running.activity}
        learned = {name: plain.tensors[name].requires_grad_() for name in ("weight", *taught.form.coding.parameters())}
        targets = torch.stack([labels] * phase.raises + [wrong[:, depth]] * phase.lowers, 1)
        signs = torch.tensor([1.0] * phase.raises + [0.0] * phase.lowers).expand(m, -1)
        plain.lesson([path[depth] for path in paths], targets, signs, weights)[0].backward()
        for name, before in learned.items():
            moved = taught.state()[name] - before.detach()
            torch.testing.assert_close(moved, -0.01 * before.grad, rtol=1e-3, atol=1e-5)


def moved_by(coding: str, count: int) -> dict[str, torch.Tensor]:
    """Return how far so many copies of a sample move every tensor in one step."""
    network = make_network(coding, rate=0.02)
    before = copy_of(network)
    network.sweep(make_rows(1).expand(count, -1), Lesson(torch.full((count,), 0), Phase.WAKE))
    return {name: tensor - before[name] for name, tensor in network.state().items() if name != "centre"}


@pytest.mark.parametrize("m", [1, 2, 8])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_sample_moves_the_weights_as_far_alone_as_in_a_batch(coding, m):
    alone, batch = moved_by(coding, 1), moved_by(coding, m)
    for name, step in alone.items():
        torch.testing.assert_close(batch[name], step * m, rtol=1e-3, atol=2e-5)
    assert min(float(alone[f"{i}.weight"].abs().max()) for i in range(2)) > 1e-3


@pytest.mark.parametrize("coding", CODINGS)
def test_samples_that_crowd_the_same_units_share_one_bounded_step(coding):
    few, many = moved_by(coding, 50 * CROWDED), moved_by(coding, 100 * CROWDED)
    for name in ("0.weight", "1.weight"):
        torch.testing.assert_close(few[name], many[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("negatives", ["belief", "uniform"])
def test_wrong_labels_are_drawn_from_the_mean_goodness_of_the_layers_so_far(negatives, phase):
    network, labels, rows = make_network("context", negatives=negatives), make_labels(LEARNING), make_rows(13)
    goodness = plain_scores(network, rows[:LEARNING])
    shown = learn(network, rows, LEARNING, phase).shown
    wrong = plain_negatives(goodness, labels, negatives)
    expected = [labels.unsqueeze(1).expand(-1, 2)] * phase.raises + [wrong] * phase.lowers
    torch.testing.assert_close(shown, goodness.gather(2, torch.stack(expected, 2)), rtol=1e-4, atol=1e-5)


def test_a_lesson_that_lowers_goodness_needs_a_generator():
    with pytest.raises(ValueError, match="generator"):
        make_network("disjoint").sweep(make_rows(2), Lesson(make_labels(2), Phase.SLEEP))


@pytest.mark.parametrize("coding", [*NETWORKS, "none"])
def test_a_sweep_without_a_lesson_changes_nothing(coding):
    network = make_network(coding)
    before = copy_of(network)
    network.sweep(make_rows(QUERIES))
    assert equal(before, copy_of(network))


@pytest.mark.parametrize("coding", [*NETWORKS, "none"])
def test_the_same_generator_repeats_a_sweep_bit_for_bit(coding):
    one, same, other = (make_network(coding) for _ in range(3))
    for network, seed in ((one, 3), (same, 3), (other, 4)):
        learn(network, make_rows(LEARNING), LEARNING, seed=seed)
    assert equal(copy_of(one), copy_of(same))
    assert not equal(copy_of(one), copy_of(other))


@pytest.mark.parametrize("coding", [*NETWORKS, "none"])
def test_the_seed_alone_decides_the_first_tensors(coding):
    one, same, other = (copy_of(make_network(coding, seed=seed)) for seed in (0, 0, 1))
    assert equal(one, same)
    assert not torch.equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize("coding", [*NETWORKS, "none"])
def test_the_rows_that_were_passed_in_are_left_alone(coding):
    rows = make_rows(LEARNING)
    before = rows.clone()
    learn(make_network(coding), rows, LEARNING)
    assert torch.equal(rows, before)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_weights_have_the_precision_of_the_configuration(precision, dtype):
    network = make_network("disjoint", precision=precision)
    assert {layer.weight.dtype for layer in network.layers} == {dtype}
    assert {network.centre.dtype, *(layer.running.centre.dtype for layer in network.layers)} == {torch.float32}


@pytest.mark.parametrize("coding", NETWORKS)
def test_bfloat16_scores_as_float32_does_within_its_rounding(coding):
    rows = make_rows(200)
    exact, rounded = (make_network(coding, precision=p).sweep(rows).total for p in ("float32", "bfloat16"))
    assert 1e-5 < (rounded - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize(("coding", "rule"), [pair for pair in RULED if pair[0] != "held"])
def test_annealing_scales_every_step(coding, rule):
    def moved(share: float) -> dict[str, torch.Tensor]:
        network = make_network(coding, rule, readout="all")
        network.anneal(0.5)
        network.anneal(share)
        before = copy_of(network)
        learn(network, make_rows(LEARNING), LEARNING)
        learned = [name for name in before if name.rpartition(".")[2] in LEARNED and "rule" not in name]
        return {name: network.state()[name] - before[name] for name in learned}

    # One sweep meets weights that no step has moved yet, so its steps are of one size but for the rate.
    whole, quarter = moved(1.0), moved(0.25)
    for name, step in whole.items():
        torch.testing.assert_close(quarter[name], 0.25 * step, rtol=1e-3, atol=1e-6)
        assert step.any()


@pytest.mark.parametrize("rule", RULES)
def test_a_network_annealed_to_nothing_stands_still(rule):
    network = make_network("context", rule, readout="all")
    before = copy_of(network)
    network.anneal(0.0)
    learn(network, make_rows(LEARNING), LEARNING)
    for name in ("0.weight", "1.weight", "0.context", "readout.weight"):
        assert torch.equal(network.state()[name], before[name])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_sweep_on_a_gpu_agrees_with_one_on_the_cpu(coding, rule):
    rows, labels = make_rows(LEARNING + QUERIES), make_labels(LEARNING)
    here, there = make_network(coding, rule), make_network(coding, rule, device="cuda")
    there_rows, draws = rows.cuda(), torch.Generator("cuda").manual_seed(0)
    for _ in range(3):
        # Awake: the devices draw different wrong labels from one seed, and awake none is used.
        expected = here.sweep(rows, Lesson(labels, Phase.WAKE), seeded())
        found = there.sweep(there_rows, Lesson(labels.cuda(), Phase.WAKE), draws)
        torch.testing.assert_close(found.total.cpu(), expected.total, rtol=1e-3, atol=1e-3)
    asleep = there.sweep(there_rows, Lesson(labels.cuda(), Phase.SLEEP), draws)
    assert asleep.goodness.shape == (QUERIES, 2, LABELS)
    assert asleep.total.isfinite().all()


class Asked(TorchDispatchMode):
    """Notes the calls for which a GPU would be waited for, since the host needs what they find."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2"):
            self.calls.append(name)
        return operator(*args, **kwargs or {})


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_sweep_asks_for_nothing_that_is_on_the_device(monkeypatch, name, phase):
    # torch's looks at the labels first, on a CPU alone.
    monkeypatch.setattr(functional, "one_hot", lambda labels, count: torch.eye(count, dtype=torch.int64)[labels])
    network = make_network(name)
    learn(network, make_rows(9), 6, phase)
    with Asked() as asked:
        learn(network, make_rows(9), 6, phase).labels()
    # How many rows are learned, which is on the host; and a read-out, whether any row has a label.
    assert asked.calls == ["_local_scalar_dense"] * (len(network.layers) + (network.readout is not None))

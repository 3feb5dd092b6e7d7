"""One sweep, two jobs: what it answers is untouched by what it learns, and what it learns by what it answers."""

from __future__ import annotations

import pytest
import torch
from plain_forward import (
    CODINGS,
    LABELS,
    PHASES,
    RULES,
    UNITS,
    WIDTH,
    copy_of,
    equal,
    learn,
    make_labels,
    make_network,
    make_rows,
    plain_inputs,
    plain_loss,
    plain_negative,
    plain_scores,
    seeded,
)

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import FULL_STEP, Network, Scores, dtype_of

LEARNING, QUERIES = 8, 5


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
@pytest.mark.parametrize("coding", CODINGS)
def test_a_sweep_scores_as_a_plain_forward_pass_does(coding, learned):
    network = make_network(coding)
    for seed in range(learned):
        learn(network, make_rows(LEARNING, seed), LEARNING)
    rows = make_rows(LEARNING + QUERIES)
    expected, found = plain_scores(network, rows), network.sweep(rows)
    torch.testing.assert_close(found.goodness, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.total, expected.sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
class TestLearningBesideQueries:
    def test_learning_leaves_the_answers_of_every_row_bit_for_bit_as_they_are(self, coding, phase, rule):
        rows = make_rows(LEARNING + QUERIES)
        answered = make_network(coding, rule).sweep(rows)
        taught = learn(make_network(coding, rule), rows, LEARNING, phase)
        assert torch.equal(taught.total, answered.total)
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
        assert not any(torch.equal(before[f"{i}.weight"], network.layers[i].weight) for i in range(2))

    def test_nothing_requires_a_gradient_after_a_sweep(self, coding, phase, rule):
        network = make_network(coding, rule)
        scores = learn(network, make_rows(LEARNING + QUERIES), LEARNING, phase)
        found = [scores.total, scores.goodness, scores.shown, *network.state().values()]
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
@pytest.mark.parametrize("coding", CODINGS)
def test_the_answer_to_a_query_does_not_depend_on_the_lesson(coding, precision, phase):
    rows = make_rows(LEARNING + QUERIES)
    network, other = (make_network(coding, precision=precision) for _ in range(2))
    expected = learn(network, rows, LEARNING)
    rows[:LEARNING] = 7 * make_rows(LEARNING, 6)
    found = other.sweep(rows, phase and Lesson(make_labels(LEARNING, 9), phase), seeded(8))
    assert torch.equal(found.total[LEARNING:], expected.total[LEARNING:])
    assert torch.equal(found.goodness[-QUERIES:], expected.goodness)


@pytest.mark.parametrize("m", [LEARNING, 2 * FULL_STEP])
@pytest.mark.parametrize("negatives", ["belief", "uniform"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_each_layer_goes_down_the_gradient_of_its_own_loss(coding, phase, negatives, m):
    network, twin = (make_network(coding, negatives=negatives) for _ in range(2))
    for made in (network, twin):
        learn(made, make_rows(LEARNING, 7), LEARNING)
    rows, labels = make_rows(m + QUERIES), make_labels(m)
    learn(network, rows, m, phase)
    for layer in twin.layers:
        layer.weight.requires_grad_()
    goodness = plain_scores(twin, rows[:m])
    wrong = plain_negatives(goodness, labels, negatives)
    losses = [
        plain_loss(goodness[:, i], layer.threshold, phase, labels, wrong[:, i]) for i, layer in enumerate(twin.layers)
    ]
    torch.stack(losses).sum().backward()
    for layer, taught in zip(twin.layers, network.layers, strict=True):
        step = 0.01 * min(1, FULL_STEP / m) * layer.weight.grad
        torch.testing.assert_close(taught.weight - layer.weight.detach(), -step, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("m", [1, 2, 16, FULL_STEP, FULL_STEP + 1, 3 * FULL_STEP])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_sample_moves_the_weights_as_far_alone_as_in_a_batch_of_up_to_a_full_step(coding, m):
    def moved(count: int) -> dict[str, torch.Tensor]:
        network = make_network(coding, rate=1e-3)
        before = copy_of(network)
        network.sweep(make_rows(1).expand(count, -1), Lesson(torch.full((count,), 0), Phase.WAKE))
        return {name: tensor - before[name] for name, tensor in network.state().items()}

    alone, batch = moved(1), moved(m)
    for name, step in alone.items():
        torch.testing.assert_close(batch[name], step * min(m, FULL_STEP), rtol=1e-3, atol=1e-5)
    assert min(float(alone[f"{i}.weight"].abs().max()) for i in range(2)) > 1e-4


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


@pytest.mark.parametrize("coding", CODINGS)
def test_a_sweep_without_a_lesson_changes_nothing(coding):
    network = make_network(coding)
    before = copy_of(network)
    network.sweep(make_rows(QUERIES))
    assert equal(before, copy_of(network))


@pytest.mark.parametrize("coding", CODINGS)
def test_the_same_generator_repeats_a_sweep_bit_for_bit(coding):
    one, same, other = (make_network(coding) for _ in range(3))
    for network, seed in ((one, 3), (same, 3), (other, 4)):
        learn(network, make_rows(LEARNING), LEARNING, seed=seed)
    assert equal(copy_of(one), copy_of(same))
    assert not equal(copy_of(one), copy_of(other))


@pytest.mark.parametrize("coding", CODINGS)
def test_the_seed_alone_decides_the_first_tensors(coding):
    one, same, other = (copy_of(make_network(coding, seed=seed)) for seed in (0, 0, 1))
    assert equal(one, same)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_the_first_weights_keep_a_normalised_row_at_unit_scale():
    config = NetworkConfig(shape=(900,), hidden=(700, 500), precision="float32")
    network = Network(config, OptimizerConfig(), torch.device("cpu"))
    scales = [layer.weight.std() * layer.weight.shape[1] ** 0.5 for layer in network.layers]
    torch.testing.assert_close(torch.stack(scales), torch.ones(2), rtol=0.02, atol=0)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_rows_that_were_passed_in_are_left_alone(coding):
    rows = make_rows(LEARNING)
    before = rows.clone()
    learn(make_network(coding), rows, LEARNING)
    assert torch.equal(rows, before)


def test_the_predicted_label_has_the_largest_goodness_summed_over_layers():
    scores = Scores(torch.tensor([[5.0, 4.5, 0.0]]), torch.tensor([[[1.0, 3.0, 0.0], [4.0, 1.5, 0.0]]]), torch.empty(0))
    assert scores.labels().tolist() == [0]


def test_probabilities_are_the_softmax_of_the_mean_over_layers():
    scores = Scores(torch.tensor([[5.0, 3.0]]), torch.tensor([[[1.0, 3.0], [4.0, 0.0]]]), torch.empty(0))
    torch.testing.assert_close(scores.probabilities(), torch.tensor([[2.5, 1.5]]).softmax(-1))


@pytest.mark.parametrize(("coding", "owners"), [("disjoint", {0, 1}), ("random", {0, 1, 2})])
def test_assemblies_are_those_of_the_configuration(coding, owners):
    membership = make_network(coding).layers[0].coding.membership
    assert owners <= set((membership > 0).sum(0).tolist())
    assert (coding == "disjoint") == ((membership > 0).sum(0) <= 1).all()


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_weights_have_the_precision_of_the_configuration(precision, dtype):
    network = make_network("disjoint", precision=precision)
    assert {layer.weight.dtype for layer in network.layers} == {dtype}
    assert {network.centre.dtype, *(layer.centre.dtype for layer in network.layers)} == {torch.float32}
    assert dtype_of("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("coding", CODINGS)
def test_bfloat16_scores_as_float32_does_within_its_rounding(coding):
    rows = make_rows(200)
    exact, rounded = (make_network(coding, precision=p).sweep(rows).total for p in ("float32", "bfloat16"))
    assert 1e-5 < (rounded - exact).norm() / exact.norm() < 0.01


@pytest.mark.parametrize("coding", CODINGS)
def test_a_unit_without_weights_is_dead(coding):
    network = make_network(coding)
    before = network.dead_units(make_rows(200))
    network.layers[0].weight[3] = 0
    assert before == [0, 0]
    assert network.dead_units(make_rows(200))[0] == 1


@pytest.mark.parametrize("coding", CODINGS)
def test_dead_units_are_counted_in_each_layer(coding):
    network = make_network(coding)
    network.layers[1].weight[2:5] = 0
    assert network.dead_units(make_rows(200)) == [0, 3]


@pytest.mark.parametrize("coding", CODINGS)
def test_dead_units_are_those_that_centred_rows_leave_silent(coding):
    network, rows = make_network(coding), make_rows(2)
    for centre in (network.centre, network.layers[0].centre):
        centre.uniform_(-1, 1, generator=seeded())
    silent = torch.ones(2, UNITS, dtype=torch.bool)
    for label in range(LABELS):
        for i, x in enumerate(plain_inputs(network, rows, label)[:2]):
            silent[i] &= (x @ network.layers[i].weight.T <= 0).all(0)
    assert network.dead_units(rows) == silent.sum(1).tolist()
    assert silent.any()


def test_a_unit_that_one_row_activates_is_alive():
    network = make_network("disjoint")
    network.layers[0].weight[0] = torch.eye(WIDTH)[0]
    network.layers[0].weight[1:] = 0
    rows = -torch.ones(5, WIDTH)
    assert network.dead_units(rows)[0] == UNITS
    rows[4, 0] = 1
    assert network.dead_units(rows)[0] == UNITS - 1


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

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
    make_labels,
    make_network,
    make_rows,
    plain_loss,
    plain_scores,
    seeded,
)

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.layers import Lesson, Phase
from ffstream.ff.negatives import wrong_labels
from ffstream.ff.network import Network, Scores

LEARNING, QUERIES = 8, 5


def learn(network: Network, rows: torch.Tensor, phase: Phase = Phase.TOGETHER, seed: int = 3) -> Scores:
    return network.sweep(rows, Lesson(make_labels(LEARNING), phase), seeded(seed))


def weights(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("learned", [0, 3])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_sweep_scores_as_a_plain_forward_pass_does(coding, learned):
    network = make_network(coding)
    for seed in range(learned):
        learn(network, make_rows(LEARNING, seed))
    rows = make_rows(LEARNING + QUERIES)
    torch.testing.assert_close(network.sweep(rows).goodness, plain_scores(network, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
class TestLearningBesideQueries:
    def test_learning_leaves_the_answers_of_every_row_bit_for_bit_as_they_are(self, coding, phase, rule):
        rows = make_rows(LEARNING + QUERIES)
        answered = make_network(coding, rule).sweep(rows)
        assert torch.equal(learn(make_network(coding, rule), rows, phase).goodness, answered.goodness)

    def test_what_the_queries_hold_changes_nothing_about_what_is_learned(self, coding, phase, rule):
        one, other = make_network(coding, rule), make_network(coding, rule)
        taught = make_rows(LEARNING)
        learn(one, torch.cat([taught, make_rows(QUERIES, 8)]), phase)
        learn(other, torch.cat([taught, make_rows(QUERIES, 9) * 50]), phase)
        assert equal(weights(one), weights(other))

    def test_a_lesson_without_queries_teaches_the_same(self, coding, phase, rule):
        alone, beside = make_network(coding, rule), make_network(coding, rule)
        rows = make_rows(LEARNING + QUERIES)
        learn(alone, rows[:LEARNING], phase)
        learn(beside, rows, phase)
        for name, tensor in alone.state().items():
            torch.testing.assert_close(tensor, beside.state()[name], rtol=1e-4, atol=1e-6)

    def test_a_lesson_changes_the_weights_of_every_layer(self, coding, phase, rule):
        network = make_network(coding, rule)
        before = weights(network)
        learn(network, make_rows(LEARNING), phase)
        assert not any(torch.equal(before[f"{i}.weight"], network.layers[i].weight) for i in range(2))

    def test_nothing_requires_a_gradient_after_a_sweep(self, coding, phase, rule):
        network = make_network(coding, rule)
        scores = learn(network, make_rows(LEARNING + QUERIES), phase)
        assert not any(tensor.requires_grad for tensor in [scores.goodness, *network.state().values()])

    def test_writing_a_state_back_restores_a_network_bit_for_bit(self, coding, phase, rule):
        going, fresh = make_network(coding, rule), make_network(coding, rule, seed=1)
        learn(going, make_rows(LEARNING), phase)
        for name, tensor in fresh.state().items():
            tensor.copy_(going.state()[name])
        for network in (going, fresh):
            learn(network, make_rows(LEARNING, 4), phase, seed=5)
        assert equal(weights(going), weights(fresh))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_each_layer_goes_down_the_gradient_of_its_own_loss(coding, phase):
    network, twin = make_network(coding, "in_place", rate=0.1), make_network(coding, "in_place")
    rows, labels = make_rows(LEARNING + QUERIES), make_labels(LEARNING)
    wrong = learn(network, rows, phase).negatives
    for layer in twin.layers:
        layer.weight.requires_grad_()
    goodness = plain_scores(twin, rows[:LEARNING])
    losses = [
        plain_loss(goodness[:, i], layer.threshold, phase, labels, wrong[:, i]) for i, layer in enumerate(twin.layers)
    ]
    torch.stack(losses).sum().backward()
    for layer, taught in zip(twin.layers, network.layers, strict=True):
        expected = (layer.weight - 0.1 * layer.weight.grad).detach()
        torch.testing.assert_close(taught.weight, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("negatives", ["belief", "uniform"])
def test_wrong_labels_are_drawn_from_the_mean_goodness_of_the_layers_so_far(negatives):
    network, labels, generator = make_network("disjoint", negatives=negatives), make_labels(LEARNING), seeded(3)
    scores = learn(network, make_rows(LEARNING + QUERIES))
    for i in range(2):
        belief = scores.goodness[:LEARNING, : i + 1].mean(1)
        assert torch.equal(scores.negatives[:, i], wrong_labels(belief, labels, negatives, generator))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_sweep_without_a_lesson_changes_nothing(coding):
    network = make_network(coding)
    before = weights(network)
    network.sweep(make_rows(QUERIES))
    assert equal(before, weights(network))


@pytest.mark.parametrize("coding", CODINGS)
def test_the_same_generator_repeats_a_sweep_bit_for_bit(coding):
    one, other = make_network(coding), make_network(coding)
    for network in (one, other):
        learn(network, make_rows(LEARNING))
    assert equal(weights(one), weights(other))


@pytest.mark.parametrize("coding", CODINGS)
def test_the_seed_alone_decides_the_first_tensors(coding):
    one, same, other = (weights(make_network(coding, seed=seed)) for seed in (0, 0, 1))
    assert equal(one, same)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_the_first_weights_keep_a_normalised_row_at_unit_scale():
    network = Network(NetworkConfig(shape=(900,), hidden=(700, 500)), OptimizerConfig(), torch.device("cpu"))
    scales = [layer.weight.std() * layer.weight.shape[1] ** 0.5 for layer in network.layers]
    torch.testing.assert_close(torch.stack(scales), torch.ones(2), rtol=0.02, atol=0)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_rows_that_were_passed_in_are_left_alone(coding):
    rows = make_rows(LEARNING)
    before = rows.clone()
    learn(make_network(coding), rows)
    assert torch.equal(rows, before)


def test_a_sweep_says_which_wrong_labels_each_layer_was_shown():
    scores = learn(make_network("disjoint"), make_rows(LEARNING + QUERIES))
    assert scores.negatives.shape == (LEARNING, 2)
    assert not (scores.negatives == make_labels(LEARNING).unsqueeze(1)).any()


def test_a_sweep_without_a_lesson_shows_no_wrong_labels():
    assert make_network("disjoint").sweep(make_rows(3)).negatives.shape == (0, 2)


def test_the_predicted_label_has_the_largest_goodness_summed_over_layers():
    scores = Scores(torch.tensor([[[1.0, 3.0, 0.0], [4.0, 1.5, 0.0]]]), torch.empty(0, 2))
    assert scores.labels().tolist() == [0]


def test_probabilities_are_the_softmax_of_the_mean_over_layers():
    scores = Scores(torch.tensor([[[1.0, 3.0], [4.0, 0.0]]]), torch.empty(0, 2))
    torch.testing.assert_close(scores.probabilities(), torch.tensor([[2.5, 1.5]]).softmax(-1))


@pytest.mark.parametrize(("coding", "owners"), [("disjoint", {1}), ("random", {0, 1, 2})])
def test_assemblies_are_those_of_the_configuration(coding, owners):
    membership = make_network(coding).layers[0].coding.membership
    assert owners <= set((membership > 0).sum(0).tolist())
    assert (len(owners) == 1) == ((membership > 0).sum(0) == 1).all()


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
        torch.testing.assert_close(found.goodness.cpu(), expected.goodness, rtol=1e-3, atol=1e-3)
    asleep = there.sweep(there_rows, Lesson(labels.cuda(), Phase.SLEEP), draws)
    assert asleep.goodness.shape == (LEARNING + QUERIES, 2, LABELS)
    assert asleep.goodness.isfinite().all()

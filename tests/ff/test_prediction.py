"""How labels are predicted: by goodness, without the first layer, by the read-out, or by both in a cascade."""

from __future__ import annotations

import pytest
import torch
from plain_forward import LABELS, learn, make_network, make_rows, plain_activities, plain_scores
from torch import Tensor

from ffstream.ff.lesson import Phase
from ffstream.ff.network import Network
from ffstream.ff.scores import Scores

LEARNING, QUERIES, LISTED = 8, 6, 2
RULES = ("goodness", "upper_goodness", "top_goodness", "readout", "cascade")
NAMES = ("disjoint", "context", "overlay", "images", "overlaid images")


def make_learned(name: str, prediction: str, readout: str = "all") -> Network:
    network = make_network(name, readout=readout, shortlist=LISTED)
    network.prediction = prediction
    for seed in range(6):
        learn(network, make_rows(LEARNING, seed), LEARNING, Phase.WAKE)
    return network


def plain_logits(network: Network, rows: Tensor) -> Tensor:
    weight = network.state()["readout.weight"]
    return plain_activities(network, rows) @ weight[:, :-1].T + weight[:, -1]


def plain_evidence(network: Network, rows: Tensor) -> Tensor:
    goodness, logits = plain_scores(network, rows), plain_logits(network, rows)
    match network.prediction:
        case "goodness":
            return goodness.mean(1)
        case "upper_goodness":
            return goodness[:, 1:].mean(1)
        case "top_goodness":
            return goodness[:, -1]
        case "readout":
            return logits
        case _:
            evidence = torch.full_like(logits, -torch.inf)
            for row, order in enumerate(logits.argsort(1, descending=True).tolist()):
                for label in order[:LISTED]:
                    evidence[row, label] = goodness[row, :, label].mean()
            return evidence


@pytest.mark.parametrize("readout", ["all", "upper"])
@pytest.mark.parametrize("prediction", RULES)
@pytest.mark.parametrize("name", NAMES)
class TestEveryRule:
    def test_evidence_is_that_of_the_plain_formula(self, name, prediction, readout):
        network, rows = make_learned(name, prediction, readout), make_rows(QUERIES, 20)
        found = network.sweep(rows).evidence
        torch.testing.assert_close(found, plain_evidence(network, rows), rtol=1e-4, atol=1e-5)

    def test_beside_a_lesson_queries_are_answered_alike(self, name, prediction, readout):
        alone, beside = (make_learned(name, prediction, readout) for _ in range(2))
        rows = torch.cat([make_rows(LEARNING, 30), make_rows(QUERIES, 20)])
        found = learn(beside, rows, LEARNING)
        torch.testing.assert_close(found.evidence, alone.sweep(rows).evidence, rtol=1e-5, atol=1e-5)

    def test_the_label_is_that_with_the_most_evidence(self, name, prediction, readout):
        network, rows = make_learned(name, prediction, readout), make_rows(QUERIES, 20)
        scores = network.sweep(rows)
        assert torch.equal(scores.labels(), plain_evidence(network, rows).argmax(1))
        torch.testing.assert_close(scores.probabilities().sum(1), torch.ones(QUERIES))


@pytest.mark.parametrize("prediction", ["readout", "cascade"])
@pytest.mark.parametrize("name", ["overlay", "overlaid images"])
class TestLookingUpUnderOverlay:
    def test_goodness_is_taken_of_the_listed_labels_alone(self, name, prediction):
        network, rows = make_learned(name, prediction), make_rows(QUERIES, 20)
        scores, full = network.sweep(rows), plain_scores(network, rows)
        listed = torch.zeros(QUERIES, LABELS, dtype=torch.bool)
        if prediction == "cascade":
            for row, order in enumerate(plain_logits(network, rows).argsort(1, descending=True).tolist()):
                listed[row, order[:LISTED]] = True
        assert torch.equal(~scores.goodness.isnan(), listed.unsqueeze(1).expand(-1, 2, -1))
        assert torch.equal(~scores.total.isnan(), listed)
        taken = torch.where(listed.unsqueeze(1), full, torch.nan)
        torch.testing.assert_close(scores.goodness, taken, rtol=1e-4, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(scores.total, taken.sum(1), rtol=1e-4, atol=1e-5, equal_nan=True)

    def test_fewer_paths_go_through_the_layers_than_labels(self, monkeypatch, name, prediction):
        network = make_learned(name, prediction)
        seen = []
        forward = network.layers[0].connection.forward
        monkeypatch.setattr(network.layers[0].connection, "forward", lambda x: seen.append(x.shape[1]) or forward(x))
        network.sweep(make_rows(QUERIES))
        assert seen == ([1] if prediction == "readout" else [1, LISTED])

    def test_nothing_is_learned(self, name, prediction):
        network = make_learned(name, prediction)
        before = {key: tensor.clone() for key, tensor in network.state().items()}
        network.sweep(make_rows(QUERIES))
        assert all(torch.equal(before[key], tensor) for key, tensor in network.state().items())

    def test_a_row_that_is_not_finite_spoils_no_other_answer(self, name, prediction):
        network, rows = make_learned(name, prediction), make_rows(QUERIES, 20)
        expected = network.sweep(rows)
        rows[2] = torch.nan
        others = torch.arange(QUERIES) != 2
        assert torch.equal(network.sweep(rows).evidence[others], expected.evidence[others])


def test_upper_goodness_of_three_layers_is_the_mean_of_the_last_two_and_top_goodness_the_last():
    network, rows = make_network("disjoint", hidden=(14, 12, 10)), make_rows(QUERIES)
    goodness = plain_scores(network, rows)
    for rule, expected in (("upper_goodness", goodness[:, 1:].mean(1)), ("top_goodness", goodness[:, 2])):
        network.prediction = rule
        torch.testing.assert_close(network.sweep(rows).evidence, expected, rtol=1e-4, atol=1e-5)


def test_upper_goodness_and_goodness_differ():
    rows = make_rows(QUERIES)
    by_all, by_upper = (make_learned("disjoint", rule).sweep(rows) for rule in ("goodness", "upper_goodness"))
    assert torch.equal(by_all.total, by_upper.total)
    assert not torch.allclose(by_all.evidence, by_upper.evidence)


def test_probabilities_are_the_softmax_of_the_evidence():
    evidence = torch.tensor([[2.5, 1.5, -torch.inf]])
    scores = Scores(evidence, torch.zeros(1, 3), torch.empty(0), torch.empty(0), torch.empty(0))
    torch.testing.assert_close(scores.probabilities(), torch.tensor([[0.73105858, 0.26894142, 0.0]]))
    assert scores.labels().tolist() == [0]

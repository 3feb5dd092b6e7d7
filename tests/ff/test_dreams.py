"""Dreams are learned by local rules, held against autograd and NumPy, and are drawn from what was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ffstream.config import DreamsConfig, NetworkConfig, OptimizerConfig
from ffstream.ff import dreams as dreaming
from ffstream.ff.dreams import HORIZON, RIPE, Dreams
from ffstream.ff.lesson import Lesson, Phase, lay_out
from ffstream.ff.network import Network

WIDTH, UNITS, LABELS = 9, 7, 3


def make_dreams(**changes: Any) -> Dreams:
    """Make dreams in float64."""
    options = {"never_negative": False, "noise": 1.0, "rounds": 0, **changes}
    dreams = Dreams(WIDTH, UNITS, LABELS, device=torch.device("cpu"), **options)
    for name, value in vars(dreams).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            setattr(dreams, name, value.double())
    return dreams


def make_stream(rows: int, seed: int = 0, batch: int = 16):
    """Give batches of inputs, activities that depend on them, and labels."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(WIDTH, UNITS, generator=generator, dtype=torch.float64)
    for _ in range(0, rows, batch):
        inputs = torch.rand(batch, WIDTH, generator=generator, dtype=torch.float64)
        labels = torch.randint(LABELS, (batch,), generator=generator)
        yield inputs + labels[:, None], torch.relu(inputs @ mix) + labels[:, None], labels


def make_network(source: str = "dream", **network: Any) -> Network:
    values = {"shape": [WIDTH], "labels": LABELS, "hidden": [12, 9], "precision": "float32", **network}
    dreams = DreamsConfig.model_validate({"source": source})
    return Network(NetworkConfig.model_validate(values), OptimizerConfig(), torch.device("cpu"), dreams)


def up(rows: torch.Tensor) -> torch.Tensor:
    return rows[:, :UNITS].clone()


@pytest.mark.parametrize("batch", [1, 16])
def test_the_map_moves_against_the_gradient_of_its_squared_error(batch):
    dreams = make_dreams()
    for inputs, activities, labels in make_stream(10 * batch, batch=batch):
        weight = dreams.weight.clone().requires_grad_()
        dreams.learn(inputs, activities, labels)
        centred = activities - dreams.centre
        loss = (inputs - dreams.image - centred @ weight.T).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, weight)
        step = 1 / (centred @ centred.T).norm().clamp(min=1e-12)
        torch.testing.assert_close(dreams.weight, (weight - step * gradient).detach())


def test_the_map_comes_to_explain_the_input():
    dreams, errors = make_dreams(), []
    for inputs, activities, labels in make_stream(4_000):
        dreams.learn(inputs, activities, labels)
        guess = dreams.image + (activities - dreams.centre) @ dreams.weight.T
        errors.append(float((inputs - guess).square().mean() / (inputs - inputs.mean(0)).square().mean()))
    assert np.mean(errors[-20:]) < 0.1


def test_mean_and_covariance_are_numpys_over_the_stream():
    dreams, seen = make_dreams(), []
    for inputs, activities, labels in make_stream(1_200):
        dreams.learn(inputs, activities, labels)
        seen.append((activities, labels))
    activities, labels = (torch.cat(parts).numpy() for parts in zip(*seen, strict=True))
    for label in range(LABELS):
        own = activities[labels == label]
        share = dreams.seen[label].double() / len(own)
        assert len(own) == int(dreams.seen[label].sum()) < HORIZON
        # Whichever cluster a row went to, the mixture of them has the moments of all.
        mean = (share[:, None] * dreams.mean[label]).sum(0)
        moments = dreams.covariance[label] + dreams.mean[label][:, :, None] * dreams.mean[label][:, None]
        covariance = (share[:, None, None] * moments).sum(0) - torch.outer(mean, mean)
        np.testing.assert_allclose(mean, own.mean(0), atol=1e-10)
        np.testing.assert_allclose(covariance, np.cov(own.T, bias=True), atol=1e-10)


def test_what_was_long_ago_is_forgotten(monkeypatch):
    monkeypatch.setattr(dreaming, "LONG_HORIZON", HORIZON)
    dreams = make_dreams()
    for inputs, activities, labels in make_stream(64):
        dreams.learn(inputs, activities, labels)
    activities = torch.full((8 * HORIZON, UNITS), 50.0, dtype=torch.float64)
    for rows in activities.split(100):
        dreams.learn(
            torch.zeros(len(rows), WIDTH, dtype=torch.float64), rows, torch.zeros(len(rows), dtype=torch.int64)
        )
    largest = int(dreams.seen[0].argmax())
    torch.testing.assert_close(dreams.mean[0, largest], activities[0], atol=0.1, rtol=0)
    torch.testing.assert_close(dreams.centre, activities[0], atol=0.1, rtol=0)


def test_clusters_part_what_a_label_has_of_different_kinds():
    dreams = make_dreams()
    centres = torch.eye(UNITS, dtype=torch.float64)[: dreaming.CLUSTERS] * 20
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        rows = torch.randn(len(centres), UNITS, generator=generator, dtype=torch.float64) / 10 + centres
        for row in rows:
            dreams.learn(torch.zeros(1, WIDTH, dtype=torch.float64), row[None], torch.zeros(1, dtype=torch.int64))
    assert dreams.seen[0].tolist() == [60] * len(centres)
    torch.testing.assert_close(dreams.mean[0], centres, atol=0.2, rtol=0)


def taught(rows: int = 600, **changes: Any) -> Dreams:
    dreams = make_dreams(**changes)
    for batch in make_stream(rows):
        dreams.learn(*batch)
    return dreams


def dream(dreams: Dreams, labels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return dreams.dream(labels, torch.zeros(UNITS, dtype=torch.float64), up, generator)


def test_a_dream_is_of_its_label_and_within_what_was_seen():
    labels = torch.arange(LABELS).repeat_interleave(50)
    made = dream(taught(), labels)
    assert (made >= 0).all()
    assert (made <= LABELS).all()
    # Inputs of label c lie from c to c + 1.
    means = made.mean(1).view(LABELS, -1).mean(1)
    torch.testing.assert_close(means, torch.arange(LABELS) + 0.5, atol=0.15, rtol=0, check_dtype=False)


def test_the_bounds_of_a_dream_are_those_of_every_row():
    dreams, seen = make_dreams(), []
    for inputs, activities, labels in make_stream(64):
        # Above 0, where bounds begin before anything is seen.
        dreams.learn(inputs + 1, activities, labels)
        seen.append(inputs + 1)
    assert torch.equal(dreams.low, torch.cat(seen).amin(0))
    assert torch.equal(dreams.high, torch.cat(seen).amax(0))


def test_a_cluster_is_dreamed_of_as_often_as_it_was_seen():
    dreams = make_dreams()
    dreams.seen[1, :2] = torch.tensor([300, 100])
    dreams.mean[1, 1] = 1.0
    drawn = dreams._draw(torch.ones(2_000, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(0.25, abs=0.04)


def test_less_noise_makes_dreams_more_alike():
    labels = torch.zeros(200, dtype=torch.int64)
    spread = [float(dream(taught(noise=noise), labels).var(0).mean()) for noise in (0.1, 1.0)]
    assert spread[0] < spread[1]


def test_one_seed_dreams_the_same_and_another_does_not():
    labels, dreams = torch.arange(LABELS), taught()
    assert torch.equal(dream(dreams, labels), dream(dreams, labels))
    assert not torch.equal(dream(dreams, labels), dream(dreams, labels, seed=1))


def test_rounds_go_up_and_down_again():
    labels, once = torch.arange(LABELS), dream(taught(rounds=0), torch.arange(LABELS))
    dreams = taught(rounds=1)
    floor = torch.zeros(UNITS, dtype=torch.float64)
    torch.testing.assert_close(dream(dreams, labels), dreams._down(up(once), floor))


@pytest.mark.parametrize("never_negative", [True, False])
def test_activities_that_are_never_negative_are_not_dreamed_negative(never_negative):
    floor, labels = torch.full((UNITS,), 0.2, dtype=torch.float64), torch.arange(LABELS).repeat(20)
    dreams = taught(never_negative=never_negative, noise=5.0)
    dreams.weight = torch.eye(WIDTH, UNITS, dtype=torch.float64)
    dreams.image.zero_()
    dreams.low, dreams.high = dreams.low - 100, dreams.high + 100
    made = dreams.dream(labels, floor, up, torch.Generator().manual_seed(0))
    assert bool((made[:, :UNITS] + dreams.centre >= -0.2 - 1e-12).all()) is never_negative


def test_only_labels_that_were_seen_are_dreamed():
    dreams = make_dreams()
    for inputs, activities, _ in make_stream(RIPE):
        dreams.learn(inputs, activities, torch.ones(len(inputs), dtype=torch.int64))
    assert dreams.ripe
    assert dreams.known() == [1]
    assert dreams.draw_labels(50, torch.Generator().manual_seed(0)).unique().tolist() == [1]


def test_too_few_rows_are_not_ripe():
    assert not make_dreams().ripe
    assert not taught(RIPE - 16).ripe
    assert taught(RIPE).ripe


def test_state_brings_dreams_back():
    dreams, again = taught(), make_dreams()
    for name, tensor in again.state().items():
        tensor.copy_(dreams.state()[name])
    for batch in make_stream(200, seed=1):
        dreams.learn(*batch)
        again.learn(*batch)
    assert torch.equal(dream(dreams, torch.arange(LABELS)), dream(again, torch.arange(LABELS)))


def test_a_root_that_cannot_be_taken_stays_as_it_was():
    dreams = taught()
    before = dreams.state()["roots"].clone()
    dreams.covariance[0, 0] = -1.0
    dreams._take_roots()
    assert torch.equal(dreams.state()["roots"][0, 0], before[0, 0])
    assert dreams.state()["roots"].isfinite().all()


def make_rows(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, WIDTH, generator=generator), torch.randint(LABELS, (count,), generator=generator)


def state_of(network: Network) -> dict[str, torch.Tensor]:
    assert network.dreams is not None
    return {name: tensor.clone() for name, tensor in network.dreams.state().items()}


@pytest.mark.parametrize("phase", [Phase.WAKE, Phase.TOGETHER])
def test_a_network_learns_dreams_from_real_rows_and_never_from_queries(phase):
    rows, labels = make_rows(8)
    found = []
    for queries in (0, 5):
        network = make_network()
        beside = torch.full((queries, WIDTH), torch.nan)
        network.sweep(torch.cat([rows, beside]), Lesson(labels, phase), torch.Generator().manual_seed(0))
        found.append(state_of(network))
    assert int(found[0]["seen"].sum()) == 8
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_what_is_learned_is_the_activity_that_goes_on():
    network = make_network()
    rows, labels = make_rows(1)
    onward = network.layers[0].read(network.enter(rows.unsqueeze(1)))[2][0, 0]
    network.sweep(rows, Lesson(labels, Phase.WAKE))
    torch.testing.assert_close(state_of(network)["mean"][labels[0], 0], onward)


def test_sleep_and_queries_leave_dreams_alone():
    network = make_network()
    rows, labels = make_rows(8)
    network.sweep(rows, Lesson(labels, Phase.WAKE))
    before = state_of(network)
    network.sweep(rows, Lesson(labels, Phase.SLEEP), torch.Generator().manual_seed(0))
    network.sweep(rows)
    assert all(torch.equal(before[name], tensor) for name, tensor in state_of(network).items())


def test_a_network_without_dreams_has_none_and_says_so():
    network = make_network("memory")
    assert not [name for name in network.state() if name.startswith("dreams")]
    with pytest.raises(ValueError, match=r"set dreams\.source"):
        network.dream(torch.zeros(1, dtype=torch.int64), torch.Generator())


@pytest.mark.parametrize("dreamed", [0, 3, 8])
def test_dreams_are_lowered_as_they_are_where_negatives_are_corrupted_inputs(dreamed):
    network = make_network(coding="none", negatives="shuffled", readout="all", prediction="readout")
    rows, labels = make_rows(8)
    lesson = Lesson(labels, Phase.SLEEP, dreamed=dreamed)
    lowered, teaching, taught = lay_out(rows, lesson, network.config, network.signs, torch.Generator().manual_seed(0))
    assert torch.equal(lowered[:dreamed], rows[:dreamed])
    assert not (lowered[dreamed:] == rows[dreamed:]).all(1).any()
    assert (taught, teaching.signs.sum()) == (8, 0)


def test_a_read_out_learns_from_no_dream():
    rows, labels = make_rows(8)
    found = []
    for dreamed in (0, 8):
        network = make_network(readout="all")
        assert network.readout is not None
        before = [tensor.clone() for tensor in network.readout.state().values()]
        network.sweep(rows, Lesson(labels, Phase.SLEEP, dreamed=dreamed), torch.Generator().manual_seed(0))
        found.append(all(torch.equal(*pair) for pair in zip(before, network.readout.state().values(), strict=True)))
    assert found == [False, True]


def test_without_labels_everything_is_dreamed_of_together():
    network = make_network(coding="none", negatives="shuffled", readout="all", prediction="readout")
    rows, _ = make_rows(8)
    network.sweep(rows, Lesson(torch.full((8,), -1), Phase.WAKE))
    assert network.dreams is not None
    assert network.dreams.known() == [0]
    assert network.dreams.seen.shape == (1, dreaming.CLUSTERS)

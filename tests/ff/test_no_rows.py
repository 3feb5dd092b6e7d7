"""A sweep over no rows at all, as when every waiting query has expired, finds nothing and fails at nothing."""

from __future__ import annotations

import pytest
import torch

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.network import Network

IMAGES = (
    {"kind": "convolution", "units": 12, "kernel": 3, "pool": 2, "regions": 2},
    {"kind": "local", "units": 5, "kernel": 2},
    {"units": 20},
)


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"coding": "context"},
        {"coding": "overlay", "readout": "all", "prediction": "cascade"},
        {"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"},
        {"layers": IMAGES},
        {"layers": IMAGES, "assemblies": "learned"},
        {"goodness": "topk", "against": "labels"},
    ],
    ids=str,
)
def test_no_rows_are_scored_as_none(network):
    made = Network(NetworkConfig(shape=(10, 10), **network), OptimizerConfig(), torch.device("cpu"))
    scores = made.sweep(torch.zeros(0, 100))
    assert scores.labels().shape == (0,)
    assert scores.probabilities().shape == (0, 10)
    assert scores.goodness.shape[:2] == (0, len(made.layers))

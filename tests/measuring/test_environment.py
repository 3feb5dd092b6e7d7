from __future__ import annotations

import torch

from ffstream.measuring.environment import environment


def test_the_environment_names_device_threads_and_versions():
    found = environment(torch.device("cpu"))
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert {"device", "python", "ffstream", "instructions"} <= found.keys()

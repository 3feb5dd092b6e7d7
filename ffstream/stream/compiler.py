"""The process that makes the kernels of a network, at a low priority, for the daemon that started it.

Its standard input says what to compile. It exits with 0 where all kernels are in torch's cache, else with 1 and writes
why they are not.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import torch

from ffstream.config import Config
from ffstream.errors import NotCompiled
from ffstream.ff.fused import Compiled
from ffstream.ff.internals import compile_in_one_thread
from ffstream.ff.measured import Products
from ffstream.stream.device import threads_of
from ffstream.stream.learner import compiled_for, make_network

# Sweeps come first; lower still, it would not end beside a saturated stream.
NICE = 5


def task(config: Config, products: Products) -> bytes:
    """Return what the process reads."""
    return json.dumps({"config": config.model_dump(mode="json"), "products": products.state()}).encode()


def main() -> None:
    """Compile what standard input describes."""
    os.nice(NICE)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    read = json.load(sys.stdin)
    config = Config.model_validate(read["config"])
    # Kernels are made for a number of threads.
    torch.set_num_threads(threads_of(config.engine.threads))
    network = make_network(config, Products(read["products"]))
    try:
        compiled = Compiled()
        compile_in_one_thread()
        for _ in compiled.rehearse(network, *compiled_for(config)):
            pass
    except NotCompiled as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(1)


def _end_with(parent: int) -> None:
    """End this process when the one that started it has ended, however that ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()

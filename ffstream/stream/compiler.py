"""The process that makes the kernels of a network, at a low priority, for the daemon that started it.

Its standard input says what to compile. It exits with 0 if all kernels are in torch's cache; otherwise it writes the
reason and exits with 1.
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

# Sweeps come first; at an even lower priority, it would never finish beside a saturated stream.
NICE = 5


def task(config: Config, products: Products) -> bytes:
    """Return the standard input for the process."""
    return json.dumps({"config": config.model_dump(mode="json"), "products": products.state()}).encode()


def main() -> None:
    """Compile what standard input describes."""
    os.nice(NICE)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    read = json.load(sys.stdin)
    config = Config.model_validate(read["config"])
    # Kernels are made for a specific number of threads.
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
    """Exit when the parent process has ended, for whatever reason."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()

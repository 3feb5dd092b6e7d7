"""Checks of computation: torch, device, precision and matrix products, threads, compiler."""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch._dynamo.exc import TorchDynamoException

from ffstream.config import Config, EngineConfig
from ffstream.doctor.finding import Finding, size
from ffstream.errors import ConfigError
from ffstream.ff.building import weight_shapes
from ffstream.ff.measured import PRODUCTS
from ffstream.stream.compilation import CACHE, FOLDER
from ffstream.stream.cores import available_cores
from ffstream.stream.device import device_of, threads_of

# The oldest torch that works, and the newest that was tested.
OLDEST, NEWEST = (2, 11), (2, 14)
# Rows, and columns, of the input to the function that is compiled as a test.
ROWS = 64


class Way(NamedTuple):
    """Device, precision and matrix products of a daemon.

    Attributes
    ----------
    device
        Device of the weights.
    precision
        Data type of the weights.
    product
        Method of each layer's matrix product: one method, or three by number of rows.
    """

    device: torch.device
    precision: torch.dtype
    product: str


def way(config: Config) -> Way:
    """Return the device, precision and matrix products of a daemon with this configuration on this machine.

    Raises
    ------
    ConfigError
        If the configured device cannot be used here.
    """
    device = device_of(config.engine.device)
    torch.set_num_threads(threads_of(config.engine.threads))
    precision = PRODUCTS.dtype(config.network.precision, device)
    plans = [str(PRODUCTS.plan(*shape, precision, device)) for shape in weight_shapes(config.network)]
    return Way(device, precision, ", ".join(dict.fromkeys(plans)))


def check_torch() -> Finding:
    """Compare torch's version with the tested versions."""
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    tested = f"tested versions are {_dotted(OLDEST)} to {_dotted(NEWEST)}"
    if version < OLDEST:
        return Finding("torch", "fail", f"{torch.__version__}; {tested}", f"pip install 'torch>={_dotted(OLDEST)}'")
    if version > NEWEST:
        advice = f"if something fails, pip install 'torch=={_dotted(NEWEST)}.*'"
        return Finding("torch", "warn", f"{torch.__version__}; {tested}", advice)
    return Finding("torch", "ok", f"{torch.__version__}; {tested}")


def check_device(config: Config) -> Finding:
    """Check that the configured device can be used."""
    try:
        device = way(config).device
    except ConfigError as error:
        return Finding("device", "fail", str(error), 'set engine.device to "auto" or "cpu", or check the driver')
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return Finding("device", "ok", f"{device}: {card.name}, {size(card.total_memory)}")
    name = torch.cpu.get_capabilities().get("cpu_name") or "an unnamed processor"
    return Finding("device", "ok", f"{device}: {name}, {torch.backends.cpu.get_cpu_capability()}")


def check_precision(config: Config) -> Finding:
    """Report the precision and the method of the matrix products."""
    try:
        device, precision, product = way(config)
    except ConfigError:
        return Finding("precision", "fail", "not known without a device", "see the device line")
    name = str(precision).removeprefix("torch.")
    found = f"{name} ({config.network.precision}), multiplied by {product}"
    if precision == torch.bfloat16 != PRODUCTS.dtype("auto", device):
        return Finding("precision", "warn", f"{found}; this device multiplies float32 faster", _SET_PRECISION)
    return Finding("precision", "ok", found)


def check_threads(engine: EngineConfig) -> Finding:
    """Compare the threads of a matrix product with the available cores."""
    threads, cores = threads_of(engine.threads), available_cores()
    found = f"threads per matrix product: {threads}, cores: {cores:g}"
    if threads > cores:
        return Finding("threads", "warn", f"{found}; the threads wait for each other", "set engine.threads to 0")
    if cores < 2:
        return Finding(
            "threads", "warn", f"{found}; the product and the sockets share a core", "give the daemon two cores"
        )
    return Finding("threads", "ok", found)


def check_cache(config: Config) -> Finding:
    """Check that compiled code can be kept for the next start."""
    folder = Path(os.environ.get(CACHE) or config.state.directory / FOLDER).expanduser()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        found = f"{folder} cannot be used: {error.strerror}; each start compiles again, or cannot compile"
        return Finding("cache", "warn", found, f"set {CACHE} to a writable folder")
    return Finding("cache", "ok", f"{folder} holds {size(used)} of compiled code")


def check_compiler(config: Config) -> Finding:
    """Compile a small function on the device and check its result."""
    if not config.engine.compile:
        return Finding("compiler", "ok", "not needed: engine.compile is false")
    try:
        device = way(config).device
    except ConfigError:
        return Finding("compiler", "fail", "not known without a device", "see the device line")
    # A random constant, so that the function is not found in the cache.
    term = random.random()  # noqa: S311  no secret

    def sample(x: torch.Tensor) -> torch.Tensor:
        return (x * term).relu().sum(1)

    rows = torch.randn(ROWS, ROWS, device=device)
    began = time.perf_counter()
    try:
        compiled = torch.compile(sample, fullgraph=True)(rows)
    except (TorchDynamoException, OSError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return Finding("compiler", "warn", f"nothing can be compiled, so sweeps are slower: {reason}", _INSTALL)
    torch.testing.assert_close(compiled, sample(rows))
    seconds = time.perf_counter() - began
    return Finding("compiler", "ok", f"{os.environ.get('CXX', 'g++')} works; a small function took {seconds:.1f} s")


_SET_PRECISION = 'set network.precision to "auto"'
_INSTALL = "install a C++ compiler (apt-get install g++), or set CXX to one that works, or set engine.compile = false"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))

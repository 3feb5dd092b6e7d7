"""Compiles the loop through the layers while the daemon serves with the uncompiled loop.

A separate process makes the kernels, which takes 25 to 75 s of two cores: it can be killed at any moment, a crash of
the compiler does not crash the daemon, and it runs at a lower priority. Then a thread of the daemon compiles from
torch's cache, which takes about 5 s. Meanwhile sweeps took 2.5 ms instead of 1.8 (median) and 15 instead of 2 (90th
percentile), since both need the interpreter. Compiling piece by piece in the loop's own thread would have delayed a
query by up to a second.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ffstream import __version__
from ffstream.config import Config
from ffstream.errors import NotCompiled
from ffstream.ff.fused import Compiled
from ffstream.ff.internals import compile_in_one_thread
from ffstream.ff.measured import VARIABLE, Products, machine
from ffstream.stream.compiler import task
from ffstream.stream.learner import compiled_for, make_network

log = logging.getLogger(__name__)

# Environment variable that names torch's kernel cache, and the default cache folder below the state directory.
CACHE, FOLDER = "TORCHINDUCTOR_CACHE_DIR", "kernels"
# File in that folder: outcomes of compiling, by what was compiled.
OUTCOMES = "ffstream.json"
# Signals that end a process when the compiler crashes.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class Compilation:
    """Compiles the loops of a configuration in a separate thread and process.

    Parameters
    ----------
    config
        The whole configuration.
    products
        Ways to multiply the layers of its network.
    directory
        The state directory.
    wake
        Called when there is an outcome.

    Attributes
    ----------
    outcome
        The compiled loops, or the reason why there are none; ``None`` until it is known.
    """

    def __init__(self, config: Config, products: Products, directory: Path, wake: Callable[[], object]) -> None:
        self.config = config
        self.products = products
        self.outcome: Compiled | NotCompiled | None = None
        self._wake = wake
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        folder = _folder(Path(os.environ.get(CACHE) or directory.resolve() / FOLDER))
        # torch reads it when its compiler is loaded, in this process and in the other.
        os.environ[CACHE] = str(folder)
        self._outcomes = _Outcomes(folder / OUTCOMES, _name(config, products))
        self._thread = threading.Thread(target=self._run, name="compilation", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop compiling; the thread finishes its current piece first, which takes a second."""
        self._stopping = True
        if (process := self._process) is not None:
            _end(process)
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            compiled = self._compile()
        except NotCompiled as error:
            self.outcome = error
        except _Stopped:
            return
        except Exception as error:
            # A replay may be waiting for the outcome, so there must be one, whatever broke.
            log.exception("compilation failed")
            self.outcome = NotCompiled(f"{type(error).__name__}: see the log")
        else:
            log.info("compiled in %.0f s", time.monotonic() - started)
            self.outcome = compiled
        self._wake()

    def _compile(self) -> Compiled:
        outcomes = self._outcomes
        if known := outcomes.read():
            raise NotCompiled(f"{known}; this is from an earlier start: to try again, remove {outcomes.path}")
        if known is None:
            code, said = self._make_kernels()
            reason = said or f"the process that compiles ended with code {code}; is there enough memory for it?"
            # A process that somebody killed says nothing about the next attempt.
            if code >= 0 or -code in CRASHES:
                outcomes.write(reason if code else "")
            if code:
                raise NotCompiled(reason)
        return self._load()

    def _make_kernels(self) -> tuple[int, str]:
        """Start a process that puts all kernels into torch's cache; return its exit code and its output."""
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as told:
            asked.write(task(self.config, self.products))
            asked.seek(0)
            # torch's warnings about itself concern nobody here, and Ctrl-C is for the daemon.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ffstream.stream.compiler"],
                stdin=asked,
                stdout=told,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if self._stopping:
                _end(self._process)
            code = self._process.wait()
            told.seek(0)
            said = told.read().decode().strip()
        if self._stopping:
            raise _Stopped
        return code, said

    def _load(self) -> Compiled:
        """Compile from torch's cache, for a second network of the same configuration: the daemon's is learning."""
        network = make_network(self.config, self.products)
        compiled = Compiled()
        compile_in_one_thread()
        for _ in compiled.rehearse(network, *compiled_for(self.config)):
            if self._stopping:
                raise _Stopped
        # What was compiled stays; searching it for garbage takes a fifth of a second each time.
        gc.collect()
        gc.freeze()
        return compiled


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, and any C++ compiler that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Stopped(Exception):
    """The daemon is stopping."""


class _Outcomes:
    """Outcomes of compiling, in a file beside the kernels; without the file they are unknown.

    Parameters
    ----------
    path
        The file.
    name
        Key of this compilation: what is compiled, and where.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name

    def read(self) -> str | None:
        """Return why compiling failed, ``""`` if it did not, or ``None`` if that is unknown."""
        known = self._all().get(self._name)
        return known if isinstance(known, str) else None

    def write(self, outcome: str) -> None:
        """Keep an outcome; if the folder cannot be written, nothing is kept and the next start tries again."""
        partial = self.path.with_suffix(".partial")
        with suppress(OSError):
            partial.write_text(json.dumps({**self._all(), self._name: outcome}, indent=1) + "\n")
            partial.replace(self.path)

    def _all(self) -> dict[str, object]:
        try:
            known = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _folder(base: Path) -> Path:
    """Return a folder for this machine: torch would load another processor's kernels, which can compute nonsense."""
    own = f"{zlib.crc32(machine().encode()):08x}"
    return base if base.name == own else base / own


def _name(config: Config, products: Products) -> str:
    """Return a hash of all that affects the result: configuration, products, machine, version, C++ compiler."""
    learning = config.model_dump(mode="json", exclude={"server", "state"})
    compilers = [shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")]
    facts = [learning, products.state(), os.environ.get(VARIABLE), machine(), compilers, __version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

"""The loop through the layers is compiled while the daemon serves by the loop as it is written.

A process of its own makes the kernels, which takes 25 to 75 s of two cores: it can be killed at any moment, what breaks
the compiler does not break the daemon, and it runs at a lower priority. Then a thread of the daemon compiles from
torch's cache, which takes about 5 s. Sweeps beside it took 2.5 ms instead of 1.8 (median) and 15 instead of 2 (90th
percentile), since both want the interpreter. In the loop's own thread, piece by piece, a query would have waited for up
to a second.
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

# Where torch keeps kernels, and where they are kept unless the environment says otherwise: below the state directory.
CACHE, FOLDER = "TORCHINDUCTOR_CACHE_DIR", "kernels"
# In that folder: what came of compiling, by what was compiled.
OUTCOMES = "ffstream.json"
# How a process ends that the compiler broke.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class Compilation:
    """Compiles the loops of a configuration, in a thread and a process of its own.

    Parameters
    ----------
    config
        The whole configuration.
    products
        How the layers of its network are multiplied.
    directory
        The state directory.
    wake
        Called when there is an outcome.

    Attributes
    ----------
    outcome
        The compiled loops, or why there are none; ``None`` as long as it is not known.
    """

    def __init__(self, config: Config, products: Products, directory: Path, wake: Callable[[], object]) -> None:
        self.config = config
        self.products = products
        self.outcome: Compiled | NotCompiled | None = None
        self._wake = wake
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        folder = _folder(Path(os.environ.get(CACHE) or directory.resolve() / FOLDER))
        # torch looks for it when its compiler is loaded, in this process and in the other.
        os.environ[CACHE] = str(folder)
        self._outcomes = _Outcomes(folder / OUTCOMES, _name(config, products))
        self._thread = threading.Thread(target=self._run, name="compilation", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, whatever it is doing; a piece that the thread has in hand is finished, which takes a second."""
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
            # A replay may wait for the outcome, which must come whatever broke.
            log.exception("compiling broke")
            self.outcome = NotCompiled(f"{type(error).__name__}: see the log")
        else:
            log.info("compiled in %.0f s", time.monotonic() - started)
            self.outcome = compiled
        self._wake()

    def _compile(self) -> Compiled:
        outcomes = self._outcomes
        if known := outcomes.read():
            raise NotCompiled(f"{known}; as before: to try again, remove {outcomes.path}")
        if known is None:
            code, said = self._make_kernels()
            reason = said or f"the process that compiles ended with code {code}; is there memory for it?"
            # One that somebody ended says nothing of the next.
            if code >= 0 or -code in CRASHES:
                outcomes.write(reason if code else "")
            if code:
                raise NotCompiled(reason)
        return self._load()

    def _make_kernels(self) -> tuple[int, str]:
        """Have all kernels put into torch's cache; return how the process ended that does it, and what it said."""
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as told:
            asked.write(task(self.config, self.products))
            asked.seek(0)
            # Warnings of torch about itself are nobody's here, and Ctrl-C is for the daemon.
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
        """Compile from torch's cache, for a network of the same configuration: the daemon's own learns meanwhile."""
        network = make_network(self.config, self.products)
        compiled = Compiled()
        compile_in_one_thread()
        for _ in compiled.rehearse(network, *compiled_for(self.config)):
            if self._stopping:
                raise _Stopped
        # What was compiled stays; to look through it for garbage again and again takes a fifth of a second.
        gc.collect()
        gc.freeze()
        return compiled


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and the C++ compiler that it may have started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Stopped(Exception):
    """The daemon ends."""


class _Outcomes:
    """What came of compiling, in a file beside the kernels; without one it is not known.

    Parameters
    ----------
    path
        The file.
    name
        Of what is compiled, and where.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name

    def read(self) -> str | None:
        """Return why compiling failed, ``""`` where it did not, ``None`` where it is not known."""
        known = self._all().get(self._name)
        return known if isinstance(known, str) else None

    def write(self, outcome: str) -> None:
        """Keep an outcome; a folder that cannot be written keeps none, and the next start tries again."""
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
    """Return a folder for this machine: torch would take kernels of another processor, which can compute nonsense."""
    own = f"{zlib.crc32(machine().encode()):08x}"
    return base if base.name == own else base / own


def _name(config: Config, products: Products) -> str:
    """Return what decides on what the compiler makes: configuration, products, machine, versions, the C++ compiler."""
    learning = config.model_dump(mode="json", exclude={"server", "state"})
    compilers = [shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")]
    facts = [learning, products.state(), os.environ.get(VARIABLE), machine(), compilers, __version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

"""The floors of the house: who may import whom, and what a command must not load."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ffstream

PACKAGE = Path(ffstream.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# What `from ffstream import NAME` really imports; constants of the package belong to nobody.
EXPORTS = {"Client": "client", "Event": "client", "Prediction": "client", "FFStreamError": "errors"}


@dataclass(frozen=True)
class Allowed:
    """What the modules of a room may import beside the standard library and their own room."""

    rooms: frozenset[str]
    libraries: frozenset[str] = frozenset()
    lazily: frozenset[str] = frozenset()  # inside functions only


@dataclass(frozen=True)
class Import:
    module: str
    lazy: bool


def allowed(rooms: Iterable[str], libraries: str = "", lazily: str = "") -> Allowed:
    return Allowed(frozenset(rooms), frozenset(libraries.split()), frozenset(lazily.split()))


FLOORS = [
    {"errors", "ports", "commands", "config", "failpoints"},
    {"ff", "wire", "data"},
    {"stream"},
    {"daemon", "client", "measuring"},
    {"experiments", "bench", "inspection", "doctor"},
    {"cli", "__main__"},
]


def below(floor: int) -> set[str]:
    return set().union(*FLOORS[:floor])


HOUSE = {
    "__init__": allowed({"client", "errors"}),
    "errors": allowed(()),
    "ports": allowed(()),
    "commands": allowed(()),
    "config": allowed({"errors", "ports"}, "pydantic"),
    "failpoints": allowed({"errors"}),
    "ff": allowed(below(1), "torch"),
    "wire": allowed(below(1), "numpy msgpack"),
    "data": allowed(below(1), "numpy", lazily="torch torchvision sklearn PIL"),
    "stream": allowed(below(2), "numpy torch safetensors msgpack"),
    "daemon": allowed(below(3), "numpy zmq starlette uvicorn prometheus_client"),
    "daemon/metrics.py": allowed(below(3), "torch prometheus_client"),
    "client": allowed(below(3) - {"ff", "stream", "config"}, "numpy zmq"),
    "measuring": allowed(below(3), "numpy torch rich", lazily="matplotlib scipy"),
    "experiments": allowed(below(4), "numpy pydantic torch safetensors", lazily="matplotlib sklearn"),
    "bench": allowed(below(4), "numpy torch sklearn matplotlib rich"),
    "inspection": allowed(below(4), "torch", lazily="matplotlib sklearn"),
    "doctor": allowed(below(4), "torch"),
    "cli": allowed(below(5), "numpy typer rich"),
    "__main__": allowed({"cli"}),
}
# Parts of the standard library that a room must do without.
WITHOUT = {
    "ff": {"asyncio", "concurrent", "datetime", "random", "socket", "threading", "time"},
    "wire": {"asyncio", "socket", "threading", "time"},
    "stream": {"asyncio", "http", "socket"},
    "stream/phases.py": {"asyncio", "datetime", "http", "socket", "threading", "time"},
    "stream/schedules.py": {"asyncio", "datetime", "http", "socket", "threading", "time"},
}


def imports(tree: ast.AST, package: str, *, lazy: bool = False) -> Iterator[Import]:
    """Find what runs as an import: also inside functions and by ``import_module``, not under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=otherwise):
                yield from imports(ast.Module(otherwise, []), package, lazy=lazy)
                continue
            case ast.Import(names=names):
                yield from (Import(alias.name, lazy) for alias in names)
            case ast.ImportFrom(names=names):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield from (Import(f"{base}.{alias.name}", lazy) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Import(name, lazy)
            case _:
                pass
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, package, lazy=lazy or inside)


def refusal(file: str, found: Import) -> str | None:
    """Say why a file of the package may not import a module, or ``None`` where it may."""
    own = room_of(file)
    may = HOUSE.get(file) or HOUSE[own]
    top, _, rest = found.module.partition(".")
    if top == "ffstream":
        name = rest.partition(".")[0]
        if not name or name.isupper() or (name.startswith("__") and name.endswith("__") and name != "__main__"):
            return None
        room = EXPORTS.get(name, name)
        if own in ("experiments", "bench") and rest.startswith("daemon.server"):
            return f"{file} must not import the server"
        return None if room == own or room in may.rooms else f"{file} must not import {room}"
    if top in sys.stdlib_module_names:
        barred = WITHOUT.get(file) or WITHOUT.get(own, set())
        return f"{file} does without {top}" if top in barred else None
    if top in may.lazily and not found.lazy:
        return f"{file} must import {top} inside a function"
    return None if top in may.libraries | may.lazily else f"{file} must not import {top}"


def room_of(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def refusals(file: str, source: str) -> list[str]:
    package = ".".join(("ffstream", *Path(file).parts[:-1]))
    found = imports(ast.parse(source), package)
    return [reason for one in found if (reason := refusal(file, one)) is not None]


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_floor_may(file):
    assert room_of(file) in HOUSE, f"{file} stands on no floor"
    assert refusals(file, (PACKAGE / file).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "import ffstream.config"),
        ("__init__.py", "import torch"),
        ("config.py", "import numpy"),
        ("errors.py", "from ffstream.config import Config"),
        ("ff/layers.py", "from ffstream import wire"),
        ("ff/layers.py", "from ffstream.data import files"),
        ("ff/layers.py", "from ffstream.stream.engine import Engine"),
        ("ff/layers.py", "from ..wire import encode"),
        ("ff/layers.py", "import numpy"),
        ("ff/layers.py", "import time"),
        ("wire.py", "import torch"),
        ("wire.py", "import zmq"),
        ("wire.py", "from ffstream.ff.layers import Phase"),
        ("data/datasets.py", "from torchvision import datasets"),
        ("data/datasets.py", "class C:\n    import sklearn"),
        ("data/datasets.py", "from ffstream.ff import layers"),
        ("stream/engine.py", "import zmq"),
        ("stream/engine.py", "def f():\n    from ffstream.daemon import server"),
        ("stream/phases.py", "from time import monotonic"),
        ("daemon/server.py", "import torch"),
        ("daemon/server.py", "from ffstream import Client"),
        ("daemon/server.py", "from ffstream.cli import main"),
        ("client/feeding.py", "from ffstream.stream.inbox import Inbox"),
        ("client/feeding.py", "async def f():\n    import ffstream.config"),
        ("client/feeding.py", "if True:\n    import torch.nn"),
        ("client/feeding.py", "import importlib\nimportlib.import_module('ffstream.ff.layers')"),
        ("client/feeding.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch"),
        ("bench/latency.py", "from ffstream.daemon.server import Server"),
        ("bench/latency.py", "from ffstream.daemon import server"),
        ("bench/latency.py", "import zmq"),
        ("cli/predict.py", "import torch"),
        ("cli/predict.py", "import zmq"),
    ],
)
def test_the_rule_refuses_what_is_forbidden(file, source):
    assert len(refusals(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "import importlib\nimportlib.import_module('ffstream.client')"),
        ("ff/layers.py", "if TYPE_CHECKING:\n    from ffstream.stream.engine import Engine"),
        ("ff/layers.py", "if typing.TYPE_CHECKING:\n    import zmq"),
        ("ff/layers.py", "from .optim import Rule"),
        ("data/datasets.py", "def f():\n    from torchvision import datasets"),
        ("stream/engine.py", "import time\nfrom ffstream import wire"),
        ("daemon/server.py", "from ffstream import __version__, wire\nimport zmq"),
        ("daemon/metrics.py", "import torch"),
        ("client/__init__.py", "from ffstream import ports, wire\nimport zmq"),
        ("bench/latency.py", "from ffstream.daemon.spawn import spawn\nfrom ffstream.bench import tables"),
        ("cli/serve.py", "def f():\n    from ffstream.daemon.service import run"),
    ],
)
def test_the_rule_lets_through_what_is_allowed(file, source):
    assert refusals(file, source) == []


# Runs `python -m ffstream` and says last what it loaded.
LOADED = """
import json, runpy, sys
try:
    runpy.run_module("ffstream", run_name="__main__", alter_sys=True)
finally:
    print()
    print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(code: str, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def after_importing(module: str) -> set[str]:
    return loaded_by(f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)))")


def test_importing_the_package_loads_no_heavy_library():
    assert after_importing("ffstream") & {"torch", "pydantic", "numpy", "zmq", "msgpack"} == set()


def test_asking_for_help_loads_neither_torch_nor_pydantic():
    loaded = loaded_by(LOADED, "--help")
    assert "ffstream.cli.predict" in loaded
    assert loaded & {"torch", "pydantic"} == set()


def test_asking_a_verb_for_help_loads_neither_torch_nor_the_configuration():
    # Not a word about pydantic: recent versions of typer convert a verb's parameters with it.
    loaded = loaded_by(LOADED, "predict", "--help")
    assert "ffstream.cli.predict" in loaded
    assert loaded & {"torch", "zmq", "numpy", "ffstream.config", "ffstream.client"} == set()


def test_the_client_loads_neither_torch_nor_pydantic():
    loaded = after_importing("ffstream.client")
    assert "zmq" in loaded
    assert loaded & {"torch", "pydantic"} == set()


def test_what_is_loaded_would_be_seen():
    assert {"torch", "pydantic"} <= after_importing("ffstream.ff.network")

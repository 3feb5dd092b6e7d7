"""No autograd where anything learns: the update is written out. Backprop is measured beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import ffstream

FORBIDDEN = {"autograd", "backward", "enable_grad", "requires_grad", "requires_grad_"}


def names_in(tree: ast.AST) -> set[str]:
    """Return every name that code uses; docstrings and comments are not code."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.Import(names=aliases):
                names.update(part for alias in aliases for part in alias.name.split("."))
            case ast.ImportFrom(module=module, names=aliases):
                names.update((module or "").split("."), (alias.name for alias in aliases))
            case _:
                pass
    return names


def test_no_source_file_uses_autograd():
    root = Path(ffstream.__file__).parent
    measured = {root / "bench", root / "measuring"}
    files = [path for path in root.rglob("*.py") if path.parent not in measured]
    used = {str(path.relative_to(root)): names_in(ast.parse(path.read_text())) for path in files}
    assert "ff/network.py" in used
    assert {name: found for name, names in used.items() if (found := names & FORBIDDEN)} == {}


def test_the_search_sees_code_and_not_docstrings():
    code = '"""backward"""\nfrom torch import autograd\nx.backward()\ny(requires_grad=True)'
    assert names_in(ast.parse(code)) & FORBIDDEN == {"autograd", "backward", "requires_grad"}

"""docs/protocol.md: its examples decode to what stands beside them, its tables agree with them and with the source."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import msgpack
import pytest
from plain_client import unpack

from ffstream import wire

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/protocol.md").read_text()
HEX, JSON = (dict(re.findall(rf"```{kind} name=(\w+)\n(.*?)```", DOCUMENT, re.DOTALL)) for kind in ("hex", "json"))


def fields_of(heading):
    """Return the names in the first table of fields behind a heading or a sentence of the document."""
    table = DOCUMENT.split(heading, 1)[1].split("| field |", 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))


def example_frames(name):
    """Read the hex block of an example, a line a frame."""
    return [bytes.fromhex(line) for line in HEX[name].splitlines()]


@pytest.mark.parametrize("name", HEX)
def test_an_example_decodes_with_plain_msgpack_to_what_stands_below_it(name):
    frames, said = example_frames(name), json.loads(JSON[name])
    if "topic frame" in said:
        assert frames.pop(0).decode() == said["topic frame"]
    header = msgpack.unpackb(frames[0])
    assert header == said["header"]
    assert len(frames) == 1 + len(header.get("tensors", []))
    tensors = unpack(frames).get("tensors", {})
    assert {tensor: array.tolist() for tensor, array in tensors.items()} == said.get("tensors", {})


@pytest.mark.parametrize("name", HEX)
def test_an_example_decodes_and_encodes_with_ffstream_the_same(name):
    frames, said = example_frames(name), json.loads(JSON[name])
    frames = frames[1:] if "topic frame" in said else frames
    message = wire.decode(frames, 1_000)
    assert message.kind == said["header"]["type"]
    assert dict(message.fields) == {k: v for k, v in said["header"].items() if k not in ("v", "type", "tensors")}
    assert {tensor: array.tolist() for tensor, array in message.tensors.items()} == said.get("tensors", {})
    assert [bytes(frame) for frame in wire.encode(message.kind, message.fields, message.tensors)] == frames


def test_the_examples_show_every_type_of_message():
    shown = {json.loads(said)["header"]["type"] for said in JSON.values()}
    assert HEX.keys() == JSON.keys()
    assert shown == {
        *("hello", "samples", "bye", "welcome", "ack", "resend", "error"),
        *("query", "answer", "event", "replayed", "command", "reply"),
    }


def test_every_error_code_of_the_daemon_is_in_the_document_and_no_other():
    sources = "".join(path.read_text() for path in (ROOT / "ffstream").rglob("*.py"))
    table = DOCUMENT.split("| code | meaning |", 1)[1].split("\n\n", 1)[0]
    raised = re.findall(r'(?:WireError|\.error)\(\s*"(\w+)"', sources)
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(raised)


def test_the_fields_in_the_tables_are_those_in_the_examples():
    common = {"v", "type", "tensors"}
    marks = fields_of("`welcome`, `ack` and `resend` carry the marks")
    tables = {
        "hello": fields_of("`hello` opens a connection"),
        "samples": fields_of("`samples` carries samples"),
        "bye": fields_of("`bye` gives the feeder's share"),
        "welcome": marks | fields_of("`welcome` answers `hello`"),
        "ack": marks,
        "resend": marks | fields_of("`resend` says that"),
        "error_samples": fields_of("## Errors") | fields_of("An `error` for samples"),
        "error_query": fields_of("## Errors") | {"id"},
        "query": fields_of("`query` asks for predictions"),
        "answer": fields_of("`answer` holds the predictions"),
        "replayed": fields_of("### Replay"),
        "command": fields_of("## Control") - {"checkpoint"},
        "rollback": fields_of("## Control"),
    }
    for name, fields in tables.items():
        assert fields == json.loads(JSON[name])["header"].keys() - common, name


def test_the_plain_client_uses_nothing_of_ffstream():
    tree = ast.parse((ROOT / "tests/plain_client.py").read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "zmq" in modules
    assert not [module for module in modules if module.partition(".")[0] == "ffstream"]

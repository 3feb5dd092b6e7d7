"""Messages and frames; knows nothing of sockets (docs/protocol.md is its specification).

A message is a list of frames: one msgpack map, the *header*, then one raw frame for each tensor that the header
names. ``encode`` builds it; ``decode`` checks it against limits before anything is allocated, and the accessors of
``Message`` check each field as it is read, so that an error can name the field, what came and what was expected.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from ffstream.errors import WireError

VERSION = 1
HEADER_BYTES = 64 * 2**10
TENSORS = 4
DIMENSIONS = 8
NAME = 128
SHOWN = 80
# Label of a sample that has none.
UNLABELLED = -1

DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "float16", "float32", "int32", "int64")}
INPUT_DTYPES = ("uint8", "float16", "float32")
LABEL_DTYPES = ("uint8", "int32", "int64")

Array: TypeAlias = NDArray[Any]
Frames: TypeAlias = Sequence[bytes | memoryview]


@dataclass(frozen=True)
class InputSpec:
    """Input of the network: the shape of a sample, the number of labels, and whether a sample may have none."""

    shape: tuple[int, ...]
    labels: int
    unlabelled: bool = False


@dataclass(frozen=True)
class Message:
    """A decoded message: its type, the header's fields, and its tensors by name."""

    kind: str
    fields: Mapping[str, Any]
    tensors: Mapping[str, Array]

    def error(self, code: str, message: str, field: str = "") -> WireError:
        """Build an error about this message, for the caller to raise."""
        return WireError(code, message, field, self.fields)

    def integer(self, name: str, low: int = 0, high: int = 2**63 - 1) -> int:
        """Return an integer field; WireError if it is missing, of another type or out of [low, high]."""
        value = self.fields.get(name)
        if type(value) is not int or not low <= value <= high:
            raise self.error("bad_field", f"expected an integer from {low} to {high}, got {_shown(value)}", name)
        return value

    def number(self, name: str) -> float | None:
        """Return a field that is a finite number ≥ 0, or None if it is absent."""
        value = self.fields.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not (math.isfinite(value) and value >= 0):
            raise self.error("bad_field", f"expected a number ≥ 0, got {_shown(value)}", name)
        return float(value)

    def text(self, name: str, longest: int = NAME) -> str:
        """Return a field that is a string of 1 to ``longest`` characters."""
        value = self.fields.get(name)
        if type(value) is not str or not 0 < len(value) <= longest:
            raise self.error("bad_field", f"expected 1 to {longest} characters, got {_shown(value)}", name)
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """Return a field that is one of the allowed strings, or the default if it is absent."""
        value = self.fields.get(name, default)
        if value not in allowed:
            raise self.error("bad_field", f"expected one of {', '.join(allowed)}, got {_shown(value)}", name)
        return str(value)

    def inputs(self, spec: InputSpec) -> Array:
        """Return the tensor ``inputs``, (n, *shape), n ≥ 1, every value finite."""
        inputs = self._tensor("inputs", INPUT_DTYPES)
        if inputs.shape[1:] != spec.shape or inputs.ndim == 0 or len(inputs) == 0:
            expected = ", ".join(["n ≥ 1", *map(str, spec.shape)])
            raise self.error("bad_shape", f"expected ({expected}), got {inputs.shape}", "inputs")
        if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            row = int(np.argmin(np.isfinite(inputs.reshape(len(inputs), -1)).all(1)))
            raise self.error("not_finite", f"row {row} has a value that is infinite or not a number", "inputs")
        return inputs

    def labels(self, count: int, spec: InputSpec) -> Array:
        """Return the tensor ``labels``, (count,): each in [0, ``spec.labels``), or ``UNLABELLED`` if allowed."""
        labels = self._tensor("labels", LABEL_DTYPES)
        if labels.shape != (count,):
            raise self.error("bad_shape", f"expected ({count},) as for inputs, got {labels.shape}", "labels")
        wrong = (labels < (UNLABELLED if spec.unlabelled else 0)) | (labels >= spec.labels)
        if wrong.any():
            row = int(np.argmax(wrong))
            got = int(labels[row])
            message = f"expected 0 to {spec.labels - 1}, got {got} in row {row}"
            if got == UNLABELLED:
                message += ': it has no label, and the network learns without one only if network.coding is "none"'
            raise self.error("bad_label", message, "labels")
        return labels

    def _tensor(self, name: str, dtypes: Sequence[str]) -> Array:
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self.error("missing_tensor", f"expected a tensor of {' or '.join(dtypes)}, got none", name)
        if tensor.dtype.name not in dtypes:
            raise self.error("bad_dtype", f"expected {' or '.join(dtypes)}, got {tensor.dtype.name}", name)
        return tensor


def encode(
    kind: str, fields: Mapping[str, Any], tensors: Mapping[str, Array] | None = None
) -> list[bytes | memoryview]:
    """Build the frames of a message.

    Raises
    ------
    WireError
        If the protocol does not have the dtype of a tensor.
    """
    described: list[list[Any]] = []
    payload: list[bytes | memoryview] = []
    for name, tensor in (tensors or {}).items():
        if tensor.dtype.name not in DTYPES:
            raise WireError("bad_dtype", f"expected {' or '.join(DTYPES)}, got {tensor.dtype}", name)
        little = np.ascontiguousarray(tensor, DTYPES[tensor.dtype.name])
        described.append([name, tensor.dtype.name, list(tensor.shape)])
        payload.append(little.reshape(-1).view(np.uint8).data)
    header = {"v": VERSION, "type": kind, **fields}
    if described:
        header["tensors"] = described
    return [msgpack.packb(header), *payload]


def encode_error(error: WireError, *names: str) -> list[bytes | memoryview]:
    """Build the frames that report an error to the sender.

    ``names`` are the fields that identify the message at fault; those that are integers are repeated.
    """
    which = {name: value for name in names if type(value := error.header.get(name)) is int}
    return encode("error", {**which, "code": error.code, "field": error.field, "message": error.message})


def decode(frames: Frames, message_bytes: int) -> Message:
    """Decode frames into a message; tensors are views of the frames, nothing is copied.

    Raises
    ------
    WireError
        If the frames are invalid; it names the field at fault, what came and what was expected.
    """
    if not frames:
        raise WireError("truncated", "expected a header frame, got no frame")
    header = _header(frames[0])
    try:
        size = sum(map(len, frames))
        if size > message_bytes:
            raise WireError("too_large", f"expected at most {message_bytes} bytes, got {size}; send smaller batches")
        return _message(header, frames[1:])
    except WireError as error:
        error.header = header
        raise


def _message(header: dict[str, Any], payload: Frames) -> Message:
    version, kind, described = header.get("v"), header.get("type"), header.get("tensors", [])
    if type(version) is not int or version != VERSION:
        raise WireError("bad_version", f"this daemon speaks version {VERSION}, got {_shown(version)}", "v")
    if type(kind) is not str:
        raise WireError("bad_field", f"expected a message type, got {_shown(kind)}", "type")
    if len(kind) > NAME:
        raise WireError("unknown_type", f"expected a message type, got {_shown(kind)}", "type")
    if type(described) is not list or len(described) > TENSORS:
        raise WireError("bad_field", f"expected a list of at most {TENSORS} tensors", "tensors")
    if len(described) != len(payload):
        raise WireError("truncated", f"the header names {len(described)} tensors, but {len(payload)} came", "tensors")
    tensors: dict[str, Array] = {}
    for entry, frame in zip(described, payload, strict=True):
        name, array = _array(entry, frame)
        if name in tensors:
            raise WireError("bad_field", f"expected each name once, got {_shown(name)} twice", "tensors")
        tensors[name] = array
    fields = {name: value for name, value in header.items() if name not in ("v", "type", "tensors")}
    return Message(kind, fields, tensors)


def _header(frame: bytes | memoryview) -> dict[str, Any]:
    if len(frame) > HEADER_BYTES:
        raise WireError("too_large", f"expected a header of at most {HEADER_BYTES} bytes, got {len(frame)}")
    try:
        header = msgpack.unpackb(frame, strict_map_key=True, max_ext_len=0, max_array_len=1024, max_map_len=64)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError("bad_header", f"expected one msgpack map: {str(error) or type(error).__name__}") from error
    if type(header) is not dict or not all(type(key) is str for key in header):
        raise WireError("bad_header", f"expected one msgpack map with string keys, got {_shown(header)}")
    return header


def _array(entry: Any, frame: bytes | memoryview) -> tuple[str, Array]:
    match entry:
        case [str(name), str(dtype), list(shape)] if len(name) <= NAME and len(shape) <= DIMENSIONS:
            pass
        case _:
            raise WireError("bad_field", f"expected [name, dtype, shape], got {_shown(entry)}", "tensors")
    if dtype not in DTYPES:
        raise WireError("bad_dtype", f"expected {' or '.join(DTYPES)}, got {_shown(dtype)}", name)
    if not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise WireError("bad_shape", f"expected dimensions from 0 to 2³¹ - 1, got {_shown(shape)}", name)
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if len(frame) != expected:
        message = f"{dtype} {tuple(shape)} needs {expected} bytes, got {len(frame)}"
        raise WireError("truncated", message, name)
    try:
        return name, np.frombuffer(frame, DTYPES[dtype]).reshape(shape)
    except ValueError as error:
        # The array is empty, but the product of its other sides is more than an array can have.
        raise WireError("bad_shape", f"expected a shape that an array can have, got {_shown(shape)}", name) from error


def _shown(value: Any) -> str:
    """Format a value that a stranger sent, bounded in length and depth."""
    return "nothing" if value is None else reprlib.repr(value)[:SHOWN]

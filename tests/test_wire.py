from __future__ import annotations

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ffstream import wire
from ffstream.errors import WireError
from ffstream.wire import DTYPES, InputSpec, Message, decode, encode, encode_error

LIMIT = 2**20
SPEC = InputSpec((2, 3), labels=4)
ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def raw(header: object, *frames: bytes) -> list[bytes]:
    return [msgpack.packb(header), *frames]


def header(*tensors: object, **fields: object) -> dict[str, object]:
    return {"v": 1, "type": "samples", "tensors": list(tensors), **fields}


def samples(inputs: object = None, labels: object = None) -> Message:
    """Return a message of samples, all of it right but for what is passed."""
    inputs = np.zeros((2, 2, 3), np.float32) if inputs is None else np.asarray(inputs)
    labels = np.zeros(2, np.int64) if labels is None else np.asarray(labels)
    return decode(encode("samples", {}, {"inputs": inputs, "labels": labels}), LIMIT)


def refusal(call: object, *args: object) -> tuple[str, str]:
    with pytest.raises(WireError) as caught:
        call(*args)
    return caught.value.code, caught.value.field


@given(array=ARRAYS)
def test_every_dtype_and_shape_comes_back_as_it_was_sent(array):
    found = decode(encode("x", {}, {"a": array}), LIMIT).tensors["a"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("array", [np.arange(6, dtype=">i4"), np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]])
def test_any_byte_order_and_stride_is_sent_as_little_endian_rows(array):
    found = decode(encode("x", {}, {"a": array}), LIMIT).tensors["a"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("<")


def test_fields_and_kind_come_back_as_they_were_sent():
    fields = {"feeder": "f", "first": 2**63 - 1, "list": [1.5, None, "é"], "map": {"a": True}}
    message = decode(encode("hello", fields), LIMIT)
    assert (message.kind, message.fields, message.tensors) == ("hello", fields, {})


def test_tensors_keep_their_names_and_order():
    message = decode(encode("x", {}, {name: np.zeros(i, np.uint8) for i, name in enumerate("abcd")}), LIMIT)
    assert [(name, len(array)) for name, array in message.tensors.items()] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]


def test_decoding_copies_no_tensor():
    frames = encode("x", {}, {"a": np.arange(4, dtype=np.int64)})
    assert np.shares_memory(decode(frames, LIMIT).tensors["a"], np.frombuffer(frames[1], np.uint8))


@pytest.mark.parametrize("dtype", ["float64", "bool", "complex64", "U3", "O"])
def test_a_dtype_that_the_protocol_lacks_cannot_be_sent(dtype):
    assert refusal(encode, "x", {}, {"a": np.zeros(2, dtype)}) == ("bad_dtype", "a")


@pytest.mark.parametrize("spoil", [{"tensors": 1}, {"tensors": [["a", "float64", [1]]]}, {"v": 2}])
def test_what_cannot_be_decoded_still_says_which_message_it_was(spoil):
    frames = encode("query", {"id": 7}, {"a": np.zeros(1, np.uint8)})
    header = {**msgpack.unpackb(frames[0]), **spoil}
    with pytest.raises(WireError) as refused:
        decode([msgpack.packb(header), frames[1]], LIMIT)
    assert refused.value.header["id"] == 7


def test_an_error_is_sent_with_code_field_message_and_what_it_answers():
    error = WireError("bad_field", "expected better", "first", {"id": 3, "first": "x", "name": "status"})
    fields = decode(encode_error(error, "id", "first"), LIMIT).fields
    assert fields == {"id": 3, "code": "bad_field", "field": "first", "message": "expected better"}


@pytest.mark.parametrize(
    ("frames", "code", "field"),
    [
        ([], "truncated", ""),
        ([b""], "bad_header", ""),
        ([b"\xc1garbage"], "bad_header", ""),
        ([b"\x81"], "bad_header", ""),
        ([msgpack.packb({"v": 1, "type": "x"}) + b"\x00"], "bad_header", ""),
        (raw([1, 2]), "bad_header", ""),
        (raw({1: 2}), "bad_header", ""),
        (raw({b"v": 1}), "bad_header", ""),
        ([b"\x81\xa1v\xd4\x05\x00"], "bad_header", ""),
        ([b"\x81\xa1v\xd6\xff\x00\x00\x00\x00"], "bad_header", ""),
        (raw({str(i): i for i in range(65)}), "bad_header", ""),
        (raw(header(long=list(range(1025)))), "bad_header", ""),
        (raw(header(long="x" * wire.HEADER_BYTES)), "too_large", ""),
        (raw({"type": "x"}), "bad_version", "v"),
        (raw({"v": 2, "type": "x"}), "bad_version", "v"),
        (raw({"v": "1", "type": "x"}), "bad_version", "v"),
        (raw({"v": 1}), "bad_field", "type"),
        (raw({"v": 1, "type": 5}), "bad_field", "type"),
        (raw({"v": 1, "type": "x", "tensors": {}}), "bad_field", "tensors"),
        (raw(header(*[["a", "uint8", [0]]] * 5), *[b""] * 5), "bad_field", "tensors"),
        (raw(header(["a", "uint8"]), b""), "bad_field", "tensors"),
        (raw(header([5, "uint8", [1]]), b"0"), "bad_field", "tensors"),
        (raw(header(["a", "uint8", 1]), b"0"), "bad_field", "tensors"),
        (raw(header(["a", "uint8", [1] * 9]), b"0"), "bad_field", "tensors"),
        (raw(header(["a", "uint8", [1]])), "truncated", "tensors"),
        (raw(header(), b"0"), "truncated", "tensors"),
        (raw(header(["a", "float64", [1]]), b"00000000"), "bad_dtype", "a"),
        (raw(header(["a", "O", [1]]), b"00000000"), "bad_dtype", "a"),
        (raw(header(["a", "uint8", [-1]]), b"0"), "bad_shape", "a"),
        (raw(header(["a", "uint8", [2**31]]), b"0"), "bad_shape", "a"),
        (raw(header(["a", "uint8", [1.0]]), b"0"), "bad_shape", "a"),
        (raw(header(["a", "uint8", [True]]), b"0"), "bad_shape", "a"),
        (raw(header(["a", "uint8", [0, *[2**31 - 1] * 7]]), b""), "bad_shape", "a"),
        (raw(header(["a", "int64", [2**31 - 1] * 8]), b"0"), "truncated", "a"),
        (raw(header(["a", "float32", [2]]), b"0000000"), "truncated", "a"),
        (raw(header(["a", "float32", [2]]), b"000000000"), "truncated", "a"),
        (raw(header(["a", "uint8", [LIMIT]]), b"0" * LIMIT), "too_large", ""),
    ],
)
def test_a_malformed_message_is_refused_with_its_code_and_field(frames, code, field):
    assert refusal(decode, frames, LIMIT) == (code, field)


@pytest.mark.parametrize("key", ["v", "type", "tensors", "first"])
@pytest.mark.parametrize("depth", [100, 1000, 1020, 5000])
def test_a_deeply_nested_header_is_refused_or_read_and_never_breaks(key, depth):
    fields = {"v": b"\x01", "type": b"\xa1x", "tensors": b"\x90", "first": b"\x00", key: b"\x91" * depth + b"\x90"}
    frame = b"\x84" + b"".join(msgpack.packb(name) + value for name, value in fields.items())
    try:
        message = decode([frame], LIMIT)
    except WireError as error:
        assert len(error.message) < 1_000  # noqa: PT017
    else:
        assert refusal(message.integer, "first") == ("bad_field", "first")


def test_however_large_a_wrong_value_is_it_is_shown_in_few_characters():
    value: object = 1
    for _ in range(5):
        value = [value] * 6
    with pytest.raises(WireError) as caught:
        decode(raw({"v": 1, "type": value}), LIMIT)
    assert len(caught.value.message) < 200


def test_a_name_given_to_two_tensors_is_refused():
    frames = raw(header(["a", "uint8", [1]], ["a", "uint8", [1]]), b"0", b"1")
    assert refusal(decode, frames, LIMIT)[0] == "bad_field"


@pytest.mark.parametrize("value", [None, -1, 2**63, 1.0, True, "1", [1], {}])
def test_a_field_that_is_no_integer_in_range_is_refused_by_name(value):
    assert refusal(Message("x", {"first": value}, {}).integer, "first") == ("bad_field", "first")


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), True, "1", [1]])
def test_a_field_that_is_no_finite_number_is_refused_by_name(value):
    assert refusal(Message("x", {"deadline_ms": value}, {}).number, "deadline_ms") == ("bad_field", "deadline_ms")


@pytest.mark.parametrize(("value", "number"), [(None, None), (0, 0.0), (2.5, 2.5), (2**64 - 1, 2.0**64)])
def test_a_number_may_be_absent(value, number):
    assert Message("x", {"deadline_ms": value}, {}).number("deadline_ms") == number


@pytest.mark.parametrize("value", [None, "", "x" * 129, b"f", 5])
def test_a_field_that_is_no_short_text_is_refused_by_name(value):
    assert refusal(Message("x", {"feeder": value}, {}).text, "feeder") == ("bad_field", "feeder")


def test_well_formed_samples_are_read():
    message = samples(np.ones((2, 2, 3), np.float16), np.array([0, 3], np.uint8))
    assert message.inputs(SPEC).shape == (2, 2, 3)
    assert message.labels(2, SPEC).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        (np.zeros((2, 3, 2), np.float32), "bad_shape"),
        (np.zeros((2, 6), np.float32), "bad_shape"),
        (np.zeros((2, 3), np.float32), "bad_shape"),
        (np.zeros((0, 2, 3), np.float32), "bad_shape"),
        (np.zeros((), np.float32), "bad_shape"),
        (np.zeros((2, 2, 3), np.int64), "bad_dtype"),
    ],
)
def test_inputs_of_another_shape_or_dtype_are_refused(inputs, code):
    assert refusal(samples(inputs).inputs, SPEC) == (code, "inputs")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf]], ids=str)
def test_a_value_that_is_not_finite_is_refused_and_its_row_named(values, dtype):
    inputs = np.zeros((3, 2, 3), dtype)
    inputs[1].flat[: len(values)] = values
    with pytest.raises(WireError, match="row 1") as caught:
        samples(inputs).inputs(SPEC)
    assert (caught.value.code, caught.value.field) == ("not_finite", "inputs")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_large_values_are_accepted_as_long_as_they_are_finite(dtype):
    assert samples(np.full((200, 2, 3), np.finfo(dtype).max, dtype)).inputs(SPEC).shape == (200, 2, 3)


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (np.array([0, 4]), "bad_label"),
        (np.array([-1, 0]), "bad_label"),
        (np.array([0, 255], np.uint8), "bad_label"),
        (np.zeros(3, np.int64), "bad_shape"),
        (np.zeros((2, 1), np.int64), "bad_shape"),
        (np.zeros(2, np.float32), "bad_dtype"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, code):
    assert refusal(samples(labels=labels).labels, 2, SPEC) == (code, "labels")


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_sample_may_be_without_a_label_where_the_network_learns_without(dtype):
    spec = replace(SPEC, unlabelled=True)
    message = samples(labels=np.array([-1, 3], dtype))
    assert message.labels(2, spec).tolist() == [-1, 3]
    with pytest.raises(WireError, match=r"got -1 in row 0: it has no label, .* network\.coding"):
        message.labels(2, SPEC)


@pytest.mark.parametrize("labels", [[-2, 0], [-1, 4], np.array([0, 255], np.uint8)])
def test_no_other_label_is_taken_where_a_sample_may_be_without(labels):
    with pytest.raises(WireError, match=r"expected 0 to 3, got -?\d+ in row \d$"):
        samples(labels=labels).labels(2, replace(SPEC, unlabelled=True))


def test_missing_tensors_are_refused_by_name():
    message = Message("samples", {}, {})
    assert refusal(message.inputs, SPEC) == ("missing_tensor", "inputs")
    assert refusal(message.labels, 2, SPEC) == ("missing_tensor", "labels")


def read_all(frames: list[bytes]) -> None:
    """Decode, and read every field; anything but a WireError goes through."""
    try:
        message = decode(frames, LIMIT)
    except WireError:
        return
    assert isinstance(message, Message)
    reads = [
        lambda: message.inputs(SPEC),
        lambda: message.labels(2, SPEC),
        *(
            lambda f=f, name=name: f(name)
            for f in (message.integer, message.number, message.text)
            for name in message.fields
        ),
    ]
    for read in reads:
        try:
            read()
        except WireError as error:
            assert len(str(error)) < 1_000  # noqa: PT017


@given(frames=st.lists(st.binary(max_size=60), max_size=4))
def test_arbitrary_frames_are_read_or_refused(frames):
    read_all(frames)


SIDES = st.integers(-1, 3) | st.sampled_from([2**20, 2**31 - 1, 2**31, 2**63])
DESCRIBED = st.tuples(
    st.sampled_from(["inputs", "labels"]), st.sampled_from([*DTYPES, "O"]), st.lists(SIDES, max_size=9)
)


@given(
    fields=st.dictionaries(st.sampled_from(["v", "type", "tensors", "first", "feeder"]), JSON),
    tensors=st.lists(DESCRIBED | JSON, max_size=5),
    frames=st.lists(st.binary(max_size=48), max_size=3),
)
def test_arbitrary_headers_are_read_or_refused(fields, tensors, frames):
    read_all(raw({"v": 1, "type": "samples", "tensors": tensors, **fields}, *frames))


@given(
    inputs=hnp.arrays(np.float32, (2, 2, 3)),
    flips=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200), st.integers(1, 255)), max_size=4),
    cut=st.tuples(st.integers(0, 2), st.integers(0, 60)) | st.none(),
    order=st.permutations(range(3)) | st.just([0, 1, 2]) | st.lists(st.integers(0, 2), max_size=4),
)
def test_mutated_messages_are_read_or_refused(inputs, flips, cut, order):
    message = {"inputs": inputs, "labels": np.array([0, 3])}
    frames = [bytearray(frame) for frame in encode("samples", {"first": 0, "feeder": "f"}, message)]
    for frame, position, mask in flips:
        frames[frame][position % len(frames[frame])] ^= mask
    if cut is not None:
        del frames[cut[0]][cut[1] :]
    read_all([bytes(frames[i]) for i in order])

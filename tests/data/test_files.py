from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffstream.data.files import read_image, read_inputs, read_lines, read_samples
from ffstream.errors import SourceError

INPUTS = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
LABELS = np.array([3, 0])
SHAPE = (2, 3)


def drawn(path: Path, grey: int, size: tuple[int, int] = (3, 2)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("L", size, grey).save(path)
    return path


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_samples(path: Path) -> None:
    inputs, labels = read_samples(path, SHAPE)
    assert np.array_equal(inputs, INPUTS)
    assert np.array_equal(labels, LABELS)


def test_samples_are_read_from_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", inputs=INPUTS, labels=LABELS)
    assert_samples(tmp_path / "s.npz")


def test_samples_are_read_from_npy_with_their_labels_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", INPUTS)
    np.save(tmp_path / "s.labels.npy", LABELS)
    assert_samples(tmp_path / "s.npy")


@pytest.mark.parametrize("stored", [INPUTS, INPUTS[0]])
def test_samples_of_an_npy_file_alone_have_no_label(tmp_path: Path, stored: np.ndarray) -> None:
    np.save(tmp_path / "s.npy", stored)
    inputs, labels = read_samples(tmp_path / "s.npy", SHAPE)
    assert np.array_equal(inputs, stored.reshape(-1, *SHAPE))
    assert (labels.dtype, labels.tolist()) == (np.int64, [-1] * len(inputs))


def test_an_npy_file_of_one_number_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.float32(3))
    with pytest.raises(SourceError, match=r"s\.npy: expected an array of samples"):
        read_samples(tmp_path / "s.npy", SHAPE)


@pytest.mark.parametrize(
    "content",
    [
        "3,0,1,2,3,4,5\n0,6,7,8,9,10,11\n",
        "label,a,b,c,d,e,f\n3,0,1,2,3,4,5\n0,6,7,8,9,10,11\n",
        "a,b,label,c,d,e,f\n0,1,3,2,3,4,5\n6,7,0,8,9,10,11\n",
        "3,0,1,2,3,4,5\r\n0,6,7,8,9,10,11",
    ],
)
def test_samples_are_read_from_csv_with_and_without_a_heading(tmp_path: Path, content: str) -> None:
    assert_samples(written(tmp_path / "s.csv", content))


def test_samples_are_read_from_a_folder_with_a_subfolder_a_label(tmp_path: Path) -> None:
    for name, grey in (("b/1.png", 10), ("a/2.png", 30), ("a/1.PNG", 20)):
        drawn(tmp_path / name, grey)
    written(tmp_path / "a" / "notes.txt", "not an image")
    inputs, labels = read_samples(tmp_path, SHAPE)
    assert (inputs.shape, inputs[:, 0, 0].tolist(), labels.tolist()) == ((3, 2, 3), [20, 30, 10], [0, 0, 1])


def test_images_in_no_subfolder_have_no_label(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    drawn(tmp_path / "2.png", 30)
    drawn(tmp_path / "1.png", 20)
    inputs, labels = read_samples(tmp_path, SHAPE)
    assert (inputs[:, 0, 0].tolist(), labels.dtype, labels.tolist()) == ([20, 30], np.int64, [-1, -1])


def test_an_image_beside_labelled_ones_is_none_of_them(tmp_path: Path) -> None:
    drawn(tmp_path / "overview.png", 9)
    drawn(tmp_path / "a" / "1.png", 20)
    inputs, labels = read_samples(tmp_path, SHAPE)
    assert (inputs[:, 0, 0].tolist(), labels.tolist()) == ([20], [0])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(SourceError, match="a subfolder of images for each label, or images, but found no image"):
        read_samples(tmp_path, SHAPE)


@pytest.mark.parametrize("name", ["s.npz", "s.npy", "s.csv", "s.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name}: cannot be read: .*No such file"):
        read_samples(tmp_path / name, SHAPE)


def test_a_damaged_labels_file_is_named_and_not_passed_over(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", INPUTS)
    written(tmp_path / "s.labels.npy", "junk")
    with pytest.raises(SourceError, match=r"s\.labels\.npy"):
        read_samples(tmp_path / "s.npy", SHAPE)


def test_a_file_of_another_kind_is_answered_with_those_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s\.txt: expected \.npz, \.npy, \.csv"):
        read_samples(written(tmp_path / "s.txt", ""), SHAPE)


@pytest.mark.parametrize("name", ["s.npz", "s.npy"])
@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"\x93NUMPY\x01\x00junk"])
def test_an_array_file_that_is_damaged_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(SourceError, match=name):
        read_samples(written(tmp_path / name, content), SHAPE)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_with_any_byte_damaged_is_read_or_refused(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "s.npz", inputs=INPUTS, labels=LABELS)
    whole = (tmp_path / "s.npz").read_bytes()
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        with contextlib.suppress(SourceError):
            read_samples(written(tmp_path / "s.npz", damaged), SHAPE)


def test_an_array_file_whose_heading_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = b"\x93NUMPY\x01\x00\x06\x00{'a':\n"
    with pytest.raises(SourceError, match=r"s\.npy: cannot be read"):
        read_inputs(written(tmp_path / "s.npy", content), SHAPE)


def test_an_npz_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", INPUTS)
    with pytest.raises(SourceError, match=r"s\.npz"):
        read_samples((tmp_path / "s.npy").rename(tmp_path / "s.npz"), SHAPE)


def test_an_npz_file_without_labels_is_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", inputs=INPUTS)
    with pytest.raises(SourceError, match="expected an array called 'labels', found inputs"):
        read_samples(tmp_path / "s.npz", SHAPE)


@pytest.mark.parametrize("name", ["inputs", "labels"])
def test_pickled_objects_are_never_loaded(tmp_path: Path, name: str) -> None:
    arrays = {"inputs": INPUTS, "labels": LABELS, name: np.array([{}], object)}
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(SourceError, match=r"s\.npz"):
        read_samples(tmp_path / "s.npz", SHAPE)


def test_labels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", inputs=INPUTS, labels=np.array(["cat", "dog"]))
    with pytest.raises(SourceError, match=r"s\.npz"):
        read_samples(tmp_path / "s.npz", SHAPE)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3,0,1,2,3,4", "6 numbers"),
        ("3,0,1,2,3,4,5,6", "6 numbers"),
        ("3,7", "6 numbers"),
        ("3", "6 numbers"),
        ("x,0,1,2,3,4,5", "a label"),
        ("3.5,0,1,2,3,4,5", "a label"),
        ("3,0,1,2,x,4,5", "6 numbers"),
        (f"{10**30},0,1,2,3,4,5", "a label"),
    ],
)
def test_a_bad_line_of_csv_is_named_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path / "s.csv", f"label,a,b,c,d,e,f\n1,0,1,2,3,4,5\n{line}\n")
    with pytest.raises(SourceError, match=rf"s\.csv: line 3: expected .*{said}"):
        read_samples(path, SHAPE)


def test_labels_that_are_not_one_a_sample_are_refused(tmp_path: Path) -> None:
    for labels in (LABELS[:1], LABELS[:, None]):
        np.savez(tmp_path / "s.npz", inputs=INPUTS, labels=labels)
        with pytest.raises(SourceError, match=r"s\.npz: expected one label per sample"):
            read_samples(tmp_path / "s.npz", SHAPE)


@pytest.mark.parametrize("inputs", [np.array(["a", "b"]), np.array([1j, 2j]), np.array([], "datetime64[s]")])
def test_inputs_that_are_no_numbers_are_refused(tmp_path: Path, inputs: np.ndarray) -> None:
    np.savez(tmp_path / "s.npz", inputs=inputs, labels=LABELS)
    with pytest.raises(SourceError, match=r"s\.npz: expected numbers"):
        read_samples(tmp_path / "s.npz", SHAPE)


def test_samples_are_read_from_json_lines(tmp_path: Path) -> None:
    lines = [{"inputs": values.tolist(), "label": int(label)} for values, label in zip(INPUTS, LABELS, strict=True)]
    assert_samples(written(tmp_path / "s.jsonl", "\n".join(map(json.dumps, lines))))


def test_a_file_of_no_lines_has_no_samples(tmp_path: Path) -> None:
    inputs, labels = read_samples(written(tmp_path / "s.jsonl", "\n"), SHAPE)
    assert (inputs.shape, labels.shape) == ((0, *SHAPE), (0,))


def test_a_bad_line_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s\.jsonl: line 1: expected"):
        read_samples(written(tmp_path / "s.jsonl", "[1, 2]"), SHAPE)


def test_lines_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s\.jsonl: expected lines of UTF-8"):
        read_samples(written(tmp_path / "s.jsonl", b"\xff\xfe"), SHAPE)


@pytest.mark.parametrize("batch", [1, 2, 3, 10])
def test_lines_are_read_in_batches_flat_or_nested(batch: int) -> None:
    lines = [
        '{"inputs": [1, 2], "label": 1}',
        "",
        '{"inputs": [[3], [4]], "label": 0}',
        '{"label": 2, "inputs": [5, 6]}',
    ]
    batches = list(read_lines(lines, (2, 1), batch=batch))
    assert [len(labels) for _, labels in batches] == {1: [1, 1, 1], 2: [2, 1], 3: [3], 10: [3]}[batch]
    assert np.concatenate([inputs for inputs, _ in batches]).tolist() == [[[1], [2]], [[3], [4]], [[5], [6]]]
    assert np.concatenate([labels for _, labels in batches]).tolist() == [1, 0, 2]


def test_a_line_without_a_label_may_be_the_bare_list_and_lines_may_differ() -> None:
    lines = ["[1, 2]", '{"inputs": [3, 4]}', '{"inputs": [5, 6], "label": 1}', '{"inputs": [7, 8], "label": null}']
    ((inputs, labels),) = read_lines(lines, (2,), batch=5)
    assert (inputs.tolist(), labels.tolist()) == ([[1, 2], [3, 4], [5, 6], [7, 8]], [-1, -1, 1, -1])


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        "3",
        '{"label": 1}',
        '{"inputs": [1], "label": 1}',
        '{"inputs": [1, 2, 3], "label": 1}',
        '{"inputs": [1, "x"], "label": 1}',
        '{"inputs": [1, [2]], "label": 1}',
        '{"inputs": [1, 2], "label": "x"}',
        '{"inputs": [1, 2], "label": 1.7}',
        '{"inputs": [1, 2], "label": Infinity}',
        '{"inputs": [1, 2], "label": ' + "9" * 30 + "}",
        '{"inputs": [1, ' + "9" * 400 + '], "label": 1}',
        "[" * 100_000,
    ],
)
def test_a_bad_line_is_named_by_its_number(line: str) -> None:
    with pytest.raises(SourceError, match=r"line 2: expected .* with 2 values"):
        list(read_lines(['{"inputs": [1, 2], "label": 1}', line], (2,), batch=5))


@pytest.mark.parametrize(("shape", "mean"), [((4, 5), 100), ((3, 4, 5), 100), ((1, 4, 5), 100), ((1, 1), 100)])
def test_an_image_is_resized_to_the_shape_of_a_sample(tmp_path: Path, shape: tuple[int, ...], mean: int) -> None:
    image = read_image(drawn(tmp_path / "i.png", 100, size=(20, 30)), shape)
    assert (image.shape, image.dtype, image.mean()) == (shape, np.uint8, mean)


def test_an_image_keeps_its_rows_and_columns() -> None:
    file = BytesIO()
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    assert np.array_equal(read_image(file, (2, 3)), pixels)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (10, 20, 30)])
def test_the_channels_of_a_colour_image_come_first(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    Image.new("RGB", (6, 4), colour).save(tmp_path / "i.png")
    read = read_image(tmp_path / "i.png", (3, 4, 6))
    assert np.array_equal(read, np.broadcast_to(np.reshape(colour, (3, 1, 1)), (3, 4, 6)))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 1), (4, 4, 3), (4, 4, 4), (2, 2, 2, 2)])
def test_an_image_cannot_become_a_sample_of_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match="cannot become a sample of shape"):
        read_image(drawn(tmp_path / "i.png", 1), shape)


def png() -> bytes:
    file = BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("length", range(0, len(png()) - 24, 3))
def test_a_truncated_image_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(SourceError, match=r"i\.png: cannot be read as an image"):
        read_image(written(tmp_path / "i.png", png()[:length]), SHAPE)


def resized(content: bytes, width: int) -> bytes:
    """Write another width into the heading of a bitmap."""
    return content[:18] + width.to_bytes(4, "little") + content[22:]


def bmp() -> bytes:
    file = BytesIO()
    Image.new("L", (8, 8)).save(file, "BMP")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        png().replace(b"\0\0\0\x0dIHDR", b"\0\0\0\x01IHDR"),  # a heading of one byte
        png()[:33] + b"\0\0\0\x05\x16\x03\0\x13" + bytes(20),  # a chunk without a name
        resized(bmp(), 2**30),  # billions of pixels
    ],
    ids=["heading", "chunk", "bomb"],
)
def test_a_damaged_image_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="cannot be read as an image"):
        read_image(written(tmp_path / "i.png", content), SHAPE)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"i\.png"):
        read_image(tmp_path / "i.png", SHAPE)


@pytest.mark.parametrize("stored", [INPUTS, INPUTS[0]])
def test_inputs_are_read_as_a_batch(tmp_path: Path, stored: np.ndarray) -> None:
    np.save(tmp_path / "s.npy", stored)
    assert np.array_equal(read_inputs(tmp_path / "s.npy", SHAPE), INPUTS[: 2 if stored.ndim == 3 else 1])


def test_an_image_is_read_as_a_batch_of_one(tmp_path: Path) -> None:
    assert read_inputs(drawn(tmp_path / "i.PNG", 9), SHAPE).tolist() == [[[9] * 3] * 2]

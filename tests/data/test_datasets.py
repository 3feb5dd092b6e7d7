from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffstream.data.datasets import CIFAR10, HELD_OUT, KNOWN, NAMES, jittered, load
from ffstream.errors import InstallError, SourceError

ROOT = Path("unused")


def dots(count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return images with one lit pixel in the middle, each of its own brightness; labelled with it."""
    labels = np.arange(1, count + 1)
    images = np.zeros((count, 5, 7), np.uint8)
    images[:, 2, 3] = labels
    return images, labels


def test_the_two_parts_of_the_digits_hold_each_digit_once(digits: tuple[np.ndarray, np.ndarray]) -> None:
    loaded = load("digits", ROOT)
    assert len(loaded.test[0]) == HELD_OUT
    parts = np.concatenate([loaded.train[0], loaded.test[0]])
    # Sixteen greys, so that another rounding of the same grey counts as the same.
    assert Counter(image.tobytes() for image in parts // 15) == Counter(image.tobytes() for image in digits[0] // 15)


def test_the_digits_are_split_the_same_way_each_time() -> None:
    first, second = load("digits", ROOT), load("digits", ROOT)
    assert np.array_equal(first.test[0], second.test[0])
    assert np.array_equal(first.train[1], second.train[1])


def test_the_digits_are_bytes_over_the_whole_range() -> None:
    loaded = load("digits", ROOT)
    images, labels = loaded.train
    assert (images.dtype, images.min(), images.max(), labels.dtype) == (np.uint8, 0, 255, np.int64)
    assert (loaded.shape, loaded.labels, set(labels)) == ((8, 8), 10, set(range(10)))


def test_a_name_that_is_no_data_set_is_answered_with_those_there_are() -> None:
    with pytest.raises(SourceError, match=f"no data set is called 'mnits'; there are {', '.join(NAMES)}"):
        load("mnits", ROOT)


@pytest.mark.parametrize("name", [name for name in NAMES if KNOWN[name].torchvision])
def test_missing_files_are_answered_with_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name} is not in .*--data-root.*--download"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_what_is_known_of_a_data_set_is_so(name: str) -> None:
    root = os.environ.get("FFSTREAM_DATA")
    if name != "digits" and root is None:
        pytest.skip("FFSTREAM_DATA names no folder with MNIST")
    loaded = load(name, Path(root or ROOT))
    assert (KNOWN[name].shape, KNOWN[name].labels) == (loaded.shape, len(set(loaded.train[1])))


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    """Return a folder with MNIST of 5 training and 3 test images as torchvision keeps it."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 5), ("t10k", 3)):
        images, labels = random.integers(0, 256, (count, 28, 28), np.uint8), random.integers(0, 10, count, np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())
    return tmp_path


def test_mnist_is_what_torchvision_reads(idx: Path) -> None:
    import torchvision

    loaded = load("mnist", idx)
    assert (loaded.shape, loaded.labels, loaded.train[0].dtype) == ((28, 28), 10, np.uint8)
    for (images, labels), train in ((loaded.train, True), (loaded.test, False)):
        theirs = torchvision.datasets.MNIST(idx, train=train)
        assert np.array_equal(images, theirs.data.numpy())
        assert np.array_equal(labels, theirs.targets.numpy())
        assert images.flags.writeable


def test_mnist_needs_no_torch(idx: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ffstream.data.datasets import load; "
        "load('mnist', Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(idx)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b"\x01" + content[1:], lambda _: b""])
def test_a_damaged_idx_file_is_named(idx: Path, change: Callable[[bytes], bytes]) -> None:
    file = idx / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(SourceError, match="t10k-labels-idx1-ubyte: is damaged"):
        load("mnist", idx)


@pytest.mark.parametrize("raised", ["RuntimeError", "ImportError", "OSError"])
def test_a_torchvision_that_does_not_fit_its_torch_is_answered_with_two_commands(tmp_path: Path, raised: str) -> None:
    (tmp_path / "torchvision.py").write_text(f"raise {raised}('operator torchvision::nms does not exist')")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ffstream.cli import main; main()"
    command = [sys.executable, "-c", code, str(tmp_path), "bench", "optimizers", "--dataset", "usps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == InstallError.exit_code
    assert "Traceback" not in done.stderr
    assert "torchvision::nms does not exist" in done.stderr
    assert "pip uninstall --yes torch torchvision\n" in done.stderr
    assert "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu\n" in done.stderr


@pytest.mark.parametrize("count", [1, 5, 13])
def test_a_jittered_stream_has_the_length_asked_for(count: int) -> None:
    images, labels = jittered(*dots(), count, seed=0)
    assert (images.shape, labels.shape) == ((count, 5, 7), (count,))


def test_a_shift_is_at_most_one_pixel_either_way() -> None:
    images, labels = jittered(*dots(), 500, seed=0)
    row, down, right = np.nonzero(images)
    assert row.tolist() == list(range(500))
    assert set(zip(down.tolist(), right.tolist(), strict=True)) == {(i, j) for i in (1, 2, 3) for j in (2, 3, 4)}
    assert np.array_equal(images.max((1, 2)), labels)


@pytest.mark.parametrize("pixels", [0, 2])
def test_a_shift_is_at_most_as_many_pixels_as_it_may_be(pixels: int) -> None:
    row, down, right = np.nonzero(jittered(*dots(), 1_000, seed=0, pixels=pixels)[0])
    assert row.tolist() == list(range(1_000))
    span = range(-pixels, pixels + 1)
    assert set(zip(down.tolist(), right.tolist(), strict=True)) == {(2 + i, 3 + j) for i in span for j in span}


def test_the_channels_of_an_image_are_shifted_together() -> None:
    images, labels = dots()
    colour = np.stack([images, 2 * images, 3 * images], 1)
    shifted, _ = jittered(colour, labels, 50, seed=0, pixels=2)
    grey, _ = jittered(images, labels, 50, seed=0, pixels=2)
    assert np.array_equal(shifted, np.stack([grey, 2 * grey, 3 * grey], 1))


def test_what_is_shifted_out_does_not_come_in_again() -> None:
    images = np.full((1, 3, 3), 9, np.uint8)
    shifted, _ = jittered(images, np.zeros(1, np.int64), 200, seed=0)
    assert set((shifted > 0).sum((1, 2)).tolist()) == {4, 6, 9}


def test_a_stream_shows_every_image_once_before_any_comes_again() -> None:
    _, labels = jittered(*dots(), 15, seed=0)
    assert [sorted(part) for part in labels.reshape(3, 5).tolist()] == [[1, 2, 3, 4, 5]] * 3


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second = jittered(*dots(), 50, seed=3), jittered(*dots(), 50, seed=3)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_another_seed_gives_another_stream() -> None:
    assert not np.array_equal(jittered(*dots(), 50, seed=3)[0], jittered(*dots(), 50, seed=4)[0])


# --- CIFAR-10 ---

SIZES = {"train": 3, "test": 2}


def colour(part: str, label: int, number: int) -> tuple[int, int, int]:
    """Return the colour of a whole picture: red tells its label, green its number, blue its part."""
    return 20 * label, 50 * number, 200 if part == "test" else 0


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a few pictures of each of the ten labels, as JPEGs."""
    for part, count in SIZES.items():
        for label, name in enumerate(CIFAR10):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (32, 32), colour(part, label, number))
                image.save(folder / f"{number:04}.jpg", quality=95, subsampling=0)
    return tmp_path / "pictures"


def assert_pictures(root: Path) -> None:
    loaded = load("cifar10", root)
    assert (loaded.shape, loaded.labels) == ((3, 32, 32), 10)
    for part, (images, labels) in {"train": loaded.train, "test": loaded.test}.items():
        assert (images.dtype, labels.dtype, images.flags.c_contiguous) == (np.uint8, np.int64, True)
        assert labels.tolist() == np.repeat(np.arange(10), SIZES[part]).tolist()
        expected = [colour(part, label, number) for label in range(10) for number in range(SIZES[part])]
        # JPEG is not exact.
        assert np.abs(images.astype(int) - np.reshape(expected, (-1, 3, 1, 1))).max() <= 3


@pytest.mark.parametrize("inside", [".", "CIFAR-10-images"])
def test_cifar10_is_read_from_pictures_channels_first(tmp_path: Path, pictures: Path, inside: str) -> None:
    (tmp_path / "root").mkdir()
    pictures.rename(tmp_path / "root" / inside if inside != "." else tmp_path / "root")
    assert_pictures(tmp_path / "root")


def test_pictures_are_decoded_once(pictures: Path) -> None:
    assert_pictures(pictures)
    assert sorted(path.name for path in pictures.iterdir()) == ["test", "test.npz", "train", "train.npz"]
    for picture in pictures.rglob("*.jpg"):
        # In place: the folder does not change.
        picture.write_bytes(b"no picture any more")
    assert_pictures(pictures)


def test_pictures_are_decoded_anew_when_one_came(pictures: Path) -> None:
    load("cifar10", pictures)
    Image.new("RGB", (32, 32)).save(pictures / "train" / "truck" / "0003.jpg")
    # Whatever the resolution of the file system's clock.
    os.utime(pictures / "train" / "truck")
    assert len(load("cifar10", pictures).train[1]) == 31


def test_what_was_kept_and_is_damaged_is_decoded_anew(pictures: Path) -> None:
    load("cifar10", pictures)
    kept = pictures / "train.npz"
    kept.write_bytes(kept.read_bytes()[:-500])
    assert_pictures(pictures)
    assert kept.stat().st_size > 30 * 3 * 32 * 32


def test_pictures_that_cannot_be_kept_are_read_all_the_same(pictures: Path) -> None:
    for part in SIZES:
        (pictures / f"{part}.npz").mkdir()
        (pictures / f"{part}.npz" / "in the way").touch()
    assert_pictures(pictures)
    assert len(list(pictures.iterdir())) == 4


def test_a_folder_of_other_pictures_is_not_cifar10(pictures: Path) -> None:
    (pictures / "train" / "lion").mkdir()
    with pytest.raises(SourceError, match="cifar10 is not in"):
        load("cifar10", pictures)


def test_cifar10_as_torchvision_has_it_comes_first_and_channels_first(pictures: Path) -> None:
    import hashlib
    import pickle

    import torchvision

    theirs = torchvision.datasets.CIFAR10
    # Its files, with two samples each, under checksums of their own.
    folder = pictures / theirs.base_folder
    folder.mkdir()
    pixels = np.arange(2 * 3072, dtype=np.int64).astype(np.uint8).reshape(2, 3072)
    files = {name: {"data": pixels, "labels": [3, 9]} for name, _ in theirs.train_list + theirs.test_list}
    files[theirs.meta["filename"]] = {"label_names": list(CIFAR10)}
    sums = {}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patched:
        for entries in ("train_list", "test_list"):
            known = [[name, sums[name]] for name, _ in getattr(theirs, entries)]
            patched.setattr(theirs, entries, known)
        patched.setattr(theirs, "meta", {**theirs.meta, "md5": sums[theirs.meta["filename"]]})
        loaded = load("cifar10", pictures)
    assert (loaded.shape, loaded.labels) == ((3, 32, 32), 10)
    assert np.array_equal(loaded.test[0], pixels.reshape(2, 3, 32, 32))
    assert loaded.train[1].tolist() == [3, 9] * 5

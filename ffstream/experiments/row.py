"""A row of the reproduction table: one published figure, or one to compare it with, declared as a TOML file."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ffstream.config import NetworkConfig, OptimizerConfig, read, validate
from ffstream.config.section import Count, Positive
from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments.recurrent import JUDGED

Percent = Annotated[float, Field(ge=0, le=100)]
# Keys that do not change the result of a run.
PROSE = {"name", "title", "published_error", "source", "seeds"}
# Methods that learn by the rule of [optimizer].
RULED = ("forward", "recurrent")
# Keys of [network] that the recurrent network accepts; its layers are dense, and its label is the top layer.
RECURRENT = {
    *("shape", "labels", "hidden", "activation", "goodness", "top_share", "temperature", "threshold"),
    *("negatives", "readout_rate", "precision", "seed"),
}


class Row(BaseModel):
    """Data, method, and published figure of one row.

    Attributes
    ----------
    name
        Name of its file, without the suffix.
    published_error, source
        Published test error in percent, if any, and its source.
    method
        ``forward``: the sweep. ``backprop``: a multilayer perceptron of the same widths, with
        cross-entropy and Adam. ``frozen``: the same net, which keeps its initial weights, and a linear softmax read-out
        trained on its normalized activities. ``recurrent``: layers also see the layers above them
        (``ffstream.experiments.recurrent``).
    passes, batch, seeds
        Passes over the training images, images per step, and number of runs, with seeds 0, 1, …
    jitter, flip, dropout
        Largest random shift of each image, in pixels along both axes; true to mirror a random half of the images; share
        of its values to set to 0 at random. Only training images are altered, never test images.
    phase
        Under ``forward``: both signs in each step (together), or real data only (wake), which is enough if goodness is
        compared with that of the other labels.
    decay
        Final share of the passes, over which the step size falls linearly to 0 (in the paper, the second half).
    rate
        Step size of Adam under ``backprop`` and ``frozen``.
    iterations
        Number of iterations per batch under ``recurrent``.
    network, optimizer
        Sections of ``ffstream.toml``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str = Field(min_length=1)
    published_error: Percent | None = None
    source: str = ""
    dataset: str
    method: Literal["forward", "backprop", "frozen", "recurrent"] = "forward"
    passes: Count
    batch: Count
    seeds: Count = 5
    jitter: int = Field(0, ge=0)
    flip: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    phase: Literal["together", "wake"] = "together"
    decay: float = Field(0.5, ge=0, le=1)
    rate: Positive = 1e-3
    iterations: int = Field(8, ge=JUDGED[-1])
    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dataset not in datasets.NAMES:
            raise ValueError(f"dataset {self.dataset!r} is unknown; there are {', '.join(datasets.NAMES)}")
        if self.published_error is not None and not self.source:
            raise ValueError("published_error needs a source: the paper and its section, or a URL")
        if self.method in RULED and "rate" in self.model_fields_set:
            raise ValueError(f"rate applies only to backprop and frozen; {self.method} takes that of [optimizer]")
        if self.method not in RULED and "optimizer" in self.model_fields_set:
            raise ValueError(
                f"[optimizer] applies only to {' and '.join(RULED)}; {self.method} learns by Adam, at rate"
            )
        if self.method != "recurrent" and "iterations" in self.model_fields_set:
            raise ValueError(f"iterations applies only to recurrent; {self.method} goes through its layers once")
        if self.method != "forward" and "phase" in self.model_fields_set:
            raise ValueError(f"phase applies only to forward; {self.method} has none")
        if self.method == "backprop" and any(layer.kind != "dense" for layer in self.network.stack):
            raise ValueError("backprop has dense layers only: give network.hidden")
        if (self.jitter or self.flip) and len(self.network.shape) < 2:
            raise ValueError("jitter and flip need images: a network.shape of height and width")
        return self

    @model_validator(mode="after")
    def _recurs(self) -> Self:
        if self.method != "recurrent":
            return self
        alien = self.network.model_fields_set - RECURRENT
        if alien:
            raise ValueError(f"recurrent does not support network.{', network.'.join(sorted(alien))}; remove it")
        if self.network.threshold == "running" or self.network.corruption:
            raise ValueError("recurrent needs a threshold other than 'running', and wrong labels as negatives")
        return self

    def stamp(self, seed: int, labels: Iterable[bytes]) -> str:
        """Return a hash of everything that the figures of a run depend on.

        Parameters
        ----------
        seed
            Seed of the run.
        labels
            Labels of the training and test images.
        """
        told = json.dumps([self.model_dump(mode="json", exclude=PROSE), seed], sort_keys=True)
        return hashlib.sha256(b"".join([told.encode(), *labels])).hexdigest()


def load(file: Path) -> Row:
    """Read a row.

    Raises
    ------
    ConfigError
        If the row is invalid; the message names the file, the key, and what was expected.
    """
    row = validate(Row, read(file), str(file))
    if row.name != file.stem:
        raise ConfigError(f"{file}: name: is {row.name!r}, but must match the file's name, {file.stem!r}")
    return row


def find(folder: Path | None = None, names: Sequence[str] = ()) -> list[Row]:
    """Read the bundled rows, then those of a folder, and return the requested ones.

    Parameters
    ----------
    folder
        Folder of the user's own rows; a row with the name of a bundled row replaces it.
    names
        Rows to return, in this order; all rows if none is named.

    Raises
    ------
    ConfigError
        If a row cannot be read, or a name is unknown.
    """
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--rows-dir {folder}: is not a folder")
    with resources.as_file(resources.files("ffstream.experiments") / "rows") as bundled:
        files = sorted(bundled.glob("*.toml")) + sorted(folder.glob("*.toml") if folder else ())
        rows = {row.name: row for row in map(load, files)}
    for name in names:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(rows)}"
            raise ConfigError(f"--rows {name}: there is no such row; {advice}")
    return [rows[name] for name in names] if names else list(rows.values())

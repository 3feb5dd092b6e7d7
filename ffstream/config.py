"""The TOML file, as one validated model.

``load`` reads a file, ``default_toml`` prints the commented defaults. Every key has a default, so an empty file
is a valid configuration.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ffstream import ports
from ffstream.errors import ConfigError

Count = Annotated[int, Field(ge=1)]
# No more rows than a header may list labels of (docs/protocol.md, "Limits").
Rows = Annotated[int, Field(ge=1, le=1_024)]
Precision = Literal["auto", "float32", "bfloat16"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Section):
    """The network: shape of a sample, layers, and how labels meet them."""

    shape: tuple[Count, ...] = Field((28, 28), min_length=1, description="Shape of one sample as it is sent.")
    labels: int = Field(10, ge=2, description="Number of labels, 0 … labels-1.")
    hidden: tuple[Count, ...] = Field((512, 512), min_length=1, description="Units of each layer.")
    coding: Literal["assembly", "context", "overlay", "none"] = Field(
        "assembly",
        description="How a label meets the activities: assembly (each label owns units; one pass scores all labels), "
        "context (a top-down term in every layer; try temperature 16, threshold 24, rate 4e-3), "
        "overlay (written over the first pixels, as in Hinton's paper; one pass a label).",
    )
    assemblies: Literal["disjoint", "random"] = Field(
        "disjoint", description="Under assembly coding: each label owns a run of units of its own, or a random share."
    )
    assembly_share: float = Field(0.3, gt=0, le=1, description="Share of the units that a random assembly has.")
    temperature: Positive = Field(8.0, description="Goodness is temperature times the mean squared activity.")
    threshold: float = Field(
        12.0, allow_inf_nan=False, description="Goodness at which a layer is undecided: real with probability 1/2."
    )
    negatives: Literal["belief", "uniform"] = Field(
        "belief", description="Wrong labels are drawn from what the network believes, or each alike."
    )
    precision: Precision = Field(
        "auto",
        description="Of the weights and the products. auto takes bfloat16 where the device multiplies it natively, "
        "which is 2 to 4 times faster, and float32 elsewhere.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the first weights and of every draw.")

    @property
    def width(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.shape)

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.coding == "overlay" and self.labels > self.width:
            raise ValueError(f"overlay writes {self.labels} labels over the first pixels, a sample has {self.width}")
        if self.coding == "assembly" and self.assemblies == "disjoint" and self.labels > min(self.hidden):
            raise ValueError(f"{self.labels} labels cannot own disjoint assemblies among {min(self.hidden)} units")
        return self


class OptimizerConfig(_Section):
    """The rule that changes the weights."""

    rule: Literal["in_place", "unit", "factored", "momentum", "adam"] = Field(
        "in_place",
        description="in_place: W -= rate * gradient, no state, the fastest and on MNIST the best. unit and factored "
        "divide by running root mean squares a unit, or a unit and an input; momentum and adam keep one or two numbers "
        "a weight.",
    )
    rate: Positive = Field(
        1.5e-3,
        description="Step size: how far one sample moves the weights. adam, unit and factored want about 2e-4.",
    )
    rounding: Literal["nearest", "stochastic", "master"] = Field(
        "nearest",
        description="How a small step reaches bfloat16 weights: nearest loses what is too small to show, 0.3 "
        "points on MNIST at a rate of 2e-4; stochastic and master (a float32 copy) keep it, and cost memory traffic. "
        "Of in_place, unit and factored.",
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), description="Decay of the first moment (momentum, adam) and of the second (unit, factored, adam)."
    )


class PhasesConfig(_Section):
    """Wake and sleep."""

    schedule: Literal["alternating", "together"] = Field(
        "alternating",
        description="alternating (wake_steps of real data, then a nap of sleep_steps of negatives), "
        "or together (both signs in each step).",
    )
    wake_steps: Count = Field(4, description="Learning steps awake before a nap.")
    sleep_steps: Count = Field(4, description="Learning steps of a nap.")
    quiet_ms: Positive = Field(50.0, description="A stream silent for this long lets the network nap early.")


class EngineConfig(_Section):
    """The loop that gathers, sweeps and replies."""

    device: str = Field("auto", description='"auto" takes a GPU where there is one; or "cpu", "cuda", "cuda:1".')
    max_batch: Rows = Field(64, description="Samples learned in one step at most.")
    max_query_rows: Rows = Field(256, description="Query rows answered in one sweep at most.")
    threads: int = Field(
        0, ge=0, description="Threads that a product may take on a CPU; 0 leaves one core to the sockets."
    )
    compile: bool = Field(
        True, description="Fuse the work between the products with torch.compile before the daemon is ready."
    )
    max_wait_ms: float = Field(
        2.0, ge=0, allow_inf_nan=False, description="How long a step may wait for its batch to fill; 0 never waits."
    )
    memory_samples: Count = Field(10_000, description="Samples that sleep can draw from (a uniform reservoir).")
    window: Count = Field(1_000, description="Samples in the windowed prequential accuracy.")
    report_ms: Positive = Field(250.0, description="How often scores are published and layer metrics refreshed.")


class ServerConfig(_Section):
    """Sockets and their bounds."""

    host: str = Field(
        ports.HOST,
        description="Address to bind. There is no access control: leave it on loopback unless the network is yours.",
    )
    port: int = Field(
        ports.PORT,
        ge=1,
        le=65_535 - ports.HTTP,
        description="First of six ports: control, queries, samples, push, events, HTTP.",
    )
    inbox_samples: Count = Field(8_192, description="Samples that may wait to be learned; credit is a share of this.")
    inbox_bytes: Count = Field(64 * 2**20, description="The same in bytes; as many again for queries.")
    inbox_query_rows: Count = Field(4_096, description="Query rows that may wait to be answered.")
    message_samples: Rows = Field(1_024, description="Samples or query rows in one message at most.")
    message_bytes: Count = Field(16 * 2**20, description="Bytes in one message at most.")
    feeders: Count = Field(256, description="Feeders remembered; the one silent longest is forgotten first.")
    replay_events: Count = Field(1_024, description="Events of each topic kept for late subscribers.")


class StateConfig(_Section):
    """What survives a restart."""

    directory: Path = Field(
        Path("ffstream-state"), description="Folder of the checkpoints and the journal; made if missing."
    )
    journal: bool = Field(
        True,
        description="Keep every sample on disk before it is acknowledged as durable. Without it a crash loses what was "
        "learned since the last checkpoint.",
    )
    journal_bytes: Count = Field(
        4 * 2**30, description="Size of the journal at most; a checkpoint is saved, and the journal pruned, in time."
    )
    checkpoint_s: Positive = Field(300.0, description="Seconds between checkpoints.")
    keep: Count = Field(3, description="Checkpoints kept.")


class Config(_Section):
    """The whole file."""

    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    phases: PhasesConfig = PhasesConfig()
    engine: EngineConfig = EngineConfig()
    server: ServerConfig = ServerConfig()
    state: StateConfig = StateConfig()


def load(path: Path) -> Config:
    """Read and validate a TOML file.

    Raises
    ------
    ConfigError
        Naming the file, the key, what it holds and what was expected.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return parse(values, str(path))


def parse(values: dict[str, Any], name: str) -> Config:
    """Validate nested values; ``name`` says in errors where they came from."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {_explain(dict(e))}" for e in error.errors())) from error


def default_toml() -> str:
    """Return the default configuration as TOML, each key under a comment that says what it does."""
    return to_toml(Config())


def to_toml(config: Config) -> str:
    """Return a configuration as commented TOML that ``load`` reads back as the same configuration."""
    lines: list[str] = []
    for name in Config.model_fields:
        section: _Section = getattr(config, name)
        lines += [f"# {type(section).__doc__}", f"[{name}]"]
        values = section.model_dump(mode="json")
        for key, field in type(section).model_fields.items():
            # JSON's scalars and lists are TOML's, but for one control character that TOML wants escaped.
            value = json.dumps(values[key], ensure_ascii=False).replace("\x7f", "\\u007f")
            lines += [f"# {field.description}", f"{key} = {value}"]
        lines.append("")
    return "\n".join(lines)


def _explain(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}, not {error['input']!r}" if where else str(error["msg"])
    *section, key = error["loc"]
    known: Any = Config
    for part in section:
        known = known.model_fields[part].annotation
    near = difflib.get_close_matches(str(key), known.model_fields, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known.model_fields)}"
    return f"{where}: unknown key; {advice}"

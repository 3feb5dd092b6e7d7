"""Sections of the TOML file other than the network's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ffstream import ports
from ffstream.config.section import Count, Positive, Rows, Section

Pressure = Annotated[float, Field(ge=0, le=1)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class OptimizerConfig(Section):
    """The rule that changes the weights."""

    rule: Literal["in_place", "unit", "factored", "momentum", "adam"] = Field(
        "in_place",
        description="in_place: W -= rate * gradient, no state, the fastest and on MNIST the best. unit and factored "
        "divide by running root mean squares a unit, or a unit and an input; momentum and adam keep one or two numbers "
        "a weight.",
    )
    rate: Positive | Literal["auto"] = Field(
        "auto",
        description="Step size: how far one sample moves the weights. auto derives it for each layer from its fan-in, "
        "units, labels and goodness, and suits every shape; under adam, unit and factored it is 0.16 / fan-in.",
    )
    label_rate: Positive = Field(
        1.0,
        description="Step size of what a label coding learns (top-down weights, learned assemblies), as a multiple of "
        "rate; learned assemblies want about 30 under adam.",
    )
    rounding: Literal["nearest", "stochastic", "master"] = Field(
        "nearest",
        description="How a small step reaches bfloat16 weights: nearest loses what is too small to show, 0.3 "
        "points on MNIST at a rate of 2e-4; stochastic and master (a float32 copy) keep it, and cost memory traffic. "
        "momentum and adam know nearest and master.",
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), description="Decay of the first moment (momentum, adam) and of the second (unit, factored, adam)."
    )
    counter: bool = Field(
        False,
        description="For long phases: at each step of wake or sleep, make the other phase's mean move as well, as it "
        "was when that phase last ran; and take smaller steps the longer phases last. Wants rounding = 'master', and "
        "costs three numbers a weight.",
    )

    @model_validator(mode="after")
    def _rounding_fits(self) -> Self:
        if self.rounding == "stochastic" and self.rule in ("momentum", "adam"):
            raise ValueError(
                f"{self.rule} does not support rounding 'stochastic' (in_place, unit and factored do); set 'master'"
            )
        return self


class PhasesConfig(Section):
    """Wake and sleep."""

    schedule: Literal["alternating", "together", "homeostatic", "quiet", "clock"] = Field(
        "alternating",
        description="alternating (wake_steps of real data, then a nap of sleep_steps of negatives); together (both "
        "signs in each step); homeostatic (sleep when pressure is high, until it is low); quiet (sleep only while no "
        "samples come); clock (sleep in a window of the day).",
    )
    wake_steps: Count = Field(
        4, description="Learning steps awake before a nap, which owe sleep_steps asleep; homeostatic: at least."
    )
    sleep_steps: Count = Field(4, description="Learning steps of a nap.")
    quiet_ms: Positive = Field(
        50.0, description="A stream silent for this long is quiet: alternating naps early, quiet sleeps."
    )
    sleep_from: TimeOfDay = Field("23:00", description="clock: when the window begins, local time.")
    sleep_until: TimeOfDay = Field("07:00", description="clock: when it is over.")
    sleep_pressure: Pressure = Field(
        0.6,
        description="homeostatic: sleep when pressure, the share of the error that only sleep can mend, is above this.",
    )
    wake_pressure: Pressure = Field(0.4, description="homeostatic: wake when it is below this.")
    longest_sleep: Count = Field(
        256,
        description="Sleep steps owed at most (under alternating one nap); homeostatic: slept at a stretch at most, "
        "and then as many steps awake.",
    )

    @model_validator(mode="after")
    def _window_and_pressures_fit(self) -> Self:
        if self.wake_pressure >= self.sleep_pressure:
            raise ValueError(
                f"wake_pressure {self.wake_pressure:g} must be below sleep_pressure {self.sleep_pressure:g}: "
                "between the two, the phase continues"
            )
        if self.sleep_from == self.sleep_until:
            raise ValueError(
                f"a window from {self.sleep_from} until {self.sleep_until} is empty; change sleep_from or sleep_until"
            )
        return self


class DreamsConfig(Section):
    """Source of the negatives for sleep."""

    source: Literal["memory", "dream", "hybrid"] = Field(
        "memory",
        description="memory (remembered samples), dream (inputs that the network makes itself; with "
        "engine.memory_samples = 0 it keeps no sample), or hybrid (half of each).",
    )
    noise: Positive = Field(
        2.5,
        description="How far from the mean of what was seen a dream goes, in standard deviations; at 1 dreams are "
        "clearer and teach less.",
    )
    rounds: int = Field(
        0, ge=0, description="How often a dream goes up through the layer and down again; on MNIST none is best."
    )


class EngineConfig(Section):
    """The loop that gathers, sweeps and replies."""

    device: str = Field("auto", description='"auto" takes a GPU where there is one; or "cpu", "cuda", "cuda:1".')
    max_batch: Rows = Field(64, description="Samples learned in one step at most.")
    max_query_rows: Rows = Field(256, description="Query rows answered in one sweep at most.")
    threads: int = Field(
        0, ge=0, description="Threads that a product may take on a CPU; 0 leaves one core to the sockets."
    )
    compile: bool = Field(
        True,
        description="Fuse the work between the products with torch.compile, beside the work, when the daemon is ready.",
    )
    cuda_graphs: bool = Field(
        False,
        description="Replay sweeps of at most 128 rows on a GPU as CUDA graphs, which launch all kernels at once; "
        "without effect on a CPU, and on a network with a read-out, dreams, a counter or stochastic rounding.",
    )
    max_wait_ms: float = Field(
        2.0, ge=0, allow_inf_nan=False, description="How long a step may wait for its batch to fill; 0 never waits."
    )
    memory_samples: int = Field(
        10_000,
        ge=0,
        description="Samples that sleep can draw from (a uniform reservoir); 0 keeps none, if dreams.source is dream.",
    )
    window: Count = Field(1_000, description="Samples in the windowed prequential accuracy.")
    report_ms: Positive = Field(250.0, description="How often scores are published and layer metrics refreshed.")


class ServerConfig(Section):
    """Sockets and their limits."""

    host: str = Field(
        ports.HOST,
        description="Address to bind. There is no access control: leave it on loopback unless the network is yours.",
    )
    port: int = Field(
        ports.PORT,
        ge=1,
        le=ports.LAST,
        description="First of six ports: control, queries, samples, push, events, HTTP.",
    )
    inbox_samples: Count = Field(8_192, description="Samples that may wait to be learned; credit is a share of this.")
    inbox_bytes: Count = Field(64 * 2**20, description="The same in bytes; as many again for queries.")
    inbox_query_rows: Count = Field(4_096, description="Query rows that may wait to be answered.")
    message_samples: Rows = Field(1_024, description="Samples or query rows in one message at most.")
    message_bytes: Count = Field(16 * 2**20, description="Bytes in one message at most.")
    feeders: Count = Field(256, description="Feeders remembered; the one silent longest is forgotten first.")
    replay_events: Count = Field(1_024, description="Events of each topic kept for late subscribers.")

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        """Accept an IPv6 address in brackets too, as it appears in front of a port."""
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host


class StateConfig(Section):
    """State that survives a restart."""

    directory: Path = Field(
        Path("ffstream-state"),
        description="Folder of the checkpoints and the journal; made if missing. ~ is the home directory.",
    )
    journal: bool = Field(
        True,
        description="Keep every sample on disk before it is acknowledged as durable. Without it a crash loses what was "
        "learned since the last checkpoint.",
    )
    journal_bytes: Count = Field(
        4 * 2**30, description="Size of the journal at most; a checkpoint is saved, and the journal pruned, in time."
    )
    checkpoint_s: Positive = Field(300.0, description="Seconds between checkpoints; while nothing is new, none.")
    keep: Count = Field(3, description="Checkpoints kept.")

    @field_validator("directory")
    @classmethod
    def _at_home(cls, directory: Path) -> Path:
        try:
            return directory.expanduser()
        except RuntimeError as error:
            raise ValueError(f"{directory.parts[0]} is not the home directory of any user") from error

    @property
    def journal_file(self) -> Path | None:
        """Path of the journal, or ``None`` if none is kept."""
        return self.directory / "journal.sqlite" if self.journal else None

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
        description="in_place: W -= rate * gradient; no state, the fastest, and the best on MNIST. unit and factored "
        "divide the gradient by running root mean squares, per unit, or per unit and per input. momentum and adam keep "
        "one or two numbers per weight.",
    )
    rate: Positive | Literal["auto"] = Field(
        "auto",
        description="Step size: how far one sample moves the weights. auto derives it for each layer from its fan-in, "
        "units, labels and goodness, so that it suits every shape; with adam, unit and factored it is 0.16 / fan-in.",
    )
    label_rate: Positive = Field(
        1.0,
        description="Step size of a label coding's own weights (top-down weights, learned assemblies), as a multiple "
        "of rate; learned assemblies need about 30 with adam.",
    )
    rounding: Literal["nearest", "stochastic", "master"] = Field(
        "nearest",
        description="Rounding of steps into bfloat16 weights. nearest loses steps that are too small to change a "
        "weight: 0.3 points on MNIST at a rate of 2e-4. stochastic and master (a float32 copy) keep them, at the cost "
        "of memory traffic. momentum and adam support nearest and master.",
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), description="Decay of the first moment (momentum, adam) and of the second (unit, factored, adam)."
    )
    counter: bool = Field(
        False,
        description="For long phases: each step of wake or sleep also makes the other phase's mean update, as it was "
        "when that phase last ran, and steps are smaller the longer phases last. Set rounding = 'master' with it. It "
        "costs three numbers per weight.",
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
        "signs in each step); homeostatic (sleep when sleep pressure is high, until it is low); quiet (sleep only "
        "while no samples arrive); clock (sleep in a daily window).",
    )
    wake_steps: Count = Field(
        4,
        description="Learning steps awake before a nap; they add a debt of sleep_steps steps asleep. homeostatic: the "
        "minimum number of steps awake before sleep.",
    )
    sleep_steps: Count = Field(4, description="Learning steps in a nap.")
    quiet_ms: Positive = Field(
        50.0,
        description="Milliseconds without a sample after which the stream is quiet: alternating and clock then nap "
        "early, and quiet sleeps.",
    )
    sleep_from: TimeOfDay = Field("23:00", description="clock: start of the window, local time.")
    sleep_until: TimeOfDay = Field("07:00", description="clock: end of the window, local time.")
    sleep_pressure: Pressure = Field(
        0.6,
        description="homeostatic: fall asleep when sleep pressure, the share of the error that only sleep can reduce, "
        "is above this.",
    )
    wake_pressure: Pressure = Field(0.4, description="homeostatic: wake when sleep pressure is below this.")
    longest_sleep: Count = Field(
        256,
        description="Maximum sleep debt, in steps (with alternating: one nap). homeostatic: also the longest sleep; if "
        "sleep ends at this limit, at least as many steps awake follow.",
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
        description="memory (remembered samples), dream (inputs that the network generates itself; with "
        "engine.memory_samples = 0 no sample is kept for sleep), or hybrid (half of each).",
    )
    noise: Positive = Field(
        2.5,
        description="Spread of dreams around the mean of the activities seen, in standard deviations; at 1, dreams are "
        "clearer but teach less.",
    )
    rounds: int = Field(
        0,
        ge=0,
        description="Number of times that a dream goes up through the layer and down again; 0 is best on MNIST.",
    )


class EngineConfig(Section):
    """The loop that gathers, sweeps and replies."""

    device: str = Field("auto", description='"auto" (a GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:1".')
    max_batch: Rows = Field(64, description="Maximum number of samples per learning step.")
    max_query_rows: Rows = Field(
        256, description="Maximum number of query rows per sweep; a larger query is taken by itself."
    )
    threads: int = Field(
        0, ge=0, description="CPU threads per matrix product; 0 uses all cores but one, which is left to the sockets."
    )
    compile: bool = Field(
        True,
        description="Fuse the work between matrix products with torch.compile. It compiles in the background, while "
        "the daemon already serves.",
    )
    cuda_graphs: bool = Field(
        False,
        description="On a GPU, replay sweeps of up to 128 rows as CUDA graphs, which launch all kernels at once. No "
        "effect on a CPU, or on a network with a read-out, dreams, a counter or stochastic rounding.",
    )
    max_wait_ms: float = Field(
        2.0,
        ge=0,
        allow_inf_nan=False,
        description="Milliseconds that a learning step may wait for a full batch; 0 never waits.",
    )
    memory_samples: int = Field(
        10_000,
        ge=0,
        description="Maximum number of samples kept for sleep to draw from (a uniform reservoir). 0 keeps none, which "
        "only dreams.source = 'dream' allows.",
    )
    window: Count = Field(1_000, description="Samples in the windowed prequential accuracy.")
    report_ms: Positive = Field(
        250.0, description="Milliseconds between publications of scores and updates of layer metrics."
    )


class ServerConfig(Section):
    """Sockets and their limits."""

    host: str = Field(
        ports.HOST,
        description="Address to bind. There is no access control: keep it on loopback unless you trust the network.",
    )
    port: int = Field(
        ports.PORT,
        ge=1,
        le=ports.LAST,
        description="First of six consecutive ports: control, queries, samples, push, events, HTTP.",
    )
    inbox_samples: Count = Field(
        8_192, description="Maximum number of samples waiting to be learned; credit is a share of it."
    )
    inbox_bytes: Count = Field(
        64 * 2**20, description="Maximum size of these samples, in bytes; waiting queries may take as much again."
    )
    inbox_query_rows: Count = Field(4_096, description="Maximum number of query rows waiting for an answer.")
    message_samples: Rows = Field(1_024, description="Maximum number of samples or query rows per message.")
    message_bytes: Count = Field(16 * 2**20, description="Maximum size of a message, in bytes.")
    feeders: Count = Field(
        256, description="Maximum number of feeders remembered; the one silent longest is forgotten first."
    )
    replay_events: Count = Field(1_024, description="Number of events per topic kept for late subscribers.")

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        """Accept an IPv6 address in brackets too, as it appears in front of a port."""
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host


class StateConfig(Section):
    """State that survives a restart."""

    directory: Path = Field(
        Path("ffstream-state"),
        description="Folder of the checkpoints and the journal, created if missing. ~ is the home directory.",
    )
    journal: bool = Field(
        True,
        description="Write every sample to disk before it is acknowledged as durable. Without a journal, a crash loses "
        "what was learned since the last checkpoint.",
    )
    journal_bytes: Count = Field(
        4 * 2**30,
        description="Maximum size of the journal, in bytes. Before it is reached, a checkpoint is saved and the "
        "journal pruned.",
    )
    checkpoint_s: Positive = Field(
        300.0, description="Seconds between checkpoints; none is saved while nothing is new."
    )
    keep: Count = Field(3, description="Number of checkpoints kept, besides pinned ones.")

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

"""``ffstream dream``: draws a network's dreams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffstream import ports
from ffstream.cli.drawing import save
from ffstream.cli.options import Address, JsonFile, Picture, at_home
from ffstream.cli.output import write_json
from ffstream.errors import Unreachable

if TYPE_CHECKING:
    from ffstream import Event
    from ffstream.inspection.dreams import Dreamt

SILENCE_S = 10.0


def dream(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="The state.directory of a daemon, or a checkpoint in it. Without it, dreams come from a live daemon.",
            callback=at_home,
        ),
    ] = None,
    address: Address = ports.ADDRESS,
    each: Annotated[int, typer.Option(min=1, max=100, help="Number of dreams per label.")] = 8,
    sleep: Annotated[
        int, typer.Option(min=0, help="For a checkpoint: dream again after this many steps of sleep.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="For a checkpoint: seed of the dreams.")] = 0,
    out: Picture = Path("dreams.png"),
    json_file: JsonFile = None,
) -> None:
    """Draw a network's dreams, one row per label.

    Dreams are learned if dreams.source is "dream" or "hybrid". For a checkpoint, they are generated here, and --sleep
    generates them again after more sleep, from the same noise; nothing is written back. The content of a dream is
    learned awake, so sleep changes the network's response to a dream more than the dream. From a live daemon, they
    arrive as it publishes them, one every 250 ms, so eight dreams of each of ten labels take 20 seconds.

    ```
    ffstream dream ffstream-state
    ffstream dream ffstream-state/before-drift --sleep 100 --out slept.png
    ffstream dream --address 127.0.0.1:5700
    ```
    """
    if directory is None and sleep:
        raise typer.BadParameter("--sleep needs a checkpoint; to put a live daemon to sleep, use ffstream ctl sleep")
    from ffstream.inspection import dreams as looking

    title, dreamt = _live(address, each) if directory is None else _of_checkpoint(directory, each, sleep, seed)
    save(looking.draw(dreamt, title), out)
    for found in dreamt:
        right = int((found.predicted == found.labels).sum())
        said = f"{right} of {len(found.labels)} dreams as the intended label, goodness {found.goodness.mean():.3g}"
        typer.echo(f"{found.when}: the network recognizes {said}")
    write_json(json_file, {"source": title, "dreams": [row for found in dreamt for row in found.numbers()]})


def _of_checkpoint(directory: Path, each: int, sleep: int, seed: int) -> tuple[str, list[Dreamt]]:
    from ffstream.inspection import contents
    from ffstream.inspection import dreams as looking

    name, snapshot = contents.snapshot_at(directory)
    learner = looking.learner_of(snapshot)
    dreamt = [looking.dream(learner, each, seed, "before" if sleep else "now")]
    if sleep:
        looking.sleep(learner, sleep)
        dreamt.append(looking.dream(learner, each, seed, f"after {sleep:,} steps of sleep"))
    return f"{name}, version {snapshot.version:,}", dreamt


def _live(address: str, each: int) -> tuple[str, list[Dreamt]]:
    """Collect dreams as a daemon publishes them, label by label in turn."""
    from rich.progress import Progress

    from ffstream import Client
    from ffstream.inspection import dreams as looking

    kept: dict[int, list[Event]] = {}
    with Client(address) as client, client.events("dream", timeout_s=SILENCE_S) as events, Progress() as progress:
        task = progress.add_task("dreams", total=None)
        for event in events:
            of_label = kept.setdefault(event.fields["label"], [])
            # Labels come in turn: once one has more dreams than needed, no label is missing.
            if len(of_label) == each:
                break
            of_label.append(event)
            progress.update(task, advance=1, total=each * len(kept))
    if max(map(len, kept.values()), default=0) < each:
        raise Unreachable(
            f"no dream from {address} for {SILENCE_S:g} s; check that the daemon runs, that "
            "its dreams.source is 'dream' or 'hybrid', and that it has learned its first samples"
        )
    whole = {label: events for label, events in sorted(kept.items()) if len(events) == each}
    return f"{address}, live", [looking.published([event.fields for of in whole.values() for event in of])]

"""``ffstream picture``: draws what a network has learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffstream.cli.drawing import save
from ffstream.cli.options import DataRoot, Directory, JsonFile, Picture
from ffstream.cli.output import write_json

if TYPE_CHECKING:
    from ffstream.ff.network import Network
    from ffstream.inspection.probe import Samples
    from ffstream.stream.snapshot import Snapshot

picture = typer.Typer(
    name="picture",
    no_args_is_help=True,
    help="Draw what a network has learned.\n\nGiven a state directory, draw its newest checkpoint; given a folder in "
    "it, that checkpoint. This only reads, so it is safe on the directory of a running daemon.",
)

DatasetName = Annotated[
    str | None,
    typer.Option(
        help="Show test images of digits (bundled), mnist, fashion-mnist, kmnist, cifar10, cifar100 or usps instead of "
        "what the checkpoint remembers."
    ),
]
DATA = Path("data")
# Number of samples from which the compared one is drawn, and with which a mask may mix it.
COMPANY = 64


@picture.command()
def activities(
    directory: Directory,
    out: Picture = Path("activities.png"),
    dataset: DatasetName = None,
    data_root: DataRoot = DATA,
    seed: Annotated[int, typer.Option(min=0, help="Seed that draws the input and its negative.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Compare the activities of one input in every layer with those of a negative version of it.

    The negative is one that the network would learn: the same input under a wrong label that it finds likely, or a
    corrupted copy (network.negatives). Colored units are those whose activity counts in the goodness shown above. If
    each label owns units (coding assembly), both versions have the same activities; those of the true label's units and
    of the wrong label's units count.

    ```
    ffstream picture activities ffstream-state --seed 3
    ffstream picture activities ffstream-state/before-drift --dataset digits --out before.svg
    ```
    """
    from ffstream.inspection import activities as measuring
    from ffstream.inspection import probe

    title, snapshot, network = _network(directory)
    generator = probe.seeded(seed)
    samples = _samples(snapshot, network, dataset, data_root).draw(COMPANY, generator)
    versions = measuring.compare(network, samples, generator)
    save(measuring.draw(network, versions, f"{title}; one of the {samples.source}"), out)
    numbers = [version.numbers() for version in versions]
    for version in numbers:
        found = ", ".join(f"{layer['goodness']:.3g}" for layer in version["layers"])
        typer.echo(f"{version['sign']} ({version['said']}): goodness {found}")
    _write(json_file, title, versions=numbers)


@picture.command()
def goodness(
    directory: Directory,
    out: Picture = Path("goodness.png"),
    dataset: DatasetName = None,
    data_root: DataRoot = DATA,
    samples: Annotated[int, typer.Option(min=2, help="Number of samples to show; all, if there are fewer.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed that draws the samples and their negatives.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Draw the distribution of goodness in each layer, for real samples and for their negatives.

    The further apart the two, the better the layer recognizes real samples: ROC area is the probability that a real
    sample has more goodness than a negative (0.5 for chance), d′ the difference of the means in standard deviations.
    Negatives are drawn as in learning; if they come from the network's belief, they get harder as it learns.

    ```
    ffstream picture goodness ffstream-state
    ffstream picture goodness ffstream-state --dataset mnist --json goodness.json
    ```
    """
    from dataclasses import asdict

    from ffstream.inspection import goodness as measuring
    from ffstream.inspection import probe

    title, snapshot, network = _network(directory)
    generator = probe.seeded(seed)
    shown = _samples(snapshot, network, dataset, data_root).draw(samples, generator)
    found = measuring.by_sign(network, shown.rows, shown.labels, generator)
    rows = measuring.separations(network, found)
    save(measuring.draw(found, rows, f"{title}; {len(found):,} {shown.source}"), out)
    for row in rows:
        d_prime = "none, since goodness does not vary" if row.d_prime is None else f"{row.d_prime:.2f}"
        typer.echo(
            f"layer {row.layer}: goodness {row.real_mean:.3g} of real samples, {row.negative_mean:.3g} of negatives; "
            f"ROC area {row.roc_area:.3f}, d′ {d_prime}"
        )
    _write(json_file, title, samples=len(found), source=shown.source, layers=[asdict(row) for row in rows])


@picture.command()
def fields(
    directory: Directory,
    out: Picture = Path("fields.png"),
    units: Annotated[int, typer.Option(min=1, help="Number of units to show; all, if there are fewer.")] = 60,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Draw the units at random with this seed; without it, show those with the largest weights."
        ),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Draw the receptive fields of units of the first layer: their weights, as images.

    Red raises a unit's activity, blue lowers it; for color images, a weight is added to gray. Convolutions show their
    kernels; receptive fields without shared weights show a patch at each place. If each label owns units, its units are
    shown together.

    ```
    ffstream picture fields ffstream-state --units 100 --seed 0
    ```
    """
    from dataclasses import asdict

    from ffstream.inspection import fields as measuring

    title, _, network = _network(directory)
    tiles = measuring.images(network)
    chosen = measuring.choose(network, units, seed)
    how = "those with the largest weights" if seed is None else "drawn at random"
    save(measuring.draw(tiles, chosen, f"{title}; {len(chosen)} of {len(tiles)} units of layer 1, {how}"), out)
    _write(json_file, title, units=[asdict(field) for field in chosen])


def _network(directory: Path) -> tuple[str, Snapshot, Network]:
    """Read a checkpoint; return its title for a picture, its content, and its network."""
    from ffstream.inspection import contents, probe

    name, snapshot = contents.snapshot_at(directory)
    return f"{name}, version {snapshot.version:,}", snapshot, probe.network_of(snapshot)


def _samples(snapshot: Snapshot, network: Network, dataset: str | None, root: Path) -> Samples:
    from ffstream.inspection import probe

    return probe.remembered(snapshot) if dataset is None else probe.of_dataset(dataset, root, network.config)


def _write(file: Path | None, title: str, **numbers: int | str | Sequence[Any]) -> None:
    write_json(file, {"checkpoint": title, **numbers})

"""Dreams of a checkpoint, before and after more sleep, as numbers and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ffstream.config import parse
from ffstream.errors import CheckpointError
from ffstream.ff.dreams import RIPE
from ffstream.inspection.probe import seeded
from ffstream.inspection.style import montage
from ffstream.stream.learner import NO_LABELS, Learner
from ffstream.stream.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Size of one dream in a figure, in inches.
TILE = 0.45


@dataclass(frozen=True)
class Dreamt:
    """Dreams, equally many of each label, grouped by label.

    Attributes
    ----------
    when
        ``before`` or ``after`` sleep, or ``live``.
    labels, predicted
        (n,) int64: label that each was dreamed under, and label that the network predicts for it.
    goodness
        (n,): goodness of the label that each was dreamed under, summed over layers.
    images
        (n, *shape).
    """

    when: str
    labels: Tensor
    predicted: Tensor
    goodness: Tensor
    images: Tensor

    def numbers(self) -> list[dict[str, Any]]:
        """Return one dictionary per dream, without its image, in plain types."""
        told = zip(self.labels.tolist(), self.predicted.tolist(), self.goodness.tolist(), strict=True)
        return [
            {"when": self.when, "label": label, "read_as": read, "goodness": goodness} for label, read, goodness in told
        ]


def learner_of(snapshot: Snapshot) -> Learner:
    """Restore a checkpoint into a learner on the CPU.

    Raises
    ------
    CheckpointError
        If the checkpoint has learned no dreams, or has seen too few samples to dream.
    """
    manifest: Mapping[str, Any] = snapshot.manifest
    dreams = manifest.get("dreams", {"source": "memory"})
    if dreams["source"] == "memory":
        raise CheckpointError(
            "the checkpoint has learned no dreams: set dreams.source to 'dream' or 'hybrid' in the configuration of "
            "its daemon, and feed it"
        )
    # Room for its whole memory, and for one sample if that is empty.
    engine = {"device": "cpu", "compile": False, "memory_samples": max(1, len(snapshot.tensors["memory"]["labels"]))}
    sections = {"network": manifest["network"], "optimizer": manifest["optimizer"]}
    learner = Learner(parse({**sections, "dreams": dreams, "engine": engine}, "the checkpoint"))
    learner.restore(snapshot)
    if not learner.sleep.dreams:
        raise CheckpointError(
            f"the checkpoint has seen fewer than {RIPE} samples, too few to dream: feed its daemon more"
        )
    return learner


def dream(learner: Learner, each: int, seed: int, when: str) -> Dreamt:
    """Dream ``each`` images of every label seen; a seed starts from the same noise whatever was learned."""
    network = learner.network
    if network.dreams is None:
        raise ValueError("the learner learns no dreams")
    labels = torch.tensor(network.dreams.known()).repeat_interleave(each)
    images = network.dream(labels, seeded(seed))
    scores = network.sweep(images)
    goodness = scores.total.gather(1, labels[:, None])[:, 0]
    return Dreamt(when, labels, scores.labels(), goodness, images.view(-1, *network.config.shape))


def published(events: Sequence[Mapping[str, Any]]) -> Dreamt:
    """Return the dreams that a daemon published, from the fields of its events, grouped by label."""
    labels, predicted = (torch.tensor([fields[key] for fields in events]) for key in ("label", "predicted"))
    goodness = torch.tensor([sum(fields["goodness"]) for fields in events])
    return Dreamt("live", labels, predicted, goodness, torch.stack([torch.tensor(f["image"]) for f in events]))


def sleep(learner: Learner, steps: int) -> None:
    """Run some sleep steps."""
    learner.scheduler.obey("resume")
    learner.scheduler.obey("sleep")
    for _ in range(steps):
        learner.advance(quiet=True)
        learner.step([], NO_LABELS, [])


def draw(dreamt: list[Dreamt], title: str) -> Figure:
    """Draw dreams, one row per label, one panel per time."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for

    labels = dreamt[0].labels.unique().tolist()  # type: ignore[no-untyped-call]  # has no annotations
    each = len(dreamt[0].labels) // len(labels)
    height = TILE * len(labels) + 1
    figure = Figure(figsize=(max(4.0, (TILE * each + 0.6) * len(dreamt)), height), layout="constrained")
    for ax, found in zip(figure.subplots(1, len(dreamt), squeeze=False)[0], dreamt, strict=True):
        tiles = _tiles(found.images)
        low, high = float(tiles.min()), float(tiles.max())
        laid = montage((tiles - low) / ((high - low) or 1), each)
        ax.imshow(laid.nan_to_num(1.0).numpy(), cmap="gray_r", vmin=0, vmax=1, aspect="equal")
        side = tiles.shape[1] + 1
        ax.set(xticks=[], yticks=[row * side + side / 2 for row in range(len(labels))])
        ax.set_yticklabels([str(label) for label in labels])
        share = float((found.predicted == found.labels).float().mean())
        ax.set_title(f"{found.when}: {share:.0%} recognised, goodness {found.goodness.mean():.3g}", fontsize="small")
        ax.spines[:].set_visible(False)
    figure.suptitle(title, fontsize="medium")
    return figure


def _tiles(images: Tensor) -> Tensor:
    """Return dreams (n, *shape) as images (n, h, w) or (n, h, w, 3); other shapes become one row of pixels."""
    match images.shape[1:]:
        case (_, _):
            return images
        case (1, _, _):
            return images[:, 0]
        case (3, _, _):
            return images.movedim(1, -1)
    return images.flatten(1)[:, None]

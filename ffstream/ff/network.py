"""The network, which predicts and learns in one sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ffstream.config import DreamsConfig, NetworkConfig, OptimizerConfig
from ffstream.config.network import Prediction
from ffstream.errors import NotCompiled
from ffstream.ff.building import make_dreams, make_layers
from ffstream.ff.connections import Dense
from ffstream.ff.counter import Counter
from ffstream.ff.flow import Entry, Passed, flow, part, read
from ffstream.ff.fused import Compiled
from ffstream.ff.lesson import Lesson, Phase, Teaching, lay_out
from ffstream.ff.lookup import look_up
from ffstream.ff.measured import PRODUCTS, Products
from ffstream.ff.paths import count_hypotheses, count_paths, make_paths, taught_paths
from ffstream.ff.readout import Readout
from ffstream.ff.scores import Findings, Scores

log = logging.getLogger(__name__)

_SIGNS = {Phase.WAKE: [1.0], Phase.SLEEP: [0.0], Phase.TOGETHER: [1.0, 0.0]}


class Network:
    """Layers that learn one after another as rows pass through them.

    Parameters
    ----------
    network
        Shape, layers, label coding, goodness, prediction and precision.
    optimizer
        Update rule of the layers.
    device
        Device that holds the weights.
    dreams
        Source of the negatives for sleep; ``None`` disables dreams.
    products
        Fastest ways to multiply; by default shared by all networks of the process.

    Attributes
    ----------
    paths
        Number of paths per row: under ``overlay`` coding one per label, plus a neutral one for a read-out; else 1.
    prediction
        Rule that predicts labels.
    centre
        (i,): running mean of the normalized rows.
    compiled
        Compiled loops, or ``None``.
    trust
        One factor per layer, which turns the goodness summed so far into the logits that wrong labels are drawn from:
        1 / (depth + 1) gives the mean, 0 a uniform draw.
    spans
        Layers in groups, each compiled as a whole or not at all.
    readout
        Linear read-out, or ``None``.
    dreams
        Model that dreams are drawn from, or ``None``.
    """

    def __init__(
        self,
        network: NetworkConfig,
        optimizer: OptimizerConfig,
        device: torch.device,
        dreams: DreamsConfig | None = None,
        products: Products = PRODUCTS,
    ) -> None:
        self.config = network
        self.device = device
        self.dtype = products.dtype(network.precision, device)
        self.prediction: Prediction = network.prediction
        self.paths = count_paths(network)
        self.compiled: Compiled | None = None
        self.flow, self.read = flow, read
        self.layers = make_layers(network, optimizer, device, self.dtype, products)
        self.centre = torch.zeros(network.width, device=device)
        believes = float(network.negatives == "belief")
        depths = range(len(self.layers))
        self.trust = [torch.tensor(believes / (depth + 1), device=device) for depth in depths]
        self._annealed = 1.0
        self._rates = [(rule, rule.rate) for layer in self.layers for rule in layer.rules]
        self.counter = Counter([rule.weight for rule, _ in self._rates]) if optimizer.counter else None
        targets = 1 if network.corruption else 2
        self._signs = {phase: torch.tensor([signs[:targets]], device=device) for phase, signs in _SIGNS.items()}
        self.readout: Readout | None = None
        if network.readout != "none":
            activities = sum(layer.onward for layer in self.layers[network.readout == "upper" :])
            self.readout = Readout(network.labels, activities, network.readout_rate, device, network.smoothing)
        self.dreams = make_dreams(network, dreams, device) if dreams and dreams.source != "memory" else None
        self._entry = Entry(self.centre if network.centring else None, self.dtype)
        reads = [self.readout is not None and depth >= (network.readout == "upper") for depth in depths]
        self.spans = part(self.layers, self.trust, reads, self._entry, first_alone=self.dreams is not None)

    def fuse(self, rows: int, phases: Iterable[Phase]) -> None:
        """Compile the loops for lessons of some phases and sweeps of about ``rows`` rows; takes seconds.

        If compilation fails, a warning says why and sweeps run uncompiled, with the same results within rounding.
        """
        try:
            self.adopt(Compiled(), rows, phases)
        except NotCompiled as error:
            log.warning("sweeps run uncompiled, and slower: %s", error)

    def adopt(self, compiled: Compiled, rows: int, phases: Iterable[Phase]) -> None:
        """Use compiled loops for all sweeps from now on, and compile what they do not cover yet.

        Raises
        ------
        NotCompiled
            If compilation fails; sweeps then run as before.
        """
        for _ in compiled.rehearse(self, rows, phases):
            pass
        self.compiled = compiled
        self.run(compiled=True)

    def run(self, *, compiled: bool) -> None:
        """Run sweeps compiled, if there are compiled loops, or uncompiled; the results differ by rounding."""
        loops = self.compiled if compiled else None
        self.flow, self.read = (flow, read) if loops is None else (loops.flow, loops.read)

    @property
    def runs_compiled(self) -> bool:
        """True if sweeps run through the compiled loops."""
        return self.flow is not flow

    def products(self) -> list[str]:
        """Return how each layer is multiplied: one way, or three by number of rows; ``torch`` if it is not dense."""
        connections = [layer.connection for layer in self.layers]
        return [str(connection.plan) if isinstance(connection, Dense) else "torch" for connection in connections]

    def anneal(self, share: float) -> None:
        """Set the step sizes of all rules and of the read-out to a share of the configured ones."""
        self._annealed = share
        self._pace()
        if self.readout is not None:
            self.readout.anneal(share * self.config.readout_rate)

    def sweep(self, rows: Tensor, lesson: Lesson | None = None, generator: torch.Generator | None = None) -> Scores:
        """Send rows through the layers once: score every row and learn from the first ones.

        A layer scores all rows with the weights that it had when the sweep reached it, then updates them from
        the lesson's rows only. No row's scores depend on whether another row is learned from.

        Parameters
        ----------
        rows
            (n, i) float32 on the network's device, learning rows first.
        lesson
            Labels and phase of the first m rows, or ``None`` to learn nothing; a sham is scored but not learned.
        generator
            Draws the negatives; required if the lesson lowers goodness.
        """
        if lesson is None:
            return self._answer(rows)
        if self.counter is not None and not lesson.sham:
            self.counter.step(lesson.phase)
            self._pace()
        m = len(lesson.labels)
        rows, teaching, taught = lay_out(rows, lesson, self.config, self.signs, generator)
        paths = make_paths(rows, self.config)
        if not lesson.scored and m == len(rows):
            paths, teaching = taught_paths(paths, teaching, self.config, self._first_goodness, generator)
        x, believed, found = paths, None, Findings(m, taught)
        labels, learned = count_hypotheses(paths, self.config), torch.tensor(0 if lesson.sham else taught)
        for span in self.spans:
            noise = torch.ones(len(span.layers), len(rows), labels, device=self.device)
            if lesson.phase.lowers:
                for drawn in noise:
                    drawn[:m].exponential_(generator=generator)
            send = self.flow if span.compiles else flow
            passed = send(span, x, believed, noise, teaching, learned)
            if lesson.phase.raises and self.dreams is not None and span.entry is not None:
                self.dreams.learn(rows[:m], passed.onward[:m, 0], teaching.labels[:m, 0])
            found.add(passed)
            x, believed = passed.onward, passed.believed
        logits = self._read_out(found.activities, lesson, teaching)
        return found.scores(self.prediction, logits, self.config.shortlist)

    def look(self, rows: Tensor, labels: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Send rows (n, i) through the layers without learning; yield the goodness and activities of each layer.

        Goodness is (n, C), or (n, p) where labels are paths. Activities are (n, p, places * units); if ``labels``
        (n, t) are given and labels have their own activities, (n, t, places * units).
        """
        x = self.enter(make_paths(rows, self.config))
        for layer in self.layers:
            goodness, activities, x = layer.read(x, labels)
            yield goodness, activities

    def errors(self, scores: Scores, lesson: Lesson) -> tuple[Tensor | None, Tensor | None]:
        """Return a sweep's errors on its lesson's rows: 1 - p(real data is real), and p(a negative is real).

        Both are scalars, means over rows. Where a negative is another label, every phase measures both: the goodness
        of a label, averaged over layers, is compared with the layers' mean threshold (with the other labels if the last
        layer does so), and the negative is the most probable wrong label. Where negatives are other inputs, a sweep
        measures only what its lesson moves; the other error is ``None``.
        """
        if self.config.corruption:
            wrong = scores.real[:, :, 0].mean(), scores.real[:, :, -1].mean()
            return 1 - wrong[0] if lesson.phase.raises else None, wrong[1] if lesson.phase.lowers else None
        felt = scores.total[: len(lesson.labels)] / len(self.layers)
        if self.config.stack[-1].against == "labels":
            real = felt.softmax(1)
        else:
            real = torch.sigmoid(felt - sum(layer.threshold for layer in self.layers) / len(self.layers))
        true = lesson.labels.unsqueeze(1)
        return 1 - real.gather(1, true).mean(), real.scatter(1, true, 0).amax(1).mean()

    def dead_units(self, rows: Tensor) -> list[int]:
        """Count, for each layer, the units (channels of a convolution) that no row of (n, i) activates."""
        return [
            int((activities.view(-1, len(layer.running.activity)) <= 0).all(0).sum())
            for layer, (_, activities) in zip(self.layers, self.look(rows), strict=True)
        ]

    def dream(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Dream an input for each label (n,), without learning; (n, i) float32.

        Raises
        ------
        ValueError
            If the network learns no dreams.
        """
        if self.dreams is None:
            raise ValueError("the network learns no dreams; set dreams.source")
        first = self.layers[0]

        def up(rows: Tensor) -> Tensor:
            return first.read(self.enter(rows.unsqueeze(1)))[2][:, 0]

        return self.dreams.dream(labels, first.running.centre, up, generator)

    @property
    def looks_up(self) -> bool:
        """True if a sweep of queries only takes few paths: those that the read-out needs or lists."""
        return self.paths > 1 and self.prediction in ("readout", "cascade")

    def signs(self, phase: Phase) -> Tensor:
        """Return 1 for each target of a row whose goodness a phase raises, 0 for each whose goodness it lowers; (1, t).

        Where negatives are other inputs, a row has one target, and learning both signs at once sets the sign row by row
        (``lay_out``).
        """
        return self._signs[phase]

    def enter(self, paths: Tensor) -> Tensor:
        """Turn paths (n, p, i) into the first layer's inputs."""
        return self._entry.open(paths)

    def scan(self, paths: Tensor, compiled: Callable[..., Passed] = read) -> Findings:
        """Send paths (n, p, i) through all layers without learning; ``compiled`` is the loop for spans that compile."""
        x, believed, found = paths, None, Findings(0, 0)
        for span in self.spans:
            passed = (compiled if span.compiles else read)(span, x, believed)
            found.add(passed)
            x, believed = passed.onward, passed.believed
        return found

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that a checkpoint must hold, by name; writing into them restores the network."""
        parts = {str(i): layer.state() for i, layer in enumerate(self.layers)}
        if self.readout is not None:
            parts["readout"] = self.readout.state()
        if self.counter is not None:
            parts["counter"] = self.counter.state()
        if self.dreams is not None:
            parts["dreams"] = self.dreams.state()
        named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        return {"centre": self.centre, **named}

    def _answer(self, rows: Tensor) -> Scores:
        """Score rows (n, i) without learning."""
        if self.looks_up and self.readout:
            return look_up(self, self.readout, rows)
        found = self.scan(make_paths(rows, self.config), self.read)
        logits = self.readout.read(torch.cat(found.activities, 1)) if self.readout else None
        return found.scores(self.prediction, logits, self.config.shortlist)

    def _pace(self) -> None:
        """Set the step size of every rule: the initial one, annealed, and reduced for long phases."""
        share = self._annealed * (1.0 if self.counter is None else self.counter.share)
        for rule, rate in self._rates:
            rule.rate = share * rate

    def _first_goodness(self, paths: Tensor) -> Tensor:
        """Return the first layer's goodness (n, p) of paths (n, p, i), without learning."""
        return self.layers[0].read(self.enter(paths))[0]

    def _read_out(self, found: list[Tensor], lesson: Lesson, teaching: Teaching) -> Tensor | None:
        """Return the read-out's logits (rows, C) of all rows, and train it on the lesson's real rows."""
        if self.readout is None:
            return None
        activities = torch.cat(found, 1)
        logits = self.readout.read(activities)
        if not lesson.sham and (lesson.phase.raises or self.config.corruption is None):
            real = slice(lesson.dreamed, len(lesson.labels))
            if real.start < real.stop:
                labels = lesson.labels[real]
                self.readout.learn(activities[real], logits[real], labels, teaching.weight[real])
        return logits

"""One layer: its weights, its label coding, its rules, and what it makes of a row.

A layer costs two products a step, one forward and one to update; everything between them is judging.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffstream.ff import opaque, products
from ffstream.ff.connections import Connection, Dense
from ffstream.ff.gradients import Formed, LocalGradient
from ffstream.ff.judging import Form, Running, Verdict, judge, send_on
from ffstream.ff.labels import path_of
from ffstream.ff.lesson import Teaching
from ffstream.ff.optim import Rule
from ffstream.ff.rounding import Adder


class Layer:
    """A layer that learns from its own output alone.

    Parameters
    ----------
    connection
        Its weights.
    form
        What it is.
    rule, label_rule
        Apply the local gradients of the weights, and of what the coding learns where it learns anything.
    adder
        Where the norm of each unit's weights is to be held, what scales them; else ``None``.
    running
        Its running statistics.
    """

    def __init__(
        self,
        connection: Connection,
        form: Form,
        rule: Rule,
        label_rule: Rule | None,
        adder: Adder | None,
        running: Running,
    ) -> None:
        self.connection = connection
        self.form = form
        self.rule = rule
        self.label_rule = label_rule
        self.running = running
        self._adder = adder
        self._norms = self.weight.float().norm(dim=1) if adder else torch.empty(0)
        self._number = opaque.register(self)

    @property
    def weight(self) -> Tensor:
        """W, (u, i)."""
        return self.connection.weight

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rule of the weights, and that of what the coding learns where it learns anything."""
        return (self.rule,) if self.label_rule is None else (self.rule, self.label_rule)

    @property
    def threshold(self) -> float | Tensor:
        """Goodness at which the layer calls a row real with probability one half, where it is held against one."""
        return self.running.thresholds.mean() if self.form.threshold is None else self.form.threshold

    @property
    def compiles(self) -> bool:
        """Whether what lies between its products is faster compiled; a convolution's takes 2 to 3 times as long."""
        return self.form.grid.places == 1 or not self.form.grid.alike

    @property
    def onward(self) -> int:
        """Number of values of a row that go on to the next layer."""
        grid, pool = self.form.grid, self.form.pool
        return (grid.height // pool) * (grid.width // pool) * grid.units

    def judge(self, x: Tensor, believed: Tensor, trust: Tensor, noise: Tensor, teaching: Teaching) -> Verdict:
        """Multiply inputs (n, p, i) with the weights and judge the activations."""
        energy = self.connection.energy(x[:, : self.form.labels])
        return judge(self.form, self._activate(x), energy, believed, trust, noise, teaching, self.running)

    def learn(self, verdict: Verdict, x: Tensor, taught: Tensor) -> None:
        """Learn from the first rows of inputs (n, p, i), so many as ``taught``, a scalar on the host, says."""
        slopes = verdict.delta, verdict.moved, verdict.label_weights
        if not torch.compiler.is_dynamo_compiling():
            self.step(x, *slopes, int(taught))
        else:
            # With what goes on, so that the compiler is done with this layer before it begins with the next: it would
            # move all running means at the end, and keep the activations of all layers for that.
            changed = [self.weight, *self.form.coding.parameters().values(), *self.running, verdict.onward]
            opaque.learn(self._number, changed, x, *slopes, taught)

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply inputs (n, p, i) with the weights; (n, p, places * units)."""
        return self.connection.forward(x)

    def step(self, x: Tensor, delta: Tensor, moved: Tensor | None, label_weights: Tensor | None, m: int) -> None:
        """Learn from the first m rows of inputs (n, p, i), given what their ``Verdict`` says of the slopes."""
        if not m:
            return
        self.rule.apply(self.gradient(x, delta, moved, m))
        if self.label_rule is not None and label_weights is not None:
            self.label_rule.apply(Formed(label_weights))
        if self._adder is not None:
            self._adder.hold(self._norms)

    def read(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Read inputs (n, p, i), of any paths, and learn nothing.

        Parameters
        ----------
        x
            Inputs.
        labels
            (n, t) int64: where a label has activities of its own, whose to return; ``None``: those that go on.

        Returns
        -------
        tuple
            Goodness, (n, C) or of each path (n, p); activities (n, p or t, places * units); the next layer's inputs.
        """
        activation = self._activate(x)
        activation = activation.to(torch.promote_types(activation.dtype, torch.float32))
        form, parted = self.form, self.form.grid.part(activation)
        hidden = form.activation.value(form.coding.hypotheses(parted))
        goodness = form.goodness.read(hidden, form.coding.pool()).mean(1)
        trunk = form.activation.value(activation)
        shared = labels is None or hidden.shape[1] == 1
        activities = trunk if shared else form.grid.join(path_of(hidden, labels))
        return goodness, activities, send_on(form, trunk, self.running.centre, None).to(x.dtype)

    def gradient(self, x: Tensor, delta: Tensor, moved: Tensor | None, m: int) -> LocalGradient:
        """Return the gradient of this layer's loss, summed over the first m rows of inputs (n, p, i)."""
        if m < len(x):
            x, delta, moved = x[:m], delta[:m], None if moved is None else moved[:m]
        inputs = path_of(x[:, : delta.shape[1]] if moved is None else x, moved)
        blocks = None if moved is None else self.form.coding.blocks(moved, inputs)
        return self.connection.gradient(delta, inputs, blocks)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor of the layer that a checkpoint must hold, by name."""
        form, running = self.form, self.running
        kept = {"centre": running.centre, "taught": running.taught}
        if form.threshold is None:
            kept["thresholds"] = running.thresholds
        if form.peer:
            kept["activity"] = running.activity
        if self._adder is not None:
            kept["norms"] = self._norms
        kinds = zip(("rule", "label_rule"), self.rules, strict=False)
        rule = {f"{kind}.{name}": tensor for kind, made in kinds for name, tensor in made.state().items()}
        return {"weight": self.weight, **kept, **form.coding.parameters(), **form.coding.buffers(), **rule}

    def _activate(self, x: Tensor) -> Tensor:
        """Multiply inputs (n, p, i) with the weights, in a way that a compiler can see into where that is faster."""
        # ``is_compiling`` is true in every thread while one compiles.
        if not torch.compiler.is_dynamo_compiling():
            return self.multiply(x)
        if isinstance(self.connection, Dense):
            if x.shape[0] == x.shape[1] == 1 and self.weight.is_contiguous():
                return products.multiply_one(x, self.weight)
            if self.connection.plain:
                return products.multiply_plainly(x, self.weight)
        return opaque.multiply(self._number, x, self.weight, self.form.grid.size)

"""One layer: its weights, label coding, update rules and forward pass.

A step takes two products per layer, one forward and one to update; everything between them is judging.
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
    """A layer that learns from its own output only.

    Parameters
    ----------
    connection
        Weights of the layer.
    form
        Fixed properties of the layer.
    rule, label_rule
        Apply the local gradients of the weights, and of the coding's parameters if it has any.
    adder
        Scales each unit's weights back to their initial norm; ``None`` if norms may change.
    running
        Running statistics.
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
        """Weights W, (u, i)."""
        return self.connection.weight

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rule of the weights, and rule of the coding's parameters if it has any."""
        return (self.rule,) if self.label_rule is None else (self.rule, self.label_rule)

    @property
    def threshold(self) -> float | Tensor:
        """Goodness at which the layer calls a row real with probability 1/2, if it is compared with a threshold."""
        return self.running.thresholds.mean() if self.form.threshold is None else self.form.threshold

    @property
    def compiles(self) -> bool:
        """True if the work between the products is faster compiled; for a convolution it takes 2 to 3 times as long."""
        return self.form.grid.places == 1 or not self.form.grid.alike

    @property
    def onward(self) -> int:
        """Number of values per row that go on to the next layer."""
        grid, pool = self.form.grid, self.form.pool
        return (grid.height // pool) * (grid.width // pool) * grid.units

    def judge(self, x: Tensor, believed: Tensor, trust: Tensor, noise: Tensor, teaching: Teaching) -> Verdict:
        """Multiply inputs (n, p, i) with the weights and judge the activations."""
        energy = self.connection.energy(x[:, : self.form.labels])
        return judge(self.form, self._activate(x), energy, believed, trust, noise, teaching, self.running)

    def learn(self, verdict: Verdict, x: Tensor, taught: Tensor) -> None:
        """Learn from the first ``taught`` rows of inputs (n, p, i); ``taught`` is a scalar on the host."""
        slopes = verdict.delta, verdict.moved, verdict.label_weights
        if not torch.compiler.is_dynamo_compiling():
            self.step(x, *slopes, int(taught))
        else:
            # ``onward`` counts as changed so that the compiler finishes this layer before it begins the next. Otherwise
            # it would move all running means at the end, and keep the activations of all layers until then.
            changed = [self.weight, *self.form.coding.parameters().values(), *self.running, verdict.onward]
            opaque.learn(self._number, changed, x, *slopes, taught)

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply inputs (n, p, i) with the weights; (n, p, places * units)."""
        return self.connection.forward(x)

    def step(self, x: Tensor, delta: Tensor, moved: Tensor | None, label_weights: Tensor | None, m: int) -> None:
        """Learn from the first m rows of inputs (n, p, i), given the slopes of their ``Verdict``."""
        if not m:
            return
        self.rule.apply(self.gradient(x, delta, moved, m))
        if self.label_rule is not None and label_weights is not None:
            self.label_rule.apply(Formed(label_weights))
        if self._adder is not None:
            self._adder.hold(self._norms)

    def read(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Run the forward pass on inputs (n, p, i), of any paths, without learning.

        Parameters
        ----------
        x
            Inputs.
        labels
            (n, t) int64: labels whose activities to return, where labels have their own; ``None`` returns those that
            go on.

        Returns
        -------
        tuple
            Goodness (n, C), or (n, p) by path; activities (n, p or t, places * units); the next layer's inputs.
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
        """Multiply inputs (n, p, i) with the weights, visibly to the compiler where that is faster."""
        # ``is_compiling`` is true in every thread while any thread compiles.
        if not torch.compiler.is_dynamo_compiling():
            return self.multiply(x)
        if isinstance(self.connection, Dense):
            if x.shape[0] == x.shape[1] == 1 and self.weight.is_contiguous():
                return products.multiply_one(x, self.weight)
            if self.connection.plain:
                return products.multiply_plainly(x, self.weight)
        return opaque.multiply(self._number, x, self.weight, self.form.grid.size)

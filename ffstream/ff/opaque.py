"""Two operators that a compiler calls but does not look into: a layer's product, and its learning step.

The way to multiply and the work of a rule depend on numbers of rows, labels and step sizes, which change from sweep to
sweep; a compiler would treat them as constants and recompile.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor


class Layer(Protocol):
    """Layer that the operators act on."""

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply inputs (n, p, i) with the weights; (n, p, places * units)."""

    def step(self, x: Tensor, delta: Tensor, moved: Tensor | None, label_weights: Tensor | None, m: int) -> None:
        """Learn from the first m rows."""


_numbers = itertools.count()
_layers: WeakValueDictionary[int, Layer] = WeakValueDictionary()


def register(layer: Layer) -> Tensor:
    """Return the number by which the operators find a layer; a tensor, so that no compiler treats it as a constant."""
    number = next(_numbers)
    _layers[number] = layer
    return torch.tensor(number)


def _multiply(number: Tensor, x: Tensor, _weight: Tensor, _size: int) -> Tensor:
    """Multiply inputs (n, p, i) with a layer's weights; (n, p, size)."""
    return _layers[int(number)].multiply(x)


def _learn(
    number: Tensor,
    _changed: list[Tensor],
    x: Tensor,
    delta: Tensor,
    moved: Tensor | None,
    label_weights: Tensor | None,
    taught: Tensor,
) -> None:
    """Have a layer learn from its first rows; ``changed`` lists the tensors that this changes and a sweep reads."""
    _layers[int(number)].step(x, delta, moved, label_weights, int(taught))


# Not ``torch.library.custom_op``: its wrapper takes four times as long as a call.
torch.library.define("ffstream::multiply", "(Tensor number, Tensor x, Tensor weight, int size) -> Tensor")
torch.library.define(
    "ffstream::learn",
    "(Tensor number, Tensor(a!)[] changed, Tensor x, Tensor delta, Tensor? moved, Tensor? label_weights, Tensor taught)"
    " -> ()",
)
torch.library.impl("ffstream::multiply", "CompositeExplicitAutograd", _multiply)
torch.library.impl("ffstream::learn", "CompositeExplicitAutograd", _learn)
# Shapes of the outputs, which is all that a compiler needs to know.
torch.library.register_fake("ffstream::multiply", lambda _number, x, _weight, size: x.new_empty(*x.shape[:2], size))
torch.library.register_fake("ffstream::learn", lambda *_: None)

multiply: Callable[[Tensor, Tensor, Tensor, int], Tensor] = torch.ops.ffstream.multiply.default
learn: Callable[..., None] = torch.ops.ffstream.learn.default

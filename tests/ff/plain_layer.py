"""One layer by plain formula, apart from the source: a loop over labels, over regions, and over places."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig
from ffstream.ff.judging import CENTRING, PEERING
from ffstream.ff.stepsize import EARLY


def activate(name: str, a: Tensor) -> Tensor:
    match name:
        case "relu":
            return a.clamp(min=0)
        case "leaky_relu":
            return torch.where(a > 0, a, 0.01 * a)
        case "gelu":
            return a * (1 + torch.erf(a / math.sqrt(2))) / 2
        case "tanh":
            return (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())
        case "softplus":
            return (1 + a.exp()).log()
        case _:
            return a.clamp(min=0) ** 2


def normalised(rows: Tensor) -> Tensor:
    """Divide by the root mean square; a row of zeros stays one."""
    return rows / (rows**2).mean(-1, keepdim=True).sqrt().clamp(min=1e-10)


def levels(network: NetworkConfig) -> list[tuple[tuple[int, int, int], tuple[int, int]]]:
    """Return, of each layer, the channels, height and width of what it sees, and the height and width of its places."""
    shape = network.shape
    below = {1: (shape[0], 1, 1), 2: (1, *shape[-2:]), 3: shape}[len(shape)]
    found = []
    for layer in network.stack:
        places = (1, 1)
        if layer.kind != "dense":
            places = tuple((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in below[1:])
        found.append((below, places))
        below = (layer.units, places[0] // layer.pool, places[1] // layer.pool)
    return found


class PlainLayer:
    """One layer of a configuration, with the tensors of its state; rows are (n, i), place by place.

    ``crowd``: how many samples of one step may teach the same units with their full slope. ``early``: by how much more
    the first samples of a label teach.
    """

    def __init__(
        self,
        network: NetworkConfig,
        depth: int,
        tensors: dict[str, Tensor],
        crowd: float = math.inf,
        early: float = 1.0,
    ) -> None:
        self.network, self.config, self.tensors = network, network.stack[depth], tensors
        self.crowd, self.early = crowd, early
        self.below, self.places = levels(network)[depth]
        self.labels = 1 if network.coding == "none" else network.labels

    def activations(self, x: Tensor) -> Tensor:
        """Return what the weights make of rows (n, i); (n, height, width, units)."""
        layer, weight, (channels, height, width) = self.config, self.tensors["weight"], self.below
        if layer.kind == "dense":
            return (x @ weight.T).view(len(x), 1, 1, -1)
        images = x.view(len(x), height, width, channels).permute(0, 3, 1, 2)
        if layer.kind == "convolution":
            kernels = weight.view(-1, channels, layer.kernel, layer.kernel)
            made = functional.conv2d(images, kernels, stride=layer.stride, padding=layer.padding)
            return made.permute(0, 2, 3, 1)
        windows = functional.unfold(images, layer.kernel, padding=layer.padding, stride=layer.stride)
        each = weight.view(windows.shape[2], layer.units, -1)
        made = torch.stack([windows[:, :, place] @ each[place].T for place in range(len(each))], 1)
        return made.view(len(x), *self.places, layer.units)

    def hidden(self, x: Tensor, label: int) -> list[Tensor]:
        """Return the activities by which a label is judged, (n, places, units) of each region.

        Units of receptive fields are each one of its own, so such a region has one place.
        """
        a, parts = self.activations(x), []
        for rows, columns in self.regions():
            part = a[:, rows, columns].flatten(1, 2)
            if self.config.kind == "local":
                part = part.flatten(1).unsqueeze(1)
            if self.network.coding == "context":
                part = part + self.tensors["context"][label]
            parts.append(activate(self.config.activation, part))
        return parts

    def share(self, label: int) -> Tensor:
        """Return each unit's share (u,) in the mean of a label, in any region; 0 of units that do not count."""
        rows, columns = self.regions()[0]
        places = (rows.stop - rows.start) * (columns.stop - columns.start)
        units = self.config.units * (places if self.config.kind == "local" else 1)
        if self.network.coding == "assembly":
            run = units // self.network.labels
            own = [label * run <= unit < (label + 1) * run for unit in range(units)]
            if self.network.assemblies == "random" or self.config.kind == "local":
                own = (self.tensors["membership"][label] > 0).tolist()
        else:
            half = units // 2 if self.config.goodness == "ratio" else units
            own = [unit < half for unit in range(units)]
        shares = torch.tensor([float(unit) for unit in own], dtype=self.tensors["weight"].dtype)
        return (shares / shares.sum()).to(self.tensors["weight"].device)

    def regions(self) -> list[tuple[slice, slice]]:
        """Return the rows and the columns of each region."""
        rows, columns = self.places
        side = self.config.regions
        tall, wide = (1, 1) if side == 0 else (rows // side, columns // side)
        corners = [(top, left) for top in range(0, rows, tall) for left in range(0, columns, wide)]
        return [(slice(top, top + tall), slice(left, left + wide)) for top, left in corners]

    def scale(self) -> float:
        """Return the goodness where the mean is one."""
        if self.config.temperature != "width":
            return float(self.config.temperature)
        rows, columns = self.regions()[0]
        places = 1 if self.config.kind == "local" else (rows.stop - rows.start) * (columns.stop - columns.start)
        if self.learned:
            return self.tensors["assemblies"].shape[1] * places
        return int((self.share(0) > 0).sum()) * places

    @property
    def learned(self) -> bool:
        return self.network.coding == "assembly" and self.network.assemblies == "learned"

    def threshold(self) -> float:
        if self.config.threshold == "running":
            return float(self.tensors["thresholds"].mean())
        threshold = self.scale() if self.config.threshold == "width" else self.config.threshold
        return -threshold if self.config.goodness == "minimised" else threshold

    def goodness(self, x: Tensor, label: int) -> Tensor:
        """Return the goodness of a label in every region; (n, r), or (n, 1) where a label weighs units of all."""
        parts = self.hidden(x, label)
        if self.learned:
            weights = self.tensors["assemblies"][label].view(len(parts), -1)
            felt = [(self.measure(part) @ row).mean(1) for part, row in zip(parts, weights, strict=True)]
            return self.scale() * torch.stack(felt, 1).sum(1, keepdim=True) / weights.numel()
        share = self.share(label)
        return self.scale() * torch.stack([self.mean(part, share) for part in parts], 1)

    def measure(self, h: Tensor) -> Tensor:
        """Return what a mean over units is taken of."""
        match self.config.goodness:
            case "mean":
                return h
            case "minimised":
                return -(h**2)
            case _:
                return h**2

    def mean(self, h: Tensor, share: Tensor) -> Tensor:
        """Return what goodness is at temperature 1, of the activities (n, places, units) of a region; (n,)."""
        own = share > 0
        match self.config.goodness:
            case "ratio":
                positive, other = ((h[:, :, units] ** 2).mean((1, 2)) for units in (own, ~own))
                return positive / (positive + other + 1e-20)
            case "topk":
                squares = (h[:, :, own] ** 2).flatten(1).sort(descending=True).values
                return squares[:, : max(1, round(self.config.top_share * squares.shape[1]))].mean(1)
            case _:
                return (self.measure(h) @ share).mean(1)

    def loss(self, goodness: Tensor, targets: Tensor, signs: Tensor) -> Tensor:
        """Return the loss of rows with goodness (n, r, C) at one target each (n,), of sign 1 or 0; (n,)."""
        rows = torch.arange(len(goodness))
        against, smoothing = torch.as_tensor(self.threshold()), 0.0
        if self.config.against == "labels":
            smoothing = self.network.smoothing
            others = goodness.clone()
            others[rows, :, targets] = -torch.inf
            against = others.logsumexp(2)
        z = goodness[rows, :, targets] - against
        aimed = torch.where(signs > 0, 1 - smoothing, smoothing / (self.network.labels - 1))
        return functional.binary_cross_entropy_with_logits(z, aimed[:, None].expand_as(z), reduction="none").mean(1)

    def lesson(
        self, paths: list[Tensor], targets: Tensor, signs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return what has the gradient of a lesson, and the running activity of the units after it where peers pull.

        Rows come by each label's path, (m, i) each; targets and signs are (m, t), weights (m,).
        """
        goodness = torch.stack([self.goodness(path, c) for c, path in enumerate(paths)], 2)
        losses = [self.loss(goodness, at, sign) for at, sign in zip(targets.T, signs.T, strict=True)]
        loss = (torch.stack(losses, 1) * weights[:, None]).sum()
        (slope,) = torch.autograd.grad(loss, goodness, retain_graph=True)
        loss = (self.tempered(slope, goodness, paths).detach() * goodness).sum()
        if not self.network.peer or not (signs > 0).any():
            return loss, None
        active = torch.stack([self.active(self.hidden(path, c)) for c, path in enumerate(paths)], 1)
        raised = [(active[row, targets[row, t]], float(weights[row])) for row, t in (signs > 0).nonzero().tolist()]
        pull, running = self.peers(raised)
        return loss + pull, running

    def tempered(self, slope: Tensor, goodness: Tensor, paths: list[Tensor]) -> Tensor:
        """Scale slopes (m, r, C) at goodness: up at new labels, down where the step would overshoot."""
        pull, tempered = slope.abs().sum((0, 1)), slope.clone()
        eager = torch.tensor([self.eagerness(float(taught)) for taught in self.tensors["taught"]], dtype=pull.dtype)
        # Where all labels share all units, they are new together.
        eager = eager.expand(len(pull))
        for c in range(goodness.shape[2]):
            tempered[:, :, c] *= eager[c] * min(1.0, self.crowd / max(float(self.crowding(eager * pull, c)), 1e-12))
        for row in range(len(slope)):
            tempered[row] /= max(1.0, *(self.energy(path[row]) for path in paths))
        if self.degree() > 2:
            gain = (goodness.mean(1) / self.scale()).abs() ** (1 - 2 / self.degree())
            tempered /= gain.clamp(min=1)[:, None]
        return tempered

    def eagerness(self, taught: float) -> float:
        """Return by how much more a label's samples teach that was taught by so large a sum of slopes."""
        return min(self.early, max(1.0, math.sqrt(EARLY / taught) if taught else math.inf))

    def crowding(self, pull: Tensor, label: int) -> Tensor:
        """Return how much the rows pull at a label's units, given how much at each label; the mean over its units."""
        if self.network.coding != "assembly":
            return pull.sum()
        shares = (
            self.tensors["assemblies"].detach().abs()
            if self.learned
            else torch.stack([self.share(c) for c in range(len(pull))])
        )
        total = sum(pull[c] * shares[c] for c in range(len(pull)))
        return (total * shares[label]).sum() / shares[label].square().sum()

    def energy(self, row: Tensor) -> float:
        """Return the largest mean square of what a unit sees of a row (i,)."""
        layer, (channels, height, width) = self.config, self.below
        if layer.kind == "dense":
            return 1.0
        image = row.view(1, height, width, channels).permute(0, 3, 1, 2)
        windows = functional.unfold(image, layer.kernel, padding=layer.padding, stride=layer.stride)
        return float(windows.square().mean(1).max())

    def degree(self) -> int:
        """Return the power of the activations with which goodness grows."""
        of_goodness = {"mean": 1, "ratio": 0}.get(self.config.goodness, 2)
        return of_goodness * (2 if self.config.activation == "squared_relu" else 1)

    def active(self, parts: list[Tensor]) -> Tensor:
        """Return the activity (n, c) of each unit, or of each channel of a convolution, its mean over places."""
        if self.config.kind != "local":
            return torch.cat(parts, 1).mean(1)
        image = parts[0].new_zeros(len(parts[0]), *self.places, self.config.units)
        for part, (rows, columns) in zip(parts, self.regions(), strict=True):
            image[:, rows, columns] = part.view(len(part), rows.stop - rows.start, columns.stop - columns.start, -1)
        return image.flatten(1)

    def peers(self, raised: list[tuple[Tensor, float]]) -> tuple[Tensor, Tensor]:
        """Return the loss of peers, and the running activity after it, of real activities (n, c) and their weights."""
        total = sum(weight for _, weight in raised)
        with torch.no_grad():
            mean = sum(weight * row for row, weight in raised) / total
            running = self.tensors["activity"] + PEERING * (mean - self.tensors["activity"])
        rows = [weight * ((running - running.mean()) * row).sum() for row, weight in raised]
        return self.network.peer * torch.stack(rows).sum(), running

    def onward(self, x: Tensor) -> Tensor:
        """Return the next layer's inputs (n, i): pooled, normalised and less the running mean."""
        h = activate(self.config.activation, self.activations(x)).permute(0, 3, 1, 2)
        rows = normalised(functional.max_pool2d(h, self.config.pool).permute(0, 2, 3, 1).flatten(1))
        if not self.network.centring:
            return rows
        centre = self.tensors["centre"]
        return rows - centre.repeat(rows.shape[1] // len(centre))

    def centre_after(self, onward: Tensor, share: float) -> Tensor:
        """Return the running mean after inputs (m, i) that the layer sent on, of which each teaches a share."""
        centre = self.tensors["centre"]
        return centre + CENTRING * share * onward.view(len(onward), -1, len(centre)).mean(1).sum(0)

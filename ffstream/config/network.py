"""The network's section: shape of a sample, layers, goodness, label coding, negatives, prediction."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from ffstream.config.section import Count, Positive, Section

Precision = Literal["auto", "float32", "bfloat16"]
Activation = Literal["relu", "leaky_relu", "gelu", "tanh", "softplus", "squared_relu"]
Goodness = Literal["squares", "minimised", "mean", "ratio", "topk"]
Against = Literal["threshold", "labels"]
Corruption = Literal["blur", "masks", "noise", "shuffled"]
Negatives = Literal["belief", "uniform", Corruption]
ByGoodness = Literal["goodness", "upper_goodness", "top_goodness"]
Prediction = Literal[ByGoodness, "readout", "cascade"]
Threshold = Annotated[float, Field(allow_inf_nan=False)] | Literal["width", "running"]
Temperature = Positive | Literal["width"]
Share = Annotated[float, Field(gt=0, le=1)]

# Prediction rules that need no read-out.
BY_GOODNESS: tuple[ByGoodness, ...] = get_args(ByGoodness)
# Keys that define the places of a layer.
PLACED = ("kernel", "stride", "padding", "pool", "regions")
# Keys that a layer may set for itself; otherwise the network's value applies.
STATED = ("activation", "goodness", "top_share", "against", "threshold", "temperature")


class LayerConfig(Section):
    """One layer of an image network; keys left out take their values from ``[network]``.

    ``dense``: ``units`` units that see all of the layer below. ``local``: ``units`` units at each place, each with its
    own weights for its receptive field of ``kernel`` by ``kernel`` places (the paper, section 3.2). ``convolution``:
    ``units`` channels, whose weights all places share.
    """

    kind: Literal["dense", "local", "convolution"] = "dense"
    units: Count
    kernel: Count = 3
    stride: Count = 1
    padding: Annotated[int, Field(ge=0)] = 0
    pool: Count = 1
    regions: Annotated[int, Field(ge=0)] = 1
    activation: Activation | None = None
    goodness: Goodness | None = None
    top_share: Share | None = None
    against: Against | None = None
    threshold: Threshold | None = None
    temperature: Temperature | None = None

    @model_validator(mode="after")
    def _places_belong_to_images(self) -> Self:
        if self.kind == "dense":
            fields = type(self).model_fields
            alien = [key for key in PLACED if getattr(self, key) != fields[key].default]
            if alien:
                raise ValueError(f"a dense layer has no places; remove {', '.join(alien)}")
        return self


class NetworkConfig(Section):
    """The network: shape of a sample, layers, and how labels meet them."""

    shape: tuple[Count, ...] = Field(
        (28, 28),
        min_length=1,
        description="Shape of one sample, as it is sent. For images: height, width, or channels, height, width.",
    )
    labels: int = Field(10, ge=2, description="Number of labels, which are 0 … labels-1.")
    hidden: tuple[Count, ...] = Field(
        (512, 512), min_length=1, description="Units of each layer; all layers are dense."
    )
    layers: tuple[LayerConfig, ...] = Field(
        (),
        description="In place of hidden, one table per layer, such as "
        '{kind = "convolution", units = 96, kernel = 3, padding = 1, pool = 2}. Kinds are dense, local (receptive '
        "fields that share no weights) and convolution. regions = 2 gives each of 2 by 2 parts of the image its own "
        "goodness, regions = 0 each place. A layer may also set activation, goodness, top_share, against, threshold "
        "and temperature, as below.",
    )
    coding: Literal["assembly", "context", "overlay", "none"] = Field(
        "assembly",
        description="How a label enters a layer: assembly (each label owns units; one pass scores all labels), "
        "context (a top-down term in every layer; try temperature 16, threshold 24, rate 4e-3), "
        "overlay (written over the first pixels, as in Hinton's paper; one pass per label), "
        "none (layers learn without labels; a read-out learns from the labeled samples).",
    )
    overlay_scale: Positive = Field(
        1.0, description="overlay coding: value of the label's pixel, as a multiple of the row's largest value."
    )
    assemblies: Literal["disjoint", "random", "learned"] = Field(
        "disjoint",
        description="assembly coding: disjoint (each label owns units of its own; with more labels than units, as "
        "random), random (each label owns a random share of the units), or learned (starting from disjoint, each label "
        "learns how much each unit of each region counts for it or against it).",
    )
    assembly_share: Share = Field(0.3, description="Share of the units in a random assembly.")
    activation: Activation = Field("relu", description="Activation function of the units.")
    goodness: Goodness = Field(
        "squares",
        description="squares (mean of the squared activities), minimised (the same with the opposite sign: low for "
        "real data), mean (mean of the activities), ratio (P / (P + N), the mean squares of the label's own units and "
        "of the others), or topk (mean of the largest squares, a share top_share of them).",
    )
    top_share: Share = Field(0.1, description="topk: share of the units that count.")
    against: Against = Field(
        "threshold",
        description="What a label's goodness is compared with: threshold, p = sigmoid(goodness - threshold); or "
        "labels, the goodness of the other labels, p = softmax(goodness).",
    )
    temperature: Temperature = Field(
        8.0, description='Goodness is temperature times the mean; "width" makes it the sum, as in Hinton\'s paper.'
    )
    threshold: Threshold = Field(
        12.0,
        description="Goodness at which a layer calls a row real with probability 1/2. A number; "
        '"width", the goodness of a mean of 1; or "running", halfway between the running means for real data and for '
        "negatives.",
    )
    smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Label smoothing: the target probability of the true label is 1 - smoothing, in the read-out and "
        "in layers with against = 'labels'. 0.1 does well in many passes over the same samples.",
    )
    centring: bool = Field(True, description="Subtract the running mean from the inputs of every layer.")
    homeostasis: bool = Field(False, description="Keep the norm of each unit's weights at its initial value.")
    peer: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Strength of the pull of each unit's mean activity toward its layer's; the paper uses 0.03.",
    )
    negatives: Negatives = Field(
        "belief",
        description="Negatives, whose goodness is lowered: the same input under a wrong label, drawn from what the "
        "network believes (belief) or uniformly (uniform); or a corrupted input under its own label: blurred (blur), "
        "mixed with another by a random mask (masks), with added noise (noise), or with permuted pixels (shuffled).",
    )
    readout: Literal["none", "all", "upper"] = Field(
        "none",
        description="Linear softmax read-out: none, on the normalized activities of all layers (all), or of all but "
        "the first (upper).",
    )
    readout_rate: Positive = Field(
        1.5,
        description="Step size of the read-out's Adam times the number of activities, so that one value suits any "
        "width.",
    )
    prediction: Prediction = Field(
        "goodness",
        description="Basis of a prediction: goodness (summed over layers), upper_goodness (the same without the "
        "first layer), top_goodness (of the last layer only), readout, or cascade (goodness, among the labels that the "
        "read-out ranks first).",
    )
    shortlist: Count = Field(
        3, description="cascade: number of labels that the read-out selects; all, if there are fewer."
    )
    precision: Precision = Field(
        "auto",
        description="Number format of the weights and the matrix products. auto uses bfloat16 where the device "
        "multiplies it faster, which is 2 to 4 times faster, and float32 elsewhere.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the initial weights and of every random draw.")

    @property
    def width(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.shape)

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of a sample; a sample that is no image has one place, its values as channels."""
        if len(self.shape) == 2:
            return (1, *self.shape)
        return self.shape if len(self.shape) == 3 else (self.width, 1, 1)

    @property
    def placed(self) -> bool:
        """True if the units of the first layer have places in the image, unlike those of a dense layer."""
        return bool(self.layers) and self.layers[0].kind != "dense"

    @property
    def corruption(self) -> Corruption | None:
        """Corruption that turns inputs into negatives; ``None`` if negatives are other labels of the same input."""
        return None if self.negatives == "belief" or self.negatives == "uniform" else self.negatives  # noqa: PLR1714  narrows the type

    @property
    def stack(self) -> tuple[LayerConfig, ...]:
        """Layers from the first to the last, with the network's values for the keys that they leave out."""
        layers = self.layers or tuple(LayerConfig(units=units) for units in self.hidden)
        ours = {key: getattr(self, key) for key in STATED}
        return tuple(layer.model_copy(update=_unless_stated(ours, layer)) for layer in layers)

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.coding == "overlay" and self.labels > self.width:
            raise ValueError(
                f"overlay coding writes {self.labels} labels over the first pixels, but a sample has "
                f"only {self.width} values; choose another coding"
            )
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if self.coding == "none" and self.corruption is None:
            raise ValueError(
                f"coding 'none' uses no labels, so negatives cannot be {self.negatives!r}: set a corruption, such as "
                "negatives = 'masks'"
            )
        if self.coding == "none" and (self.prediction != "readout" or self.readout == "none"):
            raise ValueError(
                "goodness cannot tell labels apart under coding 'none': set readout and prediction = 'readout'"
            )
        if self.prediction not in BY_GOODNESS and self.readout == "none":
            raise ValueError(f"prediction = {self.prediction!r} needs a read-out: set readout to 'all' or 'upper'")
        if len(self.stack) == 1 and "upper" in (self.readout, self.prediction.partition("_")[0]):
            raise ValueError("there is no layer above the first: set readout = 'all' and a prediction without 'upper'")
        if any(layer.against == "labels" for layer in self.stack) and self.coding == "none":
            raise ValueError("coding 'none' has no labels to compare goodness with: set against = 'threshold'")
        if self.smoothing and self.readout == "none" and all(layer.against == "threshold" for layer in self.stack):
            raise ValueError(
                "smoothing applies only to a read-out and to against = 'labels': set one of them, or remove smoothing"
            )
        if self.coding == "assembly" and self.assemblies == "learned":
            alien = {layer.goodness for layer in self.stack} & {"ratio", "topk"}
            if alien:
                raise ValueError(
                    f"learned assemblies do not work with goodness {alien.pop()!r}: set assemblies = 'random'"
                )
        return self

    @model_validator(mode="after")
    def _fields_fit_the_image(self) -> Self:
        _, height, width = self.image
        for i, layer in enumerate(self.stack):
            if layer.kind == "dense":
                height = width = 1
                continue
            places = [(side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (height, width)]
            if min(places) < 1:
                raise ValueError(f"layers[{i}]: a kernel of {layer.kernel} does not fit {height} x {width} places")
            if layer.regions > 1 and any(side % layer.regions for side in places):
                raise ValueError(
                    f"layers[{i}]: {places[0]} x {places[1]} places do not divide evenly into {layer.regions}"
                )
            height, width = (side // layer.pool for side in places)
            if min(height, width) < 1:
                raise ValueError(f"layers[{i}]: a pool of {layer.pool} leaves none of {places[0]} x {places[1]} places")
        return self


def _unless_stated(ours: dict[str, Any], layer: LayerConfig) -> dict[str, Any]:
    return {key: value for key, value in ours.items() if getattr(layer, key) is None}

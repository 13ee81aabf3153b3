"""A network is signals, layers that make them, and connections that say which layer hears which signal.

Signal 0 is the feature frame; signal l+1 is what layer l (from 0) makes.  Layer l hears signal l, its input, and
signal l+1, its own state; which of its gates hear which says its cell (``cells.py``).  The classifier hears the
last signal; its accumulators are the logits.

A layer may hear other signals as its input (``Layer.hears``).  A signal of a layer further on reaches it a frame later,
as its own does.  What a signal feeds must be neighbours in the order of the accumulators: then an event is one run of
weights.  Only a signal that is an image may feed two convolutions anywhere (residual networks).

The accumulators of a layer **hold** their sums, M = b + W·v̂, or the layer **consumes** them: then the copy for the cell
takes them back to b, and M = b + Σ W·Δ of what was sent since the copy before.  (The bias is added anew, to 0:
``Layer.bias_columns`` says from how many bias columns, see ``formats.BIAS_DELTAS``.)  A layer that hears a signal with
the rule ``diffuse`` consumes, because nothing bounds the sum of all spikes.
"""

from dataclasses import dataclass, replace

import numpy as np

from .conv import Conv2d
from .errors import ModelError
from .formats import SIGNAL, STATE, THETA_MAX
from .layer import Layer, whole
from .rules import DELTA_MAX, Diffuse

MAX_LAYERS, USUAL_LAYERS = 32, 4     # that a network may have, and that most designs have room for
MAX_SIGNALS = MAX_LAYERS + 1


@dataclass(frozen=True)
class Connection:
    """A signal feeds gates of a layer, densely: every element feeds ``rows`` rows of weights.

    ``layer``: number of the layer, or of layers for the classifier.  ``gate``: the first of its gates that hear the
    signal.  ``tensor``: which of the layer's weights these are ("weight_ih", "weight_hh"; of the classifier "weight").
    ``column``: the tensor's column of the signal's element 0.  ``blocks``: blocks of as many rows as the layer has
    neurons, in the order of the gates.  ``conv``: elements feed not all rows but those of a convolution, whose weights
    begin with ``column``; ``rows`` are then all of them.
    """

    signal: int
    layer: int
    gate: int
    tensor: str
    column: int
    blocks: tuple[int, ...]
    rows: int
    conv: Conv2d | None = None


@dataclass(frozen=True)
class Network:
    """Shapes, scales, thresholds and rules.

    ``thresholds[s]`` is Θ of signal s in LSBs of 2**-8 (0 sends every change).  ``rules[s]``: None for the rule
    ``delta``; () if all signals have that.
    """

    features: int
    layers: tuple[Layer, ...]
    classifier: Layer
    thresholds: tuple[int, ...]
    rules: tuple[Diffuse | None, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "features", whole(self.features, "the number of features"))
        object.__setattr__(self, "thresholds", tuple(whole(theta, "a threshold") for theta in self.thresholds))
        object.__setattr__(self, "rules", tuple(self.rules) if any(self.rules) else ())
        if self.features < 1:
            raise ModelError(f"a network needs at least one feature, not {self.features}")
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ModelError(f"a network has 1 to {MAX_LAYERS} layers, not {len(self.layers)}")
        if any(layer.size < 1 for layer in self.layers):
            raise ModelError("a layer needs at least one neuron")
        if len(self.thresholds) != self.signals:
            raise ModelError(f"{self.signals} signals need {self.signals} thresholds, not {len(self.thresholds)}")
        if any(not 0 <= t <= THETA_MAX for t in self.thresholds):
            raise ModelError(f"thresholds must be in 0..{THETA_MAX} LSBs of 1/256, not {self.thresholds}")
        if len(self.rules) not in (0, self.signals):
            raise ModelError(f"{self.signals} signals need {self.signals} rules, not {len(self.rules)}")
        object.__setattr__(self, "layers", tuple(replace(layer, hears=()) if layer.hears == (l,) else layer
                                                 for l, layer in enumerate(self.layers)))
        self._check_connections()

    def _check_connections(self) -> None:
        """ModelError if no core can bring the signals to the layers."""
        for l in range(len(self.layers)):
            heard = self.heard(l)
            if l + 1 in heard or heard[-1] > len(self.layers):
                raise ModelError(f"layer {l} hears the signals {list(heard)}: these are 0 for the features and n for "
                                 f"layer n - 1, up to {len(self.layers)}, without its own, {l + 1}; correct them")
        if 0 not in self.heard(0):
            raise ModelError("the first layer hears the features, signal 0; add it to what it hears")
        for s in range(self.signals):
            before, image = None, any(c.conv for c in self.connections(s))
            if image:
                self._check_image(s)
            for c in self.connections(s):
                if before is not None and not image and (
                        c.layer != before.layer + 1 or c.gate
                        or before.gate + len(before.blocks) < len(self.layers[before.layer].cell.gates)):
                    raise ModelError(f"what signal {s} feeds in layers {before.layer} and {c.layer} are no neighbours; "
                                     "let it feed layers that follow each other, whose every gate hears it")
                before = c
                consumes = self.classifier.consumes if c.layer == len(self.layers) else self.layers[c.layer].consumes
                if self.rule(s) is not None and not consumes:
                    where = "the classifier" if c.layer == len(self.layers) else f"layer {c.layer}"
                    raise ModelError(f"signal {s} has the rule 'diffuse', so what hears it must consume; set "
                                     f"'consumes' of {where}")
            if before is None:
                raise ModelError(f"nothing hears signal {s}; let a layer hear it")

    def _check_image(self, signal: int) -> None:
        """ModelError if a signal that a convolution hears is no image, or feeds something else, too."""
        connections, made_by = list(self.connections(signal)), self.layers[signal - 1] if signal else None
        if any(c.conv is None for c in connections):
            raise ModelError(f"signal {signal} feeds a convolution and another layer; let it feed convolutions only")
        if len(connections) > 2:
            raise ModelError(f"signal {signal} feeds {len(connections)} convolutions; an image can feed two")
        for c in connections:
            conv = c.conv
            assert conv is not None
            if conv.inputs != self.elements(signal):
                raise ModelError(f"the convolution of layer {c.layer} hears {conv.channels} x {conv.height} x "
                                 f"{conv.width} elements, signal {signal} has {self.elements(signal)}; correct one of "
                                 "them")
            if made_by is not None and made_by.conv is not None and (
                    conv.channels != made_by.channels or conv.width != made_by.conv.out_width):
                raise ModelError(f"the convolution of layer {c.layer} hears {conv.channels} channels of {conv.height} "
                                 f"x {conv.width}, layer {signal - 1} makes {made_by.channels} of "
                                 f"{made_by.conv.out_height} x {made_by.conv.out_width}; correct one of them")
        one, other = connections[0].conv, connections[-1].conv
        assert one is not None and other is not None
        if (one.channels, one.width) != (other.channels, other.width):
            raise ModelError(f"signal {signal} is an image of {one.channels} channels and a width of {one.width} for "
                             f"one convolution, and of {other.channels} and {other.width} for the other; correct one")

    @property
    def signals(self) -> int:
        """Number of encoded signals: the features and what each layer makes."""
        return 1 + len(self.layers)

    @property
    def classes(self) -> int:
        return self.classifier.size

    @property
    def plain(self) -> bool:
        """A chain of layers that hold, with the rule ``delta`` everywhere."""
        return not self.rules and not any(x.consumes or x.hears or not x.recurrent or x.cell.activations or x.conv
                                          for x in (*self.layers, self.classifier))

    def rule(self, signal: int) -> Diffuse | None:
        """The rule of a signal; None is ``delta``."""
        return self.rules[signal] if self.rules else None

    def elements(self, signal: int) -> int:
        """Number of elements of a signal."""
        return self.features if signal == 0 else self.layers[signal - 1].size

    def heard(self, layer: int) -> tuple[int, ...]:
        """The signals that are a layer's input, in the order of the columns of its ``weight_ih``."""
        return self.layers[layer].hears or (layer,)

    def inputs(self, layer: int) -> int:
        """Columns of a layer's ``weight_ih``."""
        return sum(self.elements(s) for s in self.heard(layer))

    @property
    def features_after(self) -> int:
        """The last layer that hears the features: when it is closed, those of the next frame may be added."""
        return max(l for l in range(len(self.layers)) if 0 in self.heard(l))

    @property
    def replayed_weights(self) -> int:
        """Bias weights of layers that consume, which are read every frame."""
        return sum(layer.columns_again * len(layer.cell.gates) * layer.size for layer in self.layers) + (
            self.classifier.columns_again * self.classes)

    def fan_out(self, signal: int) -> np.ndarray:
        """Weights that an event of each element of a signal reads, int64 (elements,): the rows that it feeds (no
        padding)."""
        read = np.zeros(self.elements(signal), np.int64)
        for c in self.connections(signal):
            if c.conv is None:
                read += c.rows
            else:
                channels = 1 if c.conv.depthwise else self.layers[c.layer].channels
                read += np.repeat(c.conv.taps() * channels, c.conv.channels)
        return read

    def column_weights(self, signal: int) -> float:
        """Weights in one column of a signal: the mean of ``fan_out``, a whole number if nothing is a convolution."""
        if self.convolves(signal):
            return float(self.fan_out(signal).mean())
        return sum(connection.rows for connection in self.connections(signal))

    def convolves(self, signal: int) -> bool:
        """Whether a convolution hears the signal."""
        return any(connection.conv for connection in self.connections(signal))

    def connections(self, signal: int) -> tuple[Connection, ...]:
        """What a signal feeds, in the order of the accumulators: layers, and last the classifier."""
        found = []
        for l, layer in enumerate(self.layers):
            if signal == l + 1:
                tensor, rows, gate, column, place = "weight_hh", layer.own_rows, layer.cell.first_own, 0, 0
            else:
                tensor, rows, gate, heard = "weight_ih", layer.cell.input_rows, 0, self.heard(l)
                if signal not in heard:
                    continue
                place = heard.index(signal)
                column = sum(conv.columns for conv in layer.convs[:place]) if layer.conv else sum(
                    self.elements(s) for s in heard[:place])
            if rows:
                conv = layer.convs[place] if layer.conv else None
                found.append(Connection(signal, l, gate, tensor, column, rows, len(rows) * layer.size, conv))
        if signal == len(self.layers):
            found.append(Connection(signal, signal, 0, "weight", 0, (0,), self.classes))
        return tuple(found)

    @property
    def skips(self) -> bool:
        """Whether a signal feeds two convolutions."""
        return any(self.convolves(s) and len(self.connections(s)) > 1 for s in range(self.signals))

    @property
    def dense_weights(self) -> int:
        """Weights a dense network reads each frame: every column once."""
        return sum(int(self.fan_out(s).sum()) for s in range(self.signals))

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, each at its layer's width (biases and scales come on top)."""
        bits = sum(x.channels * x.fan_in * x.weight_bits if x.conv else
                   x.size * (len(x.cell.input_rows) * self.inputs(l) + len(x.own_rows) * x.size) * x.weight_bits
                   for l, x in enumerate(self.layers))
        bits += self.classifier.size * self.layers[-1].size * self.classifier.weight_bits
        return -(-bits // 8)

    @property
    def widths(self) -> str:
        """As "int8", or "int4 and int8"."""
        return " and ".join(f"int{bits}" for bits in sorted({x.weight_bits for x in (*self.layers, self.classifier)}))

    @property
    def shape(self) -> str:
        """As "GRU 104 + 88"; layers of spiking neurons as "spiking 104" or "spiking conv 3x3 288"."""
        parts, before = [], None
        for l, layer in enumerate(self.layers):
            spikes = layer.activation == "identity" and self.rule(l + 1) is not None
            title = layer.title.replace("identity", "spiking") if spikes else layer.title
            parts.append(str(layer.size) if title == before else f"{title} {layer.size}")
            before = title
        return " + ".join(parts)

    def max_anchor(self, signal: int) -> int:
        """Largest |v| that a signal can have, and |v̂| that its anchor can reach, in LSBs."""
        if signal == 0 or self.layers[signal - 1].activation in ("identity", "relu"):
            return SIGNAL.max
        return (STATE.max + 1) // (1 << (STATE.frac - SIGNAL.frac)) - 1

    def reach(self, signal: int, consumes: bool) -> int:
        """Largest magnitude, in LSBs, by which a signal's weights enter a sum: of v̂ where sums are held, of Δ where
        they are consumed."""
        if (rule := self.rule(signal)) is not None:
            return rule.reach
        return min(2 * self.max_anchor(signal), DELTA_MAX) if consumes else self.max_anchor(signal)

    def to_dict(self) -> dict:
        rules = {"rules": [rule and rule.to_dict() for rule in self.rules]} if self.rules else {}
        return {
            "features": self.features,
            "gru": [layer.to_dict() for layer in self.layers],      # named so in all files, whatever the cells
            "classifier": self.classifier.to_dict(),
            "thresholds": list(self.thresholds),
            **rules,
        }

    @staticmethod
    def from_dict(d: dict) -> "Network":
        return Network(
            features=d["features"],
            layers=tuple(Layer.from_dict(layer) for layer in d["gru"]),
            classifier=Layer.from_dict(d["classifier"]),
            thresholds=tuple(d["thresholds"]),
            rules=tuple(None if rule is None else Diffuse.from_dict(rule) for rule in d.get("rules", ())),
        )

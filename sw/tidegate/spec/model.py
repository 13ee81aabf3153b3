"""The model file: one safetensors file with integers and a JSON description; it knows nothing of lanes.

Tensors, those of a layer named after its cell (a GRU: PyTorch's row order r, z, n for the weights; accumulator order
nx, r, z, nh for the biases; see ``cells.py``):

    gru.{l}.weight_ih   int8  (3·H, inputs)      gru.{l}.weight_hh   int8  (3·H, H)
    gru.{l}.bias        int32 (4, H), accumulator LSBs
    classifier.weight   int8  (classes, H)       classifier.bias     int32 (classes,), accumulator LSBs
    frontend.mean       float32 (features,)      frontend.scale      float32 (features,)

The columns of ``weight_ih`` belong to the signals that the layer hears, one after the other; a layer that does not hear
its own state has no ``weight_hh``.  A convolution (``conv.py``) has a row of ``weight_ih`` and a bias for each of its
output channels.  Weights of a layer with ``weight_bits`` 4 lie in the file as uint8,
two of a row in a byte, the first in the low half.

Normalised features enter the network as ``round((feature - mean) · scale · 2**8)``.  The description is the
metadata entry ``tidegate``: format version, network, labels, front-end settings, card, digest, and (if any) the rules
by which the model decides early and by which it listens, and how its logits are read where they are no classes: the
readout of a regression (``readout.py``) or that of token strings (``tokens.py``).
"""

import json
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .cells import GRU
from .errors import ModelError, TidegateError
from .files import replacing
from .formats import ACC_BITS, BIAS_MAX, SIGNAL, WEIGHT_BITS, weight_max, whole_theta
from .frontend import check_frontend
from .layer import Layer
from .network import USUAL_LAYERS, Network
from .readout import Readout
from .stop import Stop
from .tokens import Tokens

# Format versions: the second only for files with weights of less than 8 bits, the third for cells beside the GRU, the
# fourth for networks that are no plain chain of layers (``Network.plain``), the fifth for models with a readout, the
# sixth for models that tell strings, the seventh for networks with a convolution, the eighth for those with more than
# four layers, or two convolutions in one.
_PLAIN, _NARROW, _CELLS, _RULES, _NUMBERS, _STRINGS, _IMAGES, _DEEP = _VERSIONS = 1, 2, 3, 4, 5, 6, 7, 8
SUFFIX = ".tidegate"


@dataclass(frozen=True)
class Model:
    """A network with its integers.

    ``tensors``: name → array as in the module's docstring.  ``labels``: one per class, or the
    names of the outputs of a regression.  ``frontend``: settings
    of the feature front end (see ``tidegate.host.frontend``).  ``card``: what a reader should know (free JSON).
    ``stop``: the rule by which it was trained to decide early on clips, if it was.  ``detector``: the rule by which it
    detects words in a stream, if it was trained for streams.  ``readout``: the model has no classes: its logits stand
    for numbers.  ``tokens``: its logits are a label per frame, of which the host makes a string.
    """

    network: Network
    tensors: dict[str, np.ndarray]
    labels: tuple[str, ...]
    frontend: dict = field(default_factory=dict)
    card: dict = field(default_factory=dict)
    stop: Stop | None = None
    detector: Stop | None = None
    readout: Readout | None = None
    tokens: Tokens | None = None

    def __post_init__(self):
        for name, (dtype, shape) in expected_tensors(self.network).items():
            tensor = self.tensors.get(name)
            if tensor is None:
                raise ModelError(f"model lacks the tensor '{name}'; save it again with this version of tidegate")
            if tensor.shape != shape or tensor.dtype != dtype:
                raise ModelError(f"tensor '{name}' is {tensor.dtype}{tensor.shape}, the network needs {dtype}{shape}")
        for name, layer in _weights(self.network).items():
            bits, most = layer.weight_bits, weight_max(layer.weight_bits)
            if bits < WEIGHT_BITS and not (np.abs(self.tensors[name]) <= most).all():
                raise ModelError(f"tensor '{name}' holds weights beyond the ±{most} of {bits} bits; quantise it to "
                                 f"these or describe it as {WEIGHT_BITS} bits")
        for name in ("frontend.mean", "frontend.scale"):
            tensor = self.tensors[name]
            if bad := np.flatnonzero(~np.isfinite(tensor) | ((tensor <= 0) & (name == "frontend.scale"))).tolist():
                raise ModelError(f"tensor '{name}' is {tensor[bad[0]]} for feature {bad[0]}, which is no "
                                 f"{'mean' if name == 'frontend.mean' else 'scale above 0'}; train it again")
        check_frontend(self.frontend)
        if len(self.labels) != self.network.classes:
            raise ModelError(f"{self.network.classes} classes need as many labels, not {len(self.labels)}")
        for rule in filter(None, (self.stop, self.detector)):
            if len(self.labels) < 2:
                raise ModelError("a stop rule compares two classes at least; leave it out")
            if (rule.classes or 0) > len(self.labels):
                raise ModelError(f"the stop rule decides for {rule.classes} classes, the network has "
                                 f"{len(self.labels)}; correct it")
        if self.detector is not None and not self.detector.stream:
            raise ModelError("a model's detector is a stop rule for streams; set its 'stream'")
        if self.readout is not None:
            if len(self.readout.units) != len(self.labels):
                raise ModelError(f"the readout has {len(self.readout.units)} outputs, the network has "
                                 f"{len(self.labels)}; give it one entry per output")
            if self.stop is not None or self.detector is not None:
                raise ModelError("a model whose logits are numbers has no best class, so it cannot decide early or "
                                 "listen; leave its stop rule and detector out")
        if self.tokens is not None:
            if len(self.labels) < 2 or self.tokens.blank >= len(self.labels):
                raise ModelError(f"strings need a token and the blank {self.tokens.blank} among the labels; the "
                                 f"network has {len(self.labels)}")
            if self.stop is not None or self.detector is not None or self.readout is not None:
                raise ModelError("a model that tells strings has no best class and no numbers; leave its stop rule, "
                                 "detector and readout out")
        check_bounds(self)

    def with_thresholds(self, *thresholds: int) -> "Model":
        """The same weights with other Θ (LSBs of 2**-8, one per signal)."""
        return replace(self, network=replace(self.network, thresholds=tuple(thresholds)))

    def turned(self, factor: float) -> "Model":
        """The same weights with all Θ multiplied, rounded and saturated (``whole_theta``).

        With more, values of the rule ``delta`` move further before they are sent, and neurons of the rule ``diffuse``
        collect more before they fire.
        """
        return self.with_thresholds(*(whole_theta(factor * t) for t in self.network.thresholds))

    def deciding(self, margin: float | None = None) -> "Model":
        """The same model with a stop rule of this margin, in units of the logits, in place of its own; ModelError if no
        board can compare it.  Without a margin the model as it is; ModelError if it has no rule."""
        if self.readout is not None or self.tokens is not None:
            raise ModelError(f"this model answers with {'numbers' if self.readout else 'strings'}, so it cannot decide "
                             "early; leave --early and --margin out")
        if margin is None:
            if self.stop is None:
                raise ModelError("this model was not trained to decide early; give a --margin, such as 4")
            return self
        wanted = Stop.of(margin, self.network.classifier.weight_frac, self.labels)
        return replace(self, stop=wanted if self.stop is None else replace(self.stop, margin=wanted.margin))

    def read_by(self, readout: Readout | Tokens | None) -> "Model":
        """The same integers, whose logits are numbers, make strings, or tell classes apart (None)."""
        numbers = readout if isinstance(readout, Readout) else None
        return replace(self, readout=numbers, tokens=readout if isinstance(readout, Tokens) else None)

    def with_beam(self, beam: int) -> "Model":
        """The same model with so many hypotheses of a string; ModelError if it tells no strings."""
        if self.tokens is None:
            raise ModelError("this model tells no strings of tokens, so it has no beam; leave --beam out")
        return replace(self, tokens=Tokens(self.tokens.blank, beam))

    @property
    def stop_margin(self) -> float | None:
        """The stop rule's margin in units of the logits, None without a rule."""
        return None if self.stop is None else self.stop.margin / (1 << self.network.classifier.weight_frac)

    @property
    def digest(self) -> str:
        """SHA-256 over description and tensors, in hexadecimal; a model file holds it, and is checked against it."""
        description = [self.network.to_dict(), self.labels, self.frontend, *self._rules().values()]
        h = sha256(json.dumps(description, sort_keys=True).encode())
        for name in sorted(expected_tensors(self.network)):
            h.update(name.encode() + np.ascontiguousarray(self.tensors[name]).tobytes())
        return h.hexdigest()

    def _rules(self) -> dict[str, dict]:
        """The rules and the readout that the model has, as JSON; files and digests of models without do not mention
        them."""
        return {name: rule.to_dict() for name in ("stop", "detector", "readout", "tokens")
                if (rule := getattr(self, name)) is not None}

    def numbers(self, logits: np.ndarray) -> np.ndarray:
        """The values (..., outputs), in their units, that raw accumulators of that shape stand for; ModelError if the
        model has no readout."""
        if self.readout is None:
            raise ModelError("this model tells classes apart, so its logits stand for no numbers; choose a model with "
                             "a readout")
        return self.readout.values(logits, self.network.classifier.weight_frac)

    def quantise(self, features: ArrayLike) -> np.ndarray:
        """Float features (..., features) as the front end gives them → int16 SIGNAL integers, saturated.

        A tensor of PyTorch is as an array.  TidegateError if they hold NaN or infinity.
        """
        features = np.asarray(features)
        if not np.isfinite(features).all():
            raise TidegateError("the features hold NaN or infinity; check what they are made from")
        with np.errstate(over="ignore"):        # what is too large for a float saturates like the rest
            scaled = (features - self.tensors["frontend.mean"]) * self.tensors["frontend.scale"] * (1 << SIGNAL.frac)
        return np.clip(np.floor(scaled + 0.5), -SIGNAL.max, SIGNAL.max).astype(np.int16)

    def saturated(self, features: np.ndarray) -> float:
        """Which share of float features (..., features) ``quantise`` saturates; 0 if there are none."""
        return float((np.abs(self.quantise(features)) == SIGNAL.max).mean()) if features.size else 0.0


def expected_tensors(network: Network) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Name → (dtype, shape) of every tensor of a network."""
    i8, i32, f32 = np.dtype(np.int8), np.dtype(np.int32), np.dtype(np.float32)
    expected = {
        "classifier.weight": (i8, (network.classes, network.layers[-1].size)),
        "classifier.bias": (i32, (network.classes,)),
        "frontend.mean": (f32, (network.features,)),
        "frontend.scale": (f32, (network.features,)),
    }
    for l, layer in enumerate(network.layers):
        cell = layer.cell
        if layer.conv is not None:
            expected[tensor_name(layer, l, "weight_ih")] = (i8, (layer.channels, layer.fan_in))
            expected[tensor_name(layer, l, "bias")] = (i32, (1, layer.channels))
            continue
        expected[tensor_name(layer, l, "weight_ih")] = (i8, (len(cell.input_rows) * layer.size, network.inputs(l)))
        if layer.own_rows:
            expected[tensor_name(layer, l, "weight_hh")] = (i8, (len(layer.own_rows) * layer.size, layer.size))
        expected[tensor_name(layer, l, "bias")] = (i32, (len(cell.gates), layer.size))
    return expected


def tensor_name(layer: Layer, number: int, what: str) -> str:
    """Name of a tensor of layer ``number``: ``what`` is "weight_ih", "weight_hh" or "bias"."""
    return f"{layer.cell.name}.{number}.{what}"


def _weights(network: Network) -> dict[str, Layer]:
    """Name of every weight tensor → its layer."""
    layers = {tensor_name(layer, l, what): layer for l, layer in enumerate(network.layers)
              for what in ("weight_ih", "weight_hh") if what == "weight_ih" or layer.own_rows}
    return layers | {"classifier.weight": network.classifier}


def _biases(network: Network) -> dict[str, Layer]:
    """Name of every bias tensor → its layer."""
    layers = {tensor_name(layer, l, "bias"): layer for l, layer in enumerate(network.layers)}
    return layers | {"classifier.bias": network.classifier}


def pack_nibbles(weights: np.ndarray) -> np.ndarray:
    """int8 (rows, n) within ±7 → uint8 (rows, ⌈n/2⌉), the even columns in the low halves, an odd last one alone."""
    padded = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2))).view(np.uint8) & 15
    return padded[:, ::2] | padded[:, 1::2] << 4


def unpack_nibbles(packed: np.ndarray, columns: int) -> np.ndarray:
    """The inverse of ``pack_nibbles``; ValueError if these are not the bytes of so many columns."""
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != -(-columns // 2):
        raise ValueError(f"{packed.dtype}{packed.shape} does not hold {columns} columns of 4 bits")
    both = np.stack([packed << 4, packed & 0xF0], -1).reshape(len(packed), -1)[:, :columns]
    return both.view(np.int8) >> 4


def accumulator_bounds(model: Model) -> dict[str, np.ndarray]:
    """Largest |b| + Σ|w|·``Network.reach`` that each accumulator can have: name of the rows → int64 (rows,)."""
    net, tensors = model.network, model.tensors
    bounds = {}
    for l, layer in enumerate(net.layers):
        biases = np.abs(tensors[tensor_name(layer, l, "bias")].astype(np.int64))
        bounds |= {tensor_name(layer, l, gate.name): bound
                   for gate, bound in zip(layer.cell.gates, biases, strict=True)}
    bounds["classifier"] = np.abs(tensors["classifier.bias"].astype(np.int64))
    for s in range(net.signals):
        for c in net.connections(s):
            last = c.layer == len(net.layers)
            layer = net.classifier if last else net.layers[c.layer]
            name = f"classifier.{c.tensor}" if last else tensor_name(layer, c.layer, c.tensor)
            columns = c.conv.columns if c.conv else net.elements(s)
            rows = np.abs(tensors[name][:, c.column : c.column + columns].astype(np.int64)).sum(1)
            for k, block in enumerate(c.blocks):
                gate = "classifier" if last else tensor_name(layer, c.layer, layer.cell.gates[c.gate + k].name)
                part = rows.reshape(-1, layer.channels)[block] if layer.size else rows
                bounds[gate] = bounds[gate] + part * net.reach(s, layer.consumes)
    return bounds


def check_bounds(model: Model) -> None:
    """Prove that no accumulator can wrap and every bias can be loaded; ModelError names the first row that fails."""
    for name, tensor in model.tensors.items():
        if name.endswith(".bias") and np.abs(tensor.astype(np.int64)).max(initial=0) > BIAS_MAX:
            row = int(np.abs(tensor.astype(np.int64)).argmax())
            raise ModelError(f"{name} row {row}: |bias| is more than {BIAS_MAX}; choose a smaller weight_frac")
    for name, layer in _biases(model.network).items():
        grid = layer.bias_grid
        off = model.tensors[name] % grid != 0 if grid else model.tensors[name] != 0
        if off.any():
            what = f"a multiple of {grid}" if grid else "0"
            raise ModelError(f"{name} holds {model.tensors[name][off][0]}, which is not {what}; give the layer more "
                             "bias_columns, or round its biases")
    limit = (1 << (ACC_BITS - 1)) - 1
    for name, bound in accumulator_bounds(model).items():
        if bound.max(initial=0) > limit:
            row = int(bound.argmax())
            raise ModelError(f"{name} row {row}: the accumulator can reach {bound[row]}, more than {limit} "
                             f"({ACC_BITS} bits); scale the weights down or choose a smaller weight_frac")


def save_model(model: Model, path: str | Path) -> None:
    """Write a model file; the old one stays if the disk is full."""
    tensors = {name: model.tensors[name] for name in expected_tensors(model.network)}
    narrow = [name for name, layer in _weights(model.network).items() if layer.weight_bits < WEIGHT_BITS]
    tensors |= {name: pack_nibbles(tensors[name]) for name in narrow}
    version = _NARROW if narrow else _PLAIN
    if any(layer.cell != GRU for layer in model.network.layers):
        version = _CELLS
    if not model.network.plain:
        version = _RULES
    if model.readout is not None:
        version = _NUMBERS
    if model.tokens is not None:
        version = _STRINGS
    if any(layer.conv for layer in model.network.layers):
        version = _IMAGES
    if len(model.network.layers) > USUAL_LAYERS or any(layer.skip for layer in model.network.layers):
        version = _DEEP
    description = {
        "version": version, "network": model.network.to_dict(), "labels": list(model.labels),
        "frontend": model.frontend, "card": model.card, "digest": model.digest, **model._rules(),
    }
    data = save({n: np.ascontiguousarray(t) for n, t in tensors.items()}, {"tidegate": json.dumps(description)})
    with replacing(path) as part:
        part.write_bytes(data)


def read_model(path: str | Path) -> Model:
    """Read and check a model file; ModelError with one line if it is missing, damaged or of another kind."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no model file '{path}'; `tidegate models` lists the models that are there")
    try:
        with safe_open(path, framework="numpy") as f:
            metadata = f.metadata() or {}
            tensors = {name: f.get_tensor(name) for name in f.keys()}
    except (SafetensorError, OSError, ValueError, TypeError) as error:      # TypeError: a type that numpy lacks
        why = " ".join(str(error).split())
        raise ModelError(f"'{path}' is not a readable model file ({why}); copy it again or train it anew") from None
    try:
        d = json.loads(metadata["tidegate"])
        if d["version"] not in _VERSIONS:
            raise ModelError(f"'{path}' has format version {d['version']}, this tidegate reads "
                             f"{_PLAIN} to {_VERSIONS[-1]}; install a newer version of tidegate")
        labels, frontend, card = tuple(map(str, d["labels"])), dict(d["frontend"]), dict(d["card"])
        network = Network.from_dict(d["network"])
        expected = expected_tensors(network)
        tensors |= {name: unpack_nibbles(tensors[name], expected[name][1][1])
                    for name, layer in _weights(network).items() if layer.weight_bits < WEIGHT_BITS}
        stop, detector = (Stop.from_dict(d[name]) if name in d else None for name in ("stop", "detector"))
        readout = Readout.from_dict(d["readout"]) if "readout" in d else None
        tokens = Tokens.from_dict(d["tokens"]) if "tokens" in d else None
        model = Model(network, tensors, labels, frontend, card, stop, detector, readout, tokens)
        if d.get("digest", model.digest) != model.digest:       # the first version's files have none
            raise ModelError(f"'{path}' is damaged: its content is not what was saved; copy it again or train it anew")
        return model
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"'{path}' is a safetensors file but not a tidegate model ({error!r})") from None

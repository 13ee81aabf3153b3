"""Networks of random integers, to compare descriptions of the hardware by; they mean nothing."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.cells import GRU, UNIT, Cell
from tidegate.spec.conv import STRIDES, Conv2d
from tidegate.spec.errors import ModelError
from tidegate.spec.formats import BIAS_DELTAS, BIAS_MAX
from tidegate.spec.frontend import FEWEST_BANDS
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import USUAL_LAYERS, Network
from tidegate.spec.rules import LEAK_MAX, RULES, Diffuse

_TRIES = 8


def random_model(features: int, sizes: Sequence[int], classes: int, seed: int, extreme: bool,
                 cells: Sequence[Cell] | None = None, rules: Sequence[str] = RULES[:1]) -> Model:
    """A network of random integers; ``extreme``: every weight is -128 or 127, biases fill their range.

    ``cells``: of each layer (default: all GRU).  ``rules``: those that signals may have; with ``diffuse`` some signals
    have it, and some layers consume.  Layers of the cell ``unit`` get an activation, and some hear no own state.  Where
    all gates hear all, some layers hear more signals than the one before, or later ones.
    Where an accumulator could wrap, which is so with many features or connections, the weights are halved until none
    can.

    It hears log-mel features of 16 kHz sound like a trained model.
    """
    rng = np.random.default_rng(seed)
    return filled(_network(rng, features, sizes, classes, cells or [GRU] * len(sizes), rules), rng, extreme)


def random_images(rng: np.random.Generator, channels: Sequence[int], rules: Sequence[str] = RULES[:1], most: int = 9,
                  layers: int = USUAL_LAYERS) -> Network:
    """A network of convolutions of random kernels, strides and paddings on an image of up to ``most`` pixels a side,
    of which some are depthwise and some also hear an earlier signal, and after them, at random, a layer of another
    cell.

    ``channels``: those that an output may have.  ``rules``: those that signals may have.
    """
    while True:
        height, width = rng.integers(1, most + 1, 2)
        heard, made = int(rng.integers(1, 4)), []
        features = int(height * width * heard)
        for _ in range(rng.integers(1, layers + 1)):
            kernel = int(rng.integers(1, 6))
            depthwise = heard in channels and rng.integers(3) == 0
            try:
                conv = Conv2d(heard, int(height), int(width), kernel, int(rng.choice(STRIDES)),
                              int(rng.integers(kernel)), bool(depthwise))
            except ModelError:
                continue
            heard = heard if depthwise else int(rng.choice(channels))
            height, width = conv.out_height, conv.out_width
            made.append(Layer(conv.positions * heard, cell=UNIT, recurrent=False, conv=conv,
                              activation=str(rng.choice(UNIT.activations))))
        if not made:
            continue
        made = _with_skips(rng, made)
        if len(made) < layers and rng.integers(2):
            made.append(Layer(int(rng.integers(1, 20)), cell=UNIT, activation="relu", recurrent=bool(rng.integers(2))))
        names = [str(rng.choice(rules)) for _ in range(len(made) + 1)]
        used = [_rule(rng) if name == "diffuse" else None for name in names]
        *made, classifier = [replace(layer, **_consuming(rng, "diffuse" in rules, any(
            used[signal] is not None for signal in (
                *(layer.hears or (s,)), *([s + 1] if layer.cell == UNIT and layer.recurrent else [])))))
            for s, layer in enumerate([*made, Layer(int(rng.integers(1, 12)))])]
        try:
            return Network(features, tuple(made), classifier, (64,) + (16,) * len(made), tuple(used))
        except ModelError:
            continue


def _with_skips(rng: np.random.Generator, made: list[Layer]) -> list[Layer]:
    """The convolutions of a chain, some with a second one, of an earlier signal."""
    made, fed = list(made), [1] * len(made)         # convolutions that hear each signal
    for l in range(1, len(made)):
        s, layer = int(rng.integers(l)), made[l]
        source = made[s].conv                       # what it hears is the image
        if layer.conv is None or source is None or fed[s] > 1 or rng.integers(2):
            continue
        for _ in range(_TRIES):
            kernel = int(rng.integers(1, 6))
            depthwise = source.channels == layer.channels and bool(rng.integers(2))
            try:
                skip = Conv2d(source.channels, source.height, source.width, kernel, int(rng.choice(STRIDES)),
                              int(rng.integers(kernel)), depthwise)
                made[l] = replace(layer, hears=(s, l), skip=skip)
            except ModelError:
                continue
            fed[s] += 1
            break
    return made


def filled(network: Network, rng: np.random.Generator, extreme: bool = False) -> Model:
    """A model of this network, of random integers, as ``random_model`` makes them."""
    features, classes = network.features, network.classes
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        if dtype == np.int8:
            spread = rng.choice([-128, 127], shape) if extreme else np.clip(rng.normal(0, 40, shape), -127, 127)
            tensors[name] = np.round(spread).astype(dtype)
        elif dtype == np.int32:
            limit = BIAS_MAX if extreme else BIAS_MAX // 8
            tensors[name] = rng.integers(-limit, limit + 1, shape, dtype=dtype)
        else:
            # about the mean and spread of the logarithm of speech's mel energies
            tensors[name] = np.full(shape, -3.0 if name.endswith("mean") else 0.4, dtype)
    frontend = FrontEndSettings(bands=features).to_dict() if features >= FEWEST_BANDS else {}
    labels = tuple(f"class {c}" for c in range(classes))
    for layer, name in [*((layer, f"{layer.cell.name}.{l}.bias") for l, layer in enumerate(network.layers)),
                        (network.classifier, "classifier.bias")]:
        if layer.consumes:
            grid = (*BIAS_DELTAS, 0)[len(BIAS_DELTAS) - layer.bias_columns]
            tensors[name] = tensors[name] // grid * grid if grid else tensors[name] * 0
    while True:
        try:
            return Model(network, tensors, labels, frontend)
        except ModelError:
            tensors |= {name: np.trunc(tensor / 2).astype(np.int8)      # towards 0, where every bound holds
                        for name, tensor in tensors.items() if tensor.dtype == np.int8}


def _network(rng: np.random.Generator, features: int, sizes: Sequence[int], classes: int, cells: Sequence[Cell],
             names: Sequence[str]) -> Network:
    """The description; random where there is a choice."""
    layers, diffuses = [], "diffuse" in names
    for size, cell in zip(sizes, cells, strict=True):
        choice = {"activation": str(rng.choice(cell.activations)), "recurrent": bool(rng.integers(2))
                  } if cell.activations else {}
        layers.append(Layer(size, cell=cell, **choice))
    plain = Network(features, tuple(layers), Layer(classes), (64,) + (16,) * len(sizes))
    if all(len(cell.input_rows) < len(cell.gates) for cell in cells) and not diffuses:
        return plain
    rules = [_rule(rng) if diffuses and ("delta" not in names or rng.integers(2)) else None
             for _ in range(plain.signals)]
    for n in range(_TRIES + 1):
        hears = [tuple(s for s in range(plain.signals) if s != l + 1 and (s == l or rng.integers(4) == 0))
                 if n < _TRIES and rng.integers(2) else () for l in range(len(layers))]
        found = [replace(layer, hears=heard) for layer, heard in zip(layers, hears, strict=True)]
        every = [*((layer, [*(heard or (l,)), *([l + 1] if layer.recurrent else [])])
                   for l, (layer, heard) in enumerate(zip(found, hears, strict=True))),
                 (plain.classifier, [len(layers)])]
        *found, classifier = [replace(layer, **_consuming(rng, diffuses, any(rules[s] for s in heard)))
                              for layer, heard in every]
        try:
            return Network(features, tuple(found), classifier, plain.thresholds, tuple(rules))
        except ModelError:
            if n == _TRIES:
                raise
    raise AssertionError


def _consuming(rng: np.random.Generator, may: bool, must: bool) -> dict:
    """Whether a layer consumes, and what is added again then."""
    consumes = must or (may and rng.integers(3) == 0)
    return {"consumes": True, "bias_columns": int(rng.integers(len(BIAS_DELTAS) + 1))} if consumes else {}


def _rule(rng: np.random.Generator) -> Diffuse:
    step = 1 << int(rng.integers(3, 10))
    most = 2047 // step
    lowest, highest = int(rng.choice([0, 0, -1, -min(3, most)])), int(rng.choice([1, 1, min(3, most)]))
    return Diffuse(step, lowest, highest, int(rng.choice([0, 0, 1, 4, LEAK_MAX])), bool(rng.integers(2)))

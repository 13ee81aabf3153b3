"""Makes the answers that every board must give in ``tidegate selftest``, with golden, and ships them as integers.

    python -m tidegate.golden.selftest          writes tidegate/host/selftest-*.tidegate

A host beside a board has no torch, so the expected integers travel in the cards of the models that they belong to.
"""

import numpy as np

from ..host.selftest import KINDS, MODES, PATHS
from ..spec.cells import GRU, UNIT, Cell, cell_of
from ..spec.conv import Conv2d
from ..spec.design import ADDRESSERS
from ..spec.formats import SIGNAL
from ..spec.layer import Layer
from ..spec.model import Model, expected_tensors, save_model, tensor_name
from ..spec.network import Network
from ..spec.rules import RULES, Diffuse
from .judge import Golden

# Small enough for every board; no size is a multiple of its lanes, so that words are padded.
_FEATURES, _CLASSES = 37, 10
_SIDE, _CHANNELS = 6, 7         # of images
_SHAPES = ((58, 6), (27, 7), (19, 6), (13, 7))          # neurons and weight_frac of each layer
_UNIT_FRACS = (9, 8, 8, 7), (8, 8, 7, 8)                # weight_frac of layers of the unit, with each rule
_THETA_X, _THETA_H = 96, 16
# With the rule ``diffuse``: rule and Θ of each signal, and bias columns of each layer
_RULES = ((Diffuse(256, -4, 4, leak=6), 128), (Diffuse(256, -1, 1, leak=3, zero=True), 160), (Diffuse(128), 128),
          (Diffuse(256, -2, 3, leak=5), 128), (Diffuse(128, -1, 2, leak=1), 64))
_BIAS_COLUMNS = (2, 0, 3, 1)
_WEIGHT_MAX, _BIAS_MAX = 40, 8000
_FRAMES, _STEP = 64, 700        # LSBs; a third of the features moves in a frame


def image_network(layers: int, rule: str = RULES[0]) -> Network:
    """The first so many of: a convolution, one that also hears the features, pooling, and a dense layer.  Two of them
    fit boards of many lanes, whose accumulators a position of few channels does not fill."""
    consumes = rule == "diffuse"
    unit = {"cell": UNIT, "recurrent": False, "consumes": consumes}
    first, skip = Conv2d(1, _SIDE, _SIDE, 4, 2), Conv2d(1, _SIDE, _SIDE, 5, 2, 1)
    second = Conv2d(_CHANNELS, 2, 2, 3, 1, 1)
    chain = (
        Layer(4 * _CHANNELS, 7, activation="relu", conv=first, bias_columns=2 * consumes, **unit),
        Layer(4 * _CHANNELS, 8, activation="identity", conv=second, skip=skip, hears=(0, 1), bias_columns=3 * consumes,
              **unit),
        Layer(_CHANNELS, 6, activation="identity", conv=Conv2d(_CHANNELS, 2, 2, 2, 2, 0, True), **unit),
        Layer(13, 7, activation="tanh", bias_columns=1 * consumes, **unit),
    )[:layers]
    if not consumes:
        return Network(_SIDE**2, chain, Layer(_CLASSES, 7), (_THETA_X, _THETA_H, *[8 * _THETA_H] * (layers - 1)))
    rules, thetas = zip(*_RULES[: layers + 1], strict=True)
    return Network(_SIDE**2, chain, Layer(_CLASSES, 7, consumes=True), thetas, rules)


def selftest_network(layers: int, cell: Cell = GRU, rule: str = RULES[0], addresser: str = ADDRESSERS[0]) -> Network:
    """So many layers of a cell, with a rule for all signals; with ``diffuse`` everything consumes.

    Units have the activations in turn, other ones first with the other rule.  One of their layers hears no own state.
    With ``delta`` the second layer hears the features, too; with ``diffuse`` the first hears the second.
    ``addresser`` conv2d: see ``image_network``.
    """
    if addresser == "conv2d":
        return image_network(layers, rule)
    diffuses, chain = rule == "diffuse", []
    for l, (size, frac) in enumerate(_SHAPES[:layers]):
        layer = {"consumes": True, "bias_columns": _BIAS_COLUMNS[l]} if diffuses else {}
        if cell.activations:
            frac = _UNIT_FRACS[diffuses][l]
            hears = {(False, 1): (0, 1), (True, 0): (0, 2)[:layers]}.get((diffuses, l), ())
            layer |= {"activation": cell.activations[(l + (1 if diffuses else 2)) % len(cell.activations)],
                      "recurrent": l != (3 if diffuses else 2), "hears": hears}
        chain.append(Layer(size, frac, cell=cell, **layer))
    if not diffuses:
        return Network(_FEATURES, tuple(chain), Layer(_CLASSES, 7), (_THETA_X, *[_THETA_H] * layers))
    rules, thetas = zip(*_RULES[: layers + 1], strict=True)
    return Network(_FEATURES, tuple(chain), Layer(_CLASSES, 7, consumes=True), thetas, rules)


def selftest_model(layers: int, cell: Cell = GRU, rule: str = RULES[0], addresser: str = ADDRESSERS[0]) -> Model:
    """A random model, see ``selftest_network``.

    Its card has frames, and logits and events of each mode, by golden.
    """
    draw, network = np.random.default_rng(layers), selftest_network(layers, cell, rule, addresser)
    features = network.features
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        most = _WEIGHT_MAX if dtype == np.int8 else _BIAS_MAX
        tensors[name] = np.ones(shape, dtype) if dtype == np.float32 else draw.integers(-most, most + 1, shape, dtype)
    biases = [(layer, tensor_name(layer, l, "bias")) for l, layer in enumerate(network.layers)]
    for layer, name in [*biases, (network.classifier, "classifier.bias")]:
        grid = layer.bias_grid
        tensors[name] = tensors[name] // grid * grid if grid else 0 * tensors[name]
    steps = draw.integers(-_STEP, _STEP + 1, (_FRAMES, features)) * (draw.random((_FRAMES, features)) < 1 / 3)
    steps[_FRAMES // 2 :: 8] = 0            # some frames in which nothing moves
    frames = np.clip(np.cumsum(steps, 0), -SIGNAL.max, SIGNAL.max)
    if network.rules:                       # currents, whose sum is sent again and again; some frames without any
        frames >>= 3
        frames[_FRAMES // 2 :: 8] = 0
    model = Model(network, tensors, tuple(map(str, range(_CLASSES))))
    card = {"what": "random weights, for `tidegate selftest`", "frames": frames.tolist()}
    card |= {mode: expected(model, frames, mode == "dense") for mode in MODES}
    return Model(network, tensors, model.labels, card=card)


def expected(model: Model, frames: np.ndarray, dense: bool) -> dict:
    """``logits`` (T, classes) and ``events`` (T, signals) of frames (T, features) from reset on, as lists; with
    convolutions also ``taps``, see ``host/selftest.py``."""
    network, trace = model.network, Golden(model).run(frames[:, None], dense, keep_sent=True)
    made = {"logits": trace.logits[:, 0].tolist(), "events": trace.events[:, 0].tolist()}
    assert trace.sent is not None
    convs = [[c.conv for c in network.connections(s) if c.conv] for s in range(network.signals)]
    if not any(convs):
        return made
    reached = [[np.repeat(conv.taps(), conv.channels) for conv in heard] for heard in convs]
    return made | {"taps": [[[int(taps.sum() if dense else taps[sent[t, 0] != 0].sum()) for taps in heard]
                             for heard, sent in zip(reached, trace.sent, strict=True)] for t in range(len(frames))]}


if __name__ == "__main__":
    for (kind, layers), path in PATHS.items():
        name, rule, addresser = KINDS[kind]
        save_model(selftest_model(layers, cell_of(name), rule, addresser), path)
        print(f"wrote {path}")

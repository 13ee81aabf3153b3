"""Makes the answers that every board must give in ``tidegate selftest``, with golden, and ships them as integers.

    python -m tidegate.golden.selftest          writes tidegate/host/selftest-*.tidegate

A host beside a board has no torch, so the expected integers travel in the cards of the models that they belong to.
"""

from collections.abc import Sequence

import numpy as np

from ..host.selftest import MODES, PATHS
from ..spec.cells import GRU, cell_of
from ..spec.formats import SIGNAL
from ..spec.model import Model, expected_tensors, save_model
from ..spec.network import Layer, Network
from .judge import Golden

# Small enough for every board; no size is a multiple of its lanes, so that words are padded.
_FEATURES, _CLASSES = 37, 10
_SHAPES = ((58, 6), (27, 7), (19, 6), (13, 7))          # neurons and weight_frac of each layer
_THETA_X, _THETA_H = 96, 16
_WEIGHT_MAX, _BIAS_MAX = 40, 8000
_FRAMES, _STEP = 64, 700        # LSBs; a third of the features moves in a frame


def selftest_model(layers: int, cells: Sequence[str] = (GRU.name,)) -> Model:
    """A random model of so many layers, which take turns with the cells, the last cell first.

    Its card has frames, and logits and events of each mode, by golden.
    """
    draw, turns = np.random.default_rng(layers), cells[::-1]
    chain = tuple(Layer(size, frac, cell=cell_of(turns[l % len(turns)]))
                  for l, (size, frac) in enumerate(_SHAPES[:layers]))
    network = Network(_FEATURES, chain, Layer(_CLASSES, 7), (_THETA_X, *[_THETA_H] * layers))
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        most = _WEIGHT_MAX if dtype == np.int8 else _BIAS_MAX
        tensors[name] = np.ones(shape, dtype) if dtype == np.float32 else draw.integers(-most, most + 1, shape, dtype)
    steps = draw.integers(-_STEP, _STEP + 1, (_FRAMES, _FEATURES)) * (draw.random((_FRAMES, _FEATURES)) < 1 / 3)
    steps[_FRAMES // 2 :: 8] = 0            # some frames in which nothing moves
    frames = np.clip(np.cumsum(steps, 0), -SIGNAL.max, SIGNAL.max)
    model = Model(network, tensors, tuple(map(str, range(_CLASSES))))
    card = {"what": "random weights, for `tidegate selftest`", "frames": frames.tolist()}
    card |= {mode: expected(model, frames, mode == "dense") for mode in MODES}
    return Model(network, tensors, model.labels, card=card)


def expected(model: Model, frames: np.ndarray, dense: bool) -> dict:
    """``logits`` (T, classes) and ``events`` (T, signals) of frames (T, features) from reset on, as lists."""
    trace = Golden(model).run(frames[:, None], dense)
    return {"logits": trace.logits[:, 0].tolist(), "events": trace.events[:, 0].tolist()}


if __name__ == "__main__":
    for (cells, layers), path in PATHS.items():
        save_model(selftest_model(layers, cells), path)
        print(f"wrote {path}")

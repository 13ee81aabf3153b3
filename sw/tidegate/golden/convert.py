"""Any trained ``torch.nn.GRU``, or module of another cell, as a delta network: a scale per layer, round, prove, run."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..spec.cells import CELLS, Cell
from ..spec.errors import ModelError
from ..spec.formats import ACC_BITS, BIAS_MAX, WEIGHT_BITS, WEIGHT_FRACS, acc_frac, weight_max
from ..spec.model import Model, tensor_name
from ..spec.network import MAX_LAYERS, Layer, Network
from .cells import golden_of
from .network import of_gates

_WEIGHT_MAX = weight_max(WEIGHT_BITS)


def from_torch(rnn: Mapping[str, Tensor], classifier: Mapping[str, Tensor], thresholds: Sequence[int] | None = None,
               labels: Sequence[str] | None = None, frontend: dict | None = None, mean=None, scale=None,
               card: dict | None = None) -> Model:
    """A model from the state dicts of a ``torch.nn.GRU`` (or of PyTorch's module of another of ``spec.cells``) and of
    the ``torch.nn.Linear`` behind its last layer.

    1 to 4 layers, one direction, with or without biases (batch_first does not matter).  ``thresholds``: Θ per
    signal in LSBs of 2**-8 (default all 0).  ``labels`` default to "0", "1", ...; ``mean``, ``scale`` (features,):
    normalisation of the features, default none.  A gate that hears input and own state starts at b_ih + b_hh.
    Every layer gets the finest scale at which nothing is clipped and no accumulator can wrap.  ModelError for any
    other state dict and for weights that fit no scale.
    """
    rnn, classifier = ({name: t.detach().cpu() for name, t in d.items()} for d in (rnn, classifier))
    cell, layers = _layers(rnn)
    sizes = [weights[1].shape[1] for weights, _ in layers]
    weight, bias = classifier.get("weight"), classifier.get("bias")
    if weight is None or weight.ndim != 2 or weight.shape[1] != sizes[-1]:
        raise ModelError(f"the classifier must be the state dict of a torch.nn.Linear({sizes[-1]}, classes)")
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    layers.append(([weight.double()], bias.double()))

    features, classes = layers[0][0][0].shape[1], weight.shape[0]
    shape = Network(features, tuple(Layer(size, cell=cell) for size in sizes), Layer(classes), (0,) * (len(sizes) + 1))
    reach = [shape.max_anchor(s) for s in range(shape.signals)]
    names = [f"layer {l}" for l in range(len(sizes))] + ["the classifier"]
    fracs = [_finest(cell, *layer, reach[l : l + 2], names[l]) for l, layer in enumerate(layers)]
    thresholds = (0,) * (len(sizes) + 1) if thresholds is None else tuple(thresholds)
    labels = tuple(map(str, range(classes))) if labels is None else tuple(labels)
    tensors = {
        "frontend.mean": np.asarray(np.zeros(features) if mean is None else mean, np.float32),
        "frontend.scale": np.asarray(np.ones(features) if scale is None else scale, np.float32),
    }
    for l, ((weights, bias), frac) in enumerate(zip(layers, fracs, strict=True)):
        ints = [_round(w, frac).numpy().astype(np.int8) for w in weights]
        bias = _round(bias, acc_frac(frac)).numpy().astype(np.int32)
        if l < len(sizes):
            tensors |= {tensor_name(shape.layers[l], l, what): value
                        for what, value in zip(("weight_ih", "weight_hh", "bias"), (*ints, bias), strict=True)}
        else:
            tensors |= {"classifier.weight": ints[0], "classifier.bias": bias}
    run = tuple(Layer(size, frac, cell=cell) for size, frac in zip(sizes, fracs, strict=False))
    network = Network(features, run, Layer(classes, fracs[-1]), thresholds)
    return Model(network, tensors, labels, dict(frontend or {}), dict(card or {}))


def _layers(rnn: Mapping[str, Tensor]) -> tuple[Cell, list[tuple[list[Tensor], Tensor]]]:
    """The cell, and per layer ([w_ih, w_hh], bias (gates, H) in the order of the accumulators), float64.

    ModelError if it is no plain recurrent network of a cell that there is.
    """
    wanted = " or ".join(f"torch.nn.{golden_of(cell).Module.__name__}" for cell in CELLS.values())
    if any(name.endswith("_reverse") for name in rnn):
        raise ModelError("a bidirectional network cannot run frame by frame; train it with bidirectional=False")
    if any(name.startswith("weight_hr") for name in rnn):
        raise ModelError(f"a recurrent layer with a projection (proj_size) does not run here; train a {wanted} without")
    count = sum(name.startswith("weight_hh_l") for name in rnn)
    if not 1 <= count <= MAX_LAYERS:
        raise ModelError(f"the state dict has {count} recurrent layers, tidegate runs 1 to {MAX_LAYERS}; "
                         f"pass the state_dict() of a {wanted}")
    layers, blocks = [], {len(cell.own_rows): cell for cell in CELLS.values()}
    first = rnn.get("weight_hh_l0")
    cell = None if first is None or first.ndim != 2 else blocks.get(first.shape[0] // max(1, first.shape[1]))
    for l in range(count):
        w_ih, w_hh = rnn.get(f"weight_ih_l{l}"), rnn.get(f"weight_hh_l{l}")
        if (cell is None or w_ih is None or w_hh is None or w_hh.shape[0] != len(cell.own_rows) * w_hh.shape[1]
                or w_ih.shape[0] != w_hh.shape[0]):
            rows = " or ".join(f"{count}·H of a {cell.title}" for count, cell in blocks.items())
            raise ModelError(f"layer {l} has not the rows of a cell that there is ({rows}); "
                             f"pass the state_dict() of a {wanted}")
        if l and w_ih.shape[1] != layers[-1][0][1].shape[1]:
            raise ModelError(f"layer {l} expects {w_ih.shape[1]} inputs, layer {l - 1} has "
                             f"{layers[-1][0][1].shape[1]} neurons")
        given = [side for side in ("ih", "hh") if f"bias_{side}_l{l}" in rnn]
        if len(given) == 1:
            raise ModelError(f"layer {l} has bias_{given[0]} but not its twin; pass both biases, or none (bias=False)")
        zeros = w_hh.new_zeros(w_hh.shape[0])
        biases = [rnn.get(f"bias_{side}_l{l}", zeros).double() for side in ("ih", "hh")]
        layers.append(([w_ih.double(), w_hh.double()], of_gates(cell, *biases)))
    assert cell is not None
    return cell, layers


def _round(x: Tensor, frac: int) -> Tensor:
    return torch.floor(x * 2.0**frac + 0.5)


def _finest(cell: Cell, weights: list[Tensor], bias: Tensor, reach: list[int], name: str) -> int:
    """The largest weight_frac at which weights and biases fit and, with signals up to ``reach``, no accumulator wraps.

    If only the accumulators do not fit, the coarsest is returned, and ``Model`` names the row.
    """
    largest = float(torch.cat([t.abs().flatten() for t in (*weights, bias)]).max())
    fitting = None
    for frac in reversed(WEIGHT_FRACS):
        ints, b = [_round(w, frac).abs() for w in weights], _round(bias, acc_frac(frac)).abs()
        if not all(w.max() <= _WEIGHT_MAX for w in ints) or not b.max() <= BIAS_MAX:
            continue
        fitting = frac
        sums = [w.sum(1) * most for w, most in zip(ints, reach, strict=False)]
        if len(sums) == 2:
            sums = [of_gates(cell, *sums)]
        if (sums[0] + b).max() < 1 << (ACC_BITS - 1):
            return frac
    if fitting is None:
        raise ModelError(f"{name} has a weight or bias of magnitude {largest:.4g}, int8 weights reach "
                         f"{_WEIGHT_MAX / (1 << WEIGHT_FRACS.start):g}; train with weight decay or rescale")
    return fitting

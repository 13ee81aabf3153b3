"""Any trained ``torch.nn.GRU``, or module of another cell, as a delta network: a scale per layer, round, prove, run."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..spec.cells import CELLS, Cell
from ..spec.errors import ModelError, TidegateWarning
from ..spec.formats import BIAS_MAX, WEIGHT_BITS, WEIGHT_FRACS, acc_frac, weight_max
from ..spec.model import Model, tensor_name
from ..spec.network import MAX_LAYERS, Layer, Network
from .cells import golden_of
from .network import of_gates
from .scale import rounded, scales

_WEIGHT_MAX = weight_max(WEIGHT_BITS)
_CONVERTED = tuple(cell for cell in CELLS.values() if not cell.activations)     # PyTorch's module says all of a layer
_OUTLIERS = 0.005           # share of weights that may be called a few
_MOST_SATURATED = 0.001     # share of calibration data that may saturate without a word


class ConversionWarning(TidegateWarning):
    """A network loses accuracy by its conversion; the text says why, and what to do about it."""


def from_torch(rnn: Mapping[str, Tensor] | nn.Module, classifier: Mapping[str, Tensor] | nn.Module | None = None,
               thresholds: Sequence[int] | None = None, labels: Sequence[str] | None = None,
               frontend: dict | None = None, mean=None, scale=None, card: dict | None = None, *,
               calibration: ArrayLike | None = None, clip: bool = False) -> Model:
    """A model from a ``torch.nn.GRU`` (or PyTorch's module of another of ``spec.cells``) and the ``torch.nn.Linear``
    behind its last layer: modules, or their state dicts, or one module that holds one of each.

    1 to 4 layers, one direction, with or without biases (batch_first does not matter).  ``thresholds``: Θ per
    signal in LSBs of 2**-8 (default all 0).  ``labels`` default to "0", "1", ...  The bias of a gate that hears input
    and own state is b_ih + b_hh.

    ``mean``, ``scale`` (features,): the network was trained on ``(feature - mean) · scale``; default: on the features
    themselves.  A core represents these values within ±8; larger ones saturate.  ``calibration`` (..., features):
    features such as the model will hear.  Without ``mean`` and ``scale`` these are computed from the calibration data,
    and the weights and biases of the first layer are changed to match, so that the network computes the same.

    Every layer gets the finest scale at which nothing is clipped and no accumulator can wrap.  ``clip``: the scale at
    which the weights have the least squared error, with those clipped that are too large for it.

    Warns (ConversionWarning) of calibration data that saturate, and of a layer in which a few weights make all others
    coarser.  ModelError for any other state dict, for weights that fit no scale, and for NaN.
    """
    if isinstance(rnn, nn.Module) and classifier is None:
        rnn, classifier = recurrent_and_linear(rnn)
    if classifier is None:
        raise ModelError("a classifier is missing; pass the torch.nn.Linear behind the last layer")
    states = [part.state_dict() if isinstance(part, nn.Module) else part for part in (rnn, classifier)]
    for state in states:
        if not isinstance(state, Mapping) or not all(
                isinstance(name, str) and isinstance(t, Tensor) and t.is_floating_point() and not t.is_meta
                for name, t in state.items()):
            raise ModelError("modules of PyTorch or their state dicts are converted: names and tensors of real numbers")
    rnn, classifier = ({name: t.detach().cpu() for name, t in state.items()} for state in states)
    cell, layers = _layers(rnn)
    sizes = [weights[1].shape[1] for weights, _ in layers]
    weight, bias = classifier.get("weight"), classifier.get("bias")
    if (weight is None or weight.ndim != 2 or weight.shape[1] != sizes[-1] or classifier.keys() - {"weight", "bias"}
            or (bias is not None and bias.shape != weight.shape[:1])):
        raise ModelError(f"the classifier must be the state dict of a torch.nn.Linear({sizes[-1]}, classes)")
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    layers.append(([weight.double()], bias.double()))

    features, classes = layers[0][0][0].shape[1], weight.shape[0]
    frames = None if calibration is None else _frames(calibration, features)
    if frames is not None and mean is None and scale is None:
        mean, scale = _normalisation(frames)
        layers[0] = _denormalised(cell, *layers[0], mean, scale)
    shape = Network(features, tuple(Layer(size, cell=cell) for size in sizes), Layer(classes), (0,) * (len(sizes) + 1))
    reach = [shape.max_anchor(s) for s in range(shape.signals)]
    names = [f"layer {l}" for l in range(len(sizes))] + ["the classifier"]
    fracs = [_finest(cell, *layer, reach[l : l + 2], names[l], clip) for l, layer in enumerate(layers)]
    thresholds = (0,) * (len(sizes) + 1) if thresholds is None else tuple(thresholds)
    labels = tuple(map(str, range(classes))) if labels is None else tuple(labels)
    tensors = {
        "frontend.mean": np.asarray(np.zeros(features) if mean is None else mean, np.float32),
        "frontend.scale": np.asarray(np.ones(features) if scale is None else scale, np.float32),
    }
    for l, ((weights, bias), frac) in enumerate(zip(layers, fracs, strict=True)):
        ints = [rounded(w, frac).clamp(-_WEIGHT_MAX, _WEIGHT_MAX).numpy().astype(np.int8) for w in weights]
        bias = rounded(bias, acc_frac(frac)).numpy().astype(np.int32)
        if l < len(sizes):
            tensors |= {tensor_name(shape.layers[l], l, what): value
                        for what, value in zip(("weight_ih", "weight_hh", "bias"), (*ints, bias), strict=True)}
        else:
            tensors |= {"classifier.weight": ints[0], "classifier.bias": bias}
    run = tuple(Layer(size, frac, cell=cell) for size, frac in zip(sizes, fracs, strict=False))
    network = Network(features, run, Layer(classes, fracs[-1]), thresholds)
    model = Model(network, tensors, labels, dict(frontend or {}), dict(card or {}))
    if frames is not None and (share := model.saturated(frames)) > _MOST_SATURATED:
        warnings.warn(ConversionWarning(
            f"{share:.1%} of the calibration data lie beyond ±8 and saturate; normalise the features, or leave mean "
            "and scale out, so that they are computed from the calibration data"), stacklevel=2)
    return model


def recurrent_and_linear(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The one recurrent module and the one linear module in a module."""
    kinds = tuple(golden_of(cell).Module for cell in _CONVERTED)
    found = [[part for part in module.modules() if isinstance(part, kind)] for kind in (kinds, nn.Linear)]
    if any(len(parts) != 1 for parts in found):
        raise ModelError(f"the module holds {len(found[0])} recurrent and {len(found[1])} linear modules; pass the one "
                         "recurrent module and the torch.nn.Linear behind it")
    taken = {id(parameter) for part in (found[0][0], found[1][0]) for parameter in part.parameters()}
    left = sorted({name.rpartition(".")[0] or name for name, parameter in module.named_parameters()
                   if id(parameter) not in taken})
    if left:
        raise ModelError(f"the module also holds {', '.join(left)}, which no core computes; compute that before the "
                         "features, or pass the recurrent module and the torch.nn.Linear behind it")
    return found[0][0], found[1][0]


def _frames(calibration: ArrayLike, features: int) -> np.ndarray:
    """Calibration data as float64 (n, features)."""
    try:
        frames = np.asarray(calibration, np.float64)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"the calibration data make no array ({' '.join(str(error).split())})") from None
    if frames.ndim < 2 or frames.shape[-1] != features or not frames.size or not np.isfinite(frames).all():
        raise ModelError(f"calibration data are finite features (frames, {features}), not {frames.shape}; correct them")
    return frames.reshape(-1, features)


def _normalisation(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / standard deviation (1 for a feature that is constant), as float32 holds them."""
    deviation = frames.std(0)
    deviation[deviation < 1e-6 * np.maximum(np.abs(frames).max(0), 1e-6)] = 1
    return frames.mean(0).astype(np.float32), (1 / deviation).astype(np.float32)


def _denormalised(cell: Cell, weights: list[Tensor], bias: Tensor, mean: np.ndarray,
                  scale: np.ndarray) -> tuple[list[Tensor], Tensor]:
    """The first layer's weights and bias for normalised features: W·x + b = (W / scale)·x' + (b + W·mean)."""
    w_ih, w_hh = weights
    more = of_gates(cell, w_ih @ torch.from_numpy(mean).double(), w_hh.new_zeros(w_hh.shape[0]))
    return [w_ih / torch.from_numpy(scale).double(), w_hh], bias + more


def _layers(rnn: Mapping[str, Tensor]) -> tuple[Cell, list[tuple[list[Tensor], Tensor]]]:
    """The cell, and per layer ([w_ih, w_hh], bias (gates, H) in the order of the accumulators), float64.

    ModelError if it is no plain recurrent network of a cell that there is.
    """
    wanted = " or ".join(f"torch.nn.{golden_of(cell).Module.__name__}" for cell in _CONVERTED)
    if any(name.endswith("_reverse") for name in rnn):
        raise ModelError("a bidirectional network cannot run frame by frame; train it with bidirectional=False")
    if any(name.startswith("weight_hr") for name in rnn):
        raise ModelError(f"a recurrent layer with a projection (proj_size) does not run here; train a {wanted} without")
    count = sum(name.startswith("weight_hh_l") for name in rnn)
    if not 1 <= count <= MAX_LAYERS:
        raise ModelError(f"the state dict has {count} recurrent layers, tidegate runs 1 to {MAX_LAYERS}; "
                         f"pass the state_dict() of a {wanted}")
    layers, blocks = [], {len(cell.own_rows): cell for cell in _CONVERTED}
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
        for name in (f"bias_{side}_l{l}" for side in ("ih", "hh")):
            if name in rnn and rnn[name].shape != w_hh.shape[:1]:
                raise ModelError(f"{name} has the shape {tuple(rnn[name].shape)}, not {tuple(w_hh.shape[:1])}; "
                                 f"pass the state_dict() of a {wanted}")
        given = [side for side in ("ih", "hh") if f"bias_{side}_l{l}" in rnn]
        if len(given) == 1:
            raise ModelError(f"layer {l} has bias_{given[0]} but not its twin; pass both biases, or none (bias=False)")
        zeros = w_hh.new_zeros(w_hh.shape[0])
        biases = [rnn.get(f"bias_{side}_l{l}", zeros).double() for side in ("ih", "hh")]
        layers.append(([w_ih.double(), w_hh.double()], of_gates(cell, *biases)))
    if len({f"bias_ih_l{l}" in rnn for l in range(count)}) > 1:
        raise ModelError("some layers have biases and others have none; pass all, or none (bias=False)")
    known = {f"{kind}_{side}_l{l}" for kind in ("weight", "bias") for side in ("ih", "hh") for l in range(count)}
    if other := sorted(rnn.keys() - known):
        raise ModelError(f"'{other[0]}' belongs to no {wanted}; pass the state dict of that alone")
    assert cell is not None
    return cell, layers


def _finest(cell: Cell, weights: list[Tensor], bias: Tensor, reach: list[int], name: str, clip: bool) -> int:
    """The largest weight_frac at which weights and biases fit and, with signals up to ``reach``, no accumulator wraps.

    If only the accumulators do not fit, the coarsest is returned, and ``Model`` names the row.  ``clip``: weights need
    not fit, and of all weight_fracs that one is returned at which their squared error is least.
    """
    flat = torch.cat([w.flatten() for w in weights])
    largest = float(torch.cat([flat, bias.flatten()]).abs().max())
    if not np.isfinite(largest):
        raise ModelError(f"{name} has a weight or bias that is NaN or infinite; train it again")
    found = list(scales(cell, weights, bias, reach[: len(weights)], clip))
    if not found:
        raise ModelError(f"{name} has a weight or bias of magnitude {largest:.4g}, int8 weights reach "
                         f"{_WEIGHT_MAX / (1 << WEIGHT_FRACS.start):g}; train with weight decay or rescale")
    safe = [frac for frac, holds in found if holds] or [found[-1][0]]
    if clip:
        return min(safe, key=lambda frac: float(_error(flat, frac)))
    _warn_of_outliers(flat, bias, safe[0], name)
    return safe[0]


def _error(weights: Tensor, frac: int) -> Tensor:
    """Squared error of rounded and clipped weights."""
    return ((rounded(weights, frac).clamp(-_WEIGHT_MAX, _WEIGHT_MAX) * 2.0**-frac - weights) ** 2).sum()


def _warn_of_outliers(weights: Tensor, bias: Tensor, frac: int, name: str) -> None:
    """Say so if a few weights, or the biases, make all weights two bits or more coarser."""
    finest = WEIGHT_FRACS.stop - 1
    most_outliers = int(_OUTLIERS * len(weights))

    def fits(weights: Tensor, frac: int) -> bool:
        return int((rounded(weights, frac).abs() > _WEIGHT_MAX).sum()) <= most_outliers

    usual = next((f for f in range(finest, frac, -1) if fits(weights, f)), frac)
    if usual < frac + 2:
        return
    beyond = int((rounded(weights, usual).abs() > _WEIGHT_MAX).sum())
    norm = float((weights**2).sum()) or 1.0
    now, least = (float(_error(weights, f) / norm) ** 0.5
                  for f in (frac, min(WEIGHT_FRACS, key=lambda f: float(_error(weights, f)))))
    if float(rounded(weights, frac + 1).abs().max()) > _WEIGHT_MAX:
        cause = f"{beyond} of {len(weights)} weights reach {float(weights.abs().max()):.3g} and take all"
        cure = f"clip=True loses {least:.1%}"
    elif float(rounded(bias, acc_frac(frac + 1)).abs().max()) > BIAS_MAX:
        cause, cure = f"biases reach {float(bias.abs().max()):.3g} and take the weights", "train with smaller biases"
    else:
        cause = "sums of weights that an accumulator could not hold take them"
        cure = "use fewer inputs or train with weight decay"
    warnings.warn(ConversionWarning(
        f"{name}: {cause} from {usual} to {frac} fraction bits, so that rounding loses {now:.1%} of their magnitude; "
        f"{cure}"), stacklevel=2)

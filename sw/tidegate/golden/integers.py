"""Real weights and biases as the integers of a model."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..spec.cells import Cell
from ..spec.formats import weight_max
from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.network import Network
from . import general
from .fixed import quantise_bias, quantise_weight


def integers_of(shape: Layer, weight_ih: Tensor, weight_hh: Tensor | None, bias_ih: Tensor | None,
                bias_hh: Tensor | None) -> general.Weights:
    """Real weights and biases, named and shaped as in PyTorch's module of the layer's cell, as integers held in floats;
    differentiable.  Without biases these are 0."""
    f, most = shape.weight_frac, weight_max(shape.weight_bits)
    if bias_ih is None:
        bias = weight_ih.new_zeros(len(shape.cell.gates), shape.channels)
    else:
        bias = bias_ih[None] if bias_hh is None else of_gates(shape.cell, bias_ih, bias_hh)
        bias = quantise_bias(bias, f, shape.bias_grid)
    own = None if weight_hh is None else quantise_weight(weight_hh, f, most)
    return general.Weights(quantise_weight(weight_ih, f, most), own, bias)


def classifier_integers_of(shape: Layer, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Real weights (classes, H) and biases (classes,), or None for 0, as integers held in floats; differentiable."""
    weight = quantise_weight(weight, shape.weight_frac, weight_max(shape.weight_bits))
    if bias is None:
        return weight, weight.new_zeros(len(weight))
    return weight, quantise_bias(bias, shape.weight_frac, shape.bias_grid)


@torch.no_grad()
def integer_model(net: Network, layers: Sequence[general.Weights], classifier: tuple[Tensor, Tensor],
                  labels: Sequence[str], frontend: dict, mean, scale, card: dict | None = None) -> Model:
    """A model of these integers, which are held in floats.  ModelError if an accumulator could wrap."""
    tensors = {"frontend.mean": _float32(mean), "frontend.scale": _float32(scale)}
    for l, integers in enumerate(layers):
        for what, tensor in zip(("weight_ih", "weight_hh", "bias"), integers, strict=True):
            if tensor is None:
                continue
            tensors[tensor_name(net.layers[l], l, what)] = _integers(
                tensor, np.int32 if what == "bias" else np.int8)
    weight, bias = classifier
    tensors |= {"classifier.weight": _integers(weight, np.int8), "classifier.bias": _integers(bias, np.int32)}
    return Model(net, tensors, tuple(labels), dict(frontend), dict(card or {}))


def of_gates(cell: Cell, rows_ih: Tensor, rows_hh: Tensor) -> Tensor:
    """What each accumulator gets from rows (rows, ...), as of two biases: (gates, H, ...)."""
    from_input = rows_ih.unflatten(0, (len(cell.input_rows), -1))
    from_own = rows_hh.unflatten(0, (len(cell.own_rows), -1))
    sums = []
    for gate in cell.gates:
        parts = [rows[row] for rows, row in ((from_input, gate.input_row), (from_own, gate.own_row)) if row is not None]
        sums.append(parts[0] if len(parts) == 1 else parts[0] + parts[1])
    return torch.stack(sums)


def _integers(tensor: Tensor, dtype) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(dtype)


def _float32(values) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)

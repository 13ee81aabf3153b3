"""Handlers of ONNX operations that compute: recurrent and linear layers, functions, scaling."""

from dataclasses import replace

import onnx
import torch

from ..golden.chain import FloatLayer
from ..golden.integers import of_gates
from ..spec.cells import GRU, LSTM, UNIT, Cell
from .onnx_graph import OnnxGraph, handles
from .onnx_value import (
    BATCH,
    ONE,
    TIME,
    WIDTH,
    GraphValue,
    attribute,
    open_value,
    refusal,
    scaled_value,
    text_attribute,
    with_layer,
    with_map,
)

# blocks of rows: PyTorch's in the order of ONNX's
_ROWS = {"GRU": (GRU, (1, 0, 2)), "LSTM": (LSTM, (0, 2, 3, 1)), "RNN": (UNIT, (0,))}
_USUAL = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}
_FUNCTIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}


@handles("GRU", "LSTM", "RNN")
def _recurrent(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    cell, order = _ROWS[node.op_type]
    value = open_value(graph.value(node.input[0]), node)
    names = [*node.input, *[""] * 8]
    activation = _check_recurrent(graph, node, cell, names)
    axes = _layout(node, value)
    w, r = (graph.real(names[i], node, what) for i, what in ((1, "weights"), (2, "recurrent weights")))
    if w.ndim != 3 or r.ndim != 3 or len(w) != 1 or r.shape[1] != len(order) * r.shape[2] or (
            w.shape[1] != r.shape[1]):
        raise refusal(node, f"has weights of the shapes {tuple(w.shape)} and {tuple(r.shape)}, which are not "
                       f"those of one {node.op_type} of one direction; export it again")
    if names[3]:
        given = graph.real(names[3], node, "biases")
        if given.numel() != 2 * w.shape[1]:
            raise refusal(node, f"has {given.numel()} biases, not {2 * w.shape[1]}; export it again")
        both = given.reshape(2, -1)
    else:
        both = torch.zeros(2, w.shape[1], dtype=torch.float64)
    w_ih, w_hh, b_ih, b_hh = (_reordered(x, order) for x in (w[0], r[0], *both))
    layer = FloatLayer(cell, w_ih, w_hh, of_gates(cell, b_ih, b_hh), activation, node.name)
    value = with_layer(value, layer, node)
    if output == 0:
        layout = (BATCH, TIME, ONE, WIDTH) if axes == (BATCH, TIME) else (TIME, ONE, BATCH, WIDTH)
        return replace(value, axes=layout)
    if output == 2:
        raise refusal(node, "gives the cell state c to a linear layer, and the engine hands on h; use h instead")
    layout = (BATCH, ONE, WIDTH) if axes == (BATCH, TIME) else (ONE, BATCH, WIDTH)
    return replace(value, axes=layout, readout="last")


def _check_recurrent(graph: OnnxGraph, node: onnx.NodeProto, cell: Cell, names: list[str]) -> str:
    """ModelError for what the cell does not do; the activation of an RNN."""
    if (way := text_attribute(node, "direction", "forward")) != "forward":
        raise refusal(node, f"runs {way}, and the engine runs frame by frame; train it forward alone")
    if node.op_type == "GRU" and not attribute(node, "linear_before_reset"):
        raise refusal(node, "applies the reset before the product (linear_before_reset=0); the engine, as "
                       "PyTorch, applies it behind: train with reset_after=True")
    if attribute(node, "clip"):
        raise refusal(node, "clips its sums (clip), which the engine does not; train it without")
    if attribute(node, "input_forget"):
        raise refusal(node, "couples input and forget gate (input_forget), which the engine does not; train it "
                       "without")
    given = [x.decode() for x in attribute(node, "activations") or []]
    usual = _USUAL[node.op_type]
    if node.op_type == "RNN" and given and given[0] in _FUNCTIONS:
        usual = [given[0]] if given[0] != "Sigmoid" else usual
    if given not in ([], usual):
        raise refusal(node, f"has the activations {', '.join(given)}, the engine's are {', '.join(usual)}; train "
                       "it with these")
    if names[4]:
        raise refusal(node, "ends sequences at their own lengths (sequence_lens); leave this input out")
    for place, what in ((5, "initial_h"), (6, "initial_c")):
        if names[place] and not (node.op_type != "LSTM" and place == 6) and not graph.is_zero(names[place]):
            raise refusal(node, f"begins with a state ({what}) that is not 0, as the engine does; leave it out")
    if node.op_type == "LSTM" and names[7] and not graph.is_zero(names[7]):
        raise refusal(node, "has peepholes, which the engine's LSTM has not; train it without")
    return _FUNCTIONS[usual[0]] if cell is UNIT else ""


@handles("MatMul", "Gemm")
def _linear(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    if node.op_type == "Gemm":
        value, weight = graph.value(node.input[0]), graph.real(node.input[1], node, "weights")
        if attribute(node, "transA"):
            raise refusal(node, "transposes its input (transA); export it without")
        alpha, beta = attribute(node, "alpha"), attribute(node, "beta")
        weight = (weight if attribute(node, "transB") else weight.T) * (1.0 if alpha is None else alpha)
        value = with_map(value, weight, None, node)
        if len(node.input) > 2 and node.input[2]:
            bias = graph.real(node.input[2], node, "biases") * (1.0 if beta is None else beta)
            value = with_map(value, None, bias, node)
        return value
    value, name, place = graph.stream(node)
    weight = graph.real(name, node, "weights")
    if weight.ndim != 2 or place == 0:
        raise refusal(node, f"multiplies by a constant of the shape {tuple(weight.shape)} from the "
                       f"{'left' if place == 0 else 'right'}; the engine multiplies features by a matrix")
    return with_map(value, weight.T, None, node)


@handles("Add", "Sub", "Mul", "Div")
def _elementwise(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value, name, place = graph.stream(node)
    constant = graph.real(name, node, "a constant")
    sign = 1.0
    if node.op_type in ("Add", "Sub"):
        if node.op_type == "Sub":
            constant, sign = (-constant, 1.0) if place else (constant, -1.0)
        if sign < 0:
            value = scaled_value(value, torch.tensor(-1.0, dtype=torch.float64), node)
        return with_map(value, None, constant, node)
    if node.op_type == "Div":
        if not place or not torch.all(constant != 0):
            raise refusal(node, "divides by the input or by 0; the engine has no division")
        constant = 1 / constant
    return scaled_value(value, constant, node)


@handles("Relu", "Tanh", "Sigmoid", "Softmax", "LogSoftmax")
def _function(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value = graph.value(node.input[0])
    if node.op_type in ("Softmax", "LogSoftmax"):
        if value.weight is None:
            raise refusal(node, "is no result of a linear layer; the engine has softmax nowhere else")
        if (attribute(node, "axis") if attribute(node, "axis") is not None else -1) % len(value.axes) != len(
                value.axes) - 1:
            raise refusal(node, "is not over the classes; the engine has softmax nowhere else")
        note = f"{node.op_type} '{node.name or node.output[0]}' is left out: a board gives logits, in that order"
        return replace(value, notes=(*value.notes, note), answered=True)
    value = open_value(value, node)
    if value.weight is None:
        raise refusal(node, "has no linear layer before it; the engine has such a function only behind one")
    if value.readout == "mean":
        raise refusal(node, "hears the mean of all frames, which the engine does not take; take that of the logits")
    bias = torch.zeros(len(value.weight), dtype=torch.float64) if value.bias is None else value.bias
    layer = FloatLayer(UNIT, value.weight, None, bias[None], _FUNCTIONS[node.op_type], node.name)
    return replace(value, layers=(*value.layers, layer), weight=None, bias=None)


def _reordered(rows: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Blocks of rows in the order of PyTorch."""
    return rows.unflatten(0, (len(order), -1))[list(order)].flatten(0, 1)


def _layout(node: onnx.NodeProto, value: GraphValue) -> tuple[str, str]:
    """What the first two axes of a recurrent layer's input are, by its attribute ``layout``."""
    wanted = (BATCH, TIME) if attribute(node, "layout") else (TIME, BATCH)
    if len(value.axes) != 3 or value.axes[2] != WIDTH or value.readout:
        raise refusal(node, f"hears the axes ({', '.join(value.axes)}), not (time, batch, features) of a whole "
                       "sequence; feed it the features, or the output of the layer before")
    for what, want in zip(value.axes[:2], wanted, strict=True):
        if what not in (want, "?", "??") and not (what == ONE and want == BATCH):
            raise refusal(node, f"takes the axis of {what} for that of {want}; set its layout, or transpose its input")
    return wanted

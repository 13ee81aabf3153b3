"""ONNX files as a ``FloatChain``: recurrent layers, linear ones between and behind them, and the glue of exporters.

The graph is followed from its output back to its input.  What depends on no input is a constant and is computed by
ONNX's own reference; what is left must be one of the handlers below.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch

from ..golden.chain import FloatChain, FloatLayer
from ..golden.network import of_gates
from ..spec.cells import GRU, LSTM, UNIT, Cell
from ..spec.errors import ModelError
from .onnx_constants import KEEPS_ZERO, ConstantTensors
from .onnx_value import (
    BATCH,
    LAYERS,
    MIXED,
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
from .tensors import unreadable

# blocks of rows: PyTorch's in the order of ONNX's
_ROWS = {"GRU": (GRU, (1, 0, 2)), "LSTM": (LSTM, (0, 2, 3, 1)), "RNN": (UNIT, (0,))}
_USUAL = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}
_FUNCTIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
_SHAPES = {"Shape", "Constant", "ConstantOfShape", "Expand", "Range", "Size", "Div", "Where", "Equal", "Mod"}
_NAMED = 4


def read_onnx(path: Path) -> FloatChain:
    """The network in an ONNX file; ModelError names the first node that the engine cannot compute."""
    try:
        proto = onnx.load(path)
        graph = _Graph(proto)
    except ModelError:
        raise
    except Exception as error:      # protobuf, a missing file of weights, ...
        raise unreadable(path, "ONNX file", error) from None
    return graph.chain(path)


class _Graph(ConstantTensors):
    """The graph of a file: what each tensor is, by its name."""

    def __init__(self, proto: onnx.ModelProto):
        super().__init__(proto)
        self.inputs = [i for i in self.graph.input if i.name not in self.constants]
        self.values: dict[str, GraphValue] = {}

    def chain(self, path: Path) -> FloatChain:
        if not self.graph.output:
            raise ModelError(f"'{path}' has no output; export the whole network")
        self._check_ops()
        found, refused = [], []
        for output in self.graph.output:
            try:
                value = self.value(output.name)
            except ModelError as error:
                refused.append(error)
                continue
            if value.weight is not None and value.layers:
                found.append((output.name, value))
        if not found and refused:
            raise refused[0]
        if not found:
            raise ModelError(f"'{path}' has no linear layer behind a recurrent one whose output is a result; export "
                             "the network with its classifier")
        if len(found) > 1:
            raise ModelError(f"'{path}' has {len(found)} results of linear layers, "
                             f"{' and '.join(name for name, _ in found)}; export a network with one")
        value = found[0][1]
        assert value.weight is not None
        bias = torch.zeros(len(value.weight), dtype=torch.float64) if value.bias is None else value.bias
        return FloatChain(value.layers, value.weight, bias, value.readout or "frames", value.notes)

    def _check_ops(self) -> None:
        """ModelError that names the nodes, needed for the first output, that depend on an input and have no handler."""
        needed, todo = [], [output.name for output in self.graph.output]
        seen: set[str] = set()
        while todo:
            node = self.makers.get(todo.pop())
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))      # pyright: ignore
            needed.append(node)
            todo += node.input if node.op_type not in _ROWS else [node.input[0]]
        known = _HANDLERS.keys() | _SHAPES | KEEPS_ZERO
        if bad := [n for n in self.graph.node if any(n is m for m in needed) and n.op_type not in known
                   and not self.is_constant(n.output[0])]:
            named = ", ".join(f"'{n.name or n.output[0]}' ({n.op_type})" for n in bad[:_NAMED])
            raise ModelError(f"the engine has nothing for {'the node ' if len(bad) == 1 else 'the nodes '}{named}"
                             f"{' and others' if len(bad) > _NAMED else ''}; it runs GRU, LSTM and RNN layers and "
                             "linear ones, so compute the rest before the features or leave it out")

    def value(self, name: str) -> GraphValue:
        """What a tensor is; ModelError if it is nothing that the engine can make."""
        if name not in self.values:
            node = self.makers.get(name)
            if node is not None:
                if node.op_type not in _HANDLERS:
                    raise refusal(node, "is nothing that the engine computes; compute it before the features")
                self.values[name] = _HANDLERS[node.op_type](self, node, list(node.output).index(name))
            else:
                self.values[name] = self._input(name)
        return self.values[name]

    def _input(self, name: str) -> GraphValue:
        real = [i.name for i in self.inputs]
        if name not in real:
            raise ModelError(f"the graph needs the tensor '{name}', which nothing makes; export the network again")
        shape = next(i for i in self.inputs if i.name == name).type.tensor_type.shape.dim
        if len(shape) not in (2, 3):
            raise ModelError(f"the input '{name}' has {len(shape)} axes; the engine takes features as (time, features) "
                             "or as a batch of these")
        return GraphValue((*("?", "??")[: len(shape) - 1], WIDTH))

    def stream(self, node: onnx.NodeProto) -> tuple[GraphValue, str, int]:
        """Of a node with two inputs, one of them constant: (the other's value, the constant's name, its place)."""
        places = [i for i, name in enumerate(node.input[:2]) if self.is_constant(name)]
        if len(places) != 1:
            raise refusal(node, "combines two values that both depend on the input; the engine has no such connection")
        return self.value(node.input[1 - places[0]]), node.input[places[0]], places[0]

    def axes_of(self, node: onnx.NodeProto, place: int, rank: int) -> list[int] | None:
        """The axes of Squeeze and the like: an attribute, or a constant input."""
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > place and node.input[place]:
            axes = self.constant(node.input[place])
            if axes is None:
                raise refusal(node, "has axes that are computed from the input; export it with constant ones")
        return None if axes is None else [int(a) % rank for a in np.ravel(axes)]

    def recurrent(self, node: onnx.NodeProto, output: int) -> GraphValue:
        cell, order = _ROWS[node.op_type]
        value = open_value(self.value(node.input[0]), node)
        names = [*node.input, *[""] * 8]
        activation = self._check_recurrent(node, cell, names)
        axes = _layout(node, value)
        w, r = (self.real(names[i], node, what) for i, what in ((1, "weights"), (2, "recurrent weights")))
        if w.ndim != 3 or r.ndim != 3 or len(w) != 1 or r.shape[1] != len(order) * r.shape[2] or (
                w.shape[1] != r.shape[1]):
            raise refusal(node, f"has weights of the shapes {tuple(w.shape)} and {tuple(r.shape)}, which are not "
                           f"those of one {node.op_type} of one direction; export it again")
        if names[3]:
            given = self.real(names[3], node, "biases")
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

    def _check_recurrent(self, node: onnx.NodeProto, cell: Cell, names: list[str]) -> str:
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
            if names[place] and not (node.op_type != "LSTM" and place == 6) and not self.is_zero(names[place]):
                raise refusal(node, f"begins with a state ({what}) that is not 0, as the engine does; leave it out")
        if node.op_type == "LSTM" and names[7] and not self.is_zero(names[7]):
            raise refusal(node, "has peepholes, which the engine's LSTM has not; train it without")
        return _FUNCTIONS[usual[0]] if cell is UNIT else ""

    def linear(self, node: onnx.NodeProto, output: int) -> GraphValue:
        if node.op_type == "Gemm":
            value, weight = self.value(node.input[0]), self.real(node.input[1], node, "weights")
            if attribute(node, "transA"):
                raise refusal(node, "transposes its input (transA); export it without")
            alpha, beta = attribute(node, "alpha"), attribute(node, "beta")
            weight = (weight if attribute(node, "transB") else weight.T) * (1.0 if alpha is None else alpha)
            value = with_map(value, weight, None, node)
            if len(node.input) > 2 and node.input[2]:
                bias = self.real(node.input[2], node, "biases") * (1.0 if beta is None else beta)
                value = with_map(value, None, bias, node)
            return value
        value, name, place = self.stream(node)
        weight = self.real(name, node, "weights")
        if weight.ndim != 2 or place == 0:
            raise refusal(node, f"multiplies by a constant of the shape {tuple(weight.shape)} from the "
                           f"{'left' if place == 0 else 'right'}; the engine multiplies features by a matrix")
        return with_map(value, weight.T, None, node)

    def elementwise(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value, name, place = self.stream(node)
        constant = self.real(name, node, "a constant")
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

    def function(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value = self.value(node.input[0])
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

    def same(self, node: onnx.NodeProto, output: int) -> GraphValue:
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] and np.any(self.constant(node.input[2])):
            raise refusal(node, "is exported in training mode; call eval() before the export")
        if node.op_type == "Cast" and attribute(node, "to") not in (1, 10, 11, 16):
            raise refusal(node, "turns features into whole numbers; the engine does its own rounding")
        return self.value(node.input[0])

    def transpose(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value = self.value(node.input[0])
        order = attribute(node, "perm") or range(len(value.axes))[::-1]
        axes = tuple(value.axes[i] for i in order)
        if axes[-1] not in (WIDTH,) and WIDTH in axes and axes.index(WIDTH) != len(axes) - 1:
            # an input of (batch, features, time) is turned in front of the layer
            if value.layers or value.weight is not None or len(axes) != 3:
                raise refusal(node, "turns features into another axis; the engine keeps a frame together")
        if not value.layers and value.weight is None and len(axes) == 3 and order[-1] != 2:
            axes = ("?", "??", WIDTH)      # of the raw input nothing is known but what follows
        return replace(value, axes=axes)

    def squeeze(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value = self.value(node.input[0])
        axes = self.axes_of(node, 1, len(value.axes))
        if axes is None:
            axes = [i for i, a in enumerate(value.axes) if a == ONE]
        for a in axes:
            if value.axes[a] == WIDTH or (value.axes[a] == TIME and value.readout != "last"):
                raise refusal(node, f"drops the axis of {value.axes[a]}; the engine needs all of it")
        return replace(value, axes=tuple(x for i, x in enumerate(value.axes) if i not in axes))

    def unsqueeze(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value = self.value(node.input[0])
        axes = list(value.axes)
        for a in sorted(self.axes_of(node, 1, len(axes) + 1) or []):
            axes.insert(a, ONE)
        return replace(value, axes=tuple(axes))

    def reshape(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value = self.value(node.input[0])
        if node.op_type == "Flatten":
            axis = attribute(node, "axis")
            axis = 1 if axis is None else axis % len(value.axes)
            head, tail = value.axes[:axis], value.axes[axis:]
            if [a for a in tail if a != ONE] != [WIDTH]:
                raise refusal(node, "joins several frames to one; the engine gives each frame to the next layer alone")
            real = [a for a in head if a != ONE] or [ONE]
            return replace(value, axes=(real[0] if len(real) == 1 else MIXED, WIDTH))
        target = self._target(node)
        width, kept = value.width(), [a for a in value.axes if a != ONE]
        copied = target[:-1]
        if target[-1] == -1 and all(n in (0, 1) for n in copied):
            whole = [a for a, n in zip(value.axes, copied, strict=False) if n == 0] + [WIDTH]
            fits = [a for a in whole if a != ONE] == kept
        else:
            same = target[-1] == 0 and len(target) == len(value.axes)
            fits = target[-1] is not None and (target[-1] == width or same)
        if not fits or kept[-1] != WIDTH:
            raise refusal(node, "joins or cuts frames; the engine gives each frame to the next layer alone")
        heads = [a for a in kept if a != WIDTH]
        free = [i for i, n in enumerate(copied) if n != 1]
        if len(free) == len(heads):
            places = dict(zip(free, heads, strict=True))
            axes = tuple(places.get(i, ONE) for i in range(len(copied)))
        else:
            axes = tuple(MIXED if n != 1 else ONE for n in copied)
        return replace(value, axes=(*axes, WIDTH))

    def _target(self, node: onnx.NodeProto) -> list[int | None]:
        """The shape of Reshape; None for what is computed from the input's shape."""
        shape = attribute(node, "shape")
        if shape is None:
            shape = self.constant(node.input[1])
        if shape is not None:
            return [int(n) for n in shape]
        maker = self.makers.get(node.input[1])
        if maker is None or maker.op_type != "Concat":
            raise refusal(node, "has a shape that is computed in an unknown way; export it with constants")
        parts = [self.constant(name) for name in maker.input]
        return [n for part in parts for n in ([None] if part is None else [int(x) for x in np.ravel(part)])]

    def pick(self, node: onnx.NodeProto, output: int) -> GraphValue:
        """One place of an axis: the last frame, or a layer of h_n."""
        value = self.value(node.input[0])
        axis = (attribute(node, "axis") or 0) % len(value.axes)
        index = self.constant(node.input[1])
        if index is None or index.size != 1:
            raise refusal(node, "picks frames by what is computed from the input, or several; pick the last frame")
        drop = index.ndim == 0
        return self._at(node, value, axis, int(index.ravel()[0]), drop)

    def _at(self, node: onnx.NodeProto, value: GraphValue, axis: int, index: int, drop: bool) -> GraphValue:
        """The value with one place of an axis taken; ``drop``: the axis goes away."""
        what = value.axes[axis]
        if what == LAYERS:
            at = value.stack[index]
            return replace(at, axes=tuple(a for i, a in enumerate(value.axes) if i != axis) if drop else
                           (*value.axes[:axis], ONE, *value.axes[axis + 1 :]))
        if what == TIME and index != -1:
            raise refusal(node, f"takes frame {index} of a sequence; the engine answers in every frame, so take the "
                           "last one (-1) or all")
        if what != TIME and not (what == ONE and index in (0, -1)):
            raise refusal(node, f"takes a part of the axis of {what}; the engine needs all of it")
        axes = tuple(a for i, a in enumerate(value.axes) if i != axis) if drop else (
            *value.axes[:axis], ONE, *value.axes[axis + 1 :])
        return replace(value, axes=axes, readout="last" if what == TIME else value.readout)

    def slice(self, node: onnx.NodeProto, output: int) -> GraphValue:
        value = self.value(node.input[0])
        if len(node.input) > 1:
            given = [self.constant(name) if name else None for name in node.input[1:5]]
            given += [None] * (4 - len(given))
            if given[0] is None or given[1] is None:
                raise refusal(node, "cuts at places that are computed from the input; take the last frame or all")
            starts, ends, axes, steps = ([int(x) for x in np.ravel(g)] if g is not None else None for g in given)
        else:
            starts, ends, axes, steps = (attribute(node, name) for name in ("starts", "ends", "axes", "steps"))
        for k, (start, end) in enumerate(zip(starts or [], ends or [], strict=True)):
            axis = (axes[k] if axes else k) % len(value.axes)
            step = steps[k] if steps else 1
            if step == 1 and start == 0 and end >= 2**31 - 1:
                continue
            size = len(value.stack) if value.axes[axis] == LAYERS else 0
            last = (start == -1 and end >= 2**31 - 1) or (size and start % size == size - 1 and end >= size)
            if step != 1 or not (last or (value.axes[axis] == ONE and start == 0 and end >= 1)):
                raise refusal(node, f"cuts {start}:{end} out of the axis of {value.axes[axis]}; take the last frame "
                               "or all")
            value = self._at(node, value, axis, 0 if value.axes[axis] == ONE else -1, False)
        return value

    def mean(self, node: onnx.NodeProto, output: int) -> GraphValue:
        """The mean of all frames, which a user's own program may take."""
        value = open_value(self.value(node.input[0]), node)
        axes = self.axes_of(node, 1, len(value.axes))
        if axes is None or [value.axes[a] for a in axes] != [TIME] or value.readout:
            raise refusal(node, "takes a mean that is not over the frames; the engine has none")
        keep = attribute(node, "keepdims") != 0
        kept = tuple(ONE if i in axes else a for i, a in enumerate(value.axes) if keep or i not in axes)
        note = f"'{node.name or node.output[0]}' (ReduceMean) is left to you: a board gives logits for each frame, " \
               "so take their mean"
        return replace(value, axes=kept, readout="mean", notes=(*value.notes, note))

    def concat(self, node: onnx.NodeProto, output: int) -> GraphValue:
        values = [self.value(name) for name in node.input]
        axis = (attribute(node, "axis") or 0) % len(values[0].axes)
        if len(values) == 1:
            return values[0]
        if any(v.readout != "last" or v.axes[axis] != ONE or v.weight is not None for v in values):
            raise refusal(node, "joins values; the engine has layers in a row, each of which hears the one before")
        axes = tuple(LAYERS if i == axis else a for i, a in enumerate(values[0].axes))
        return replace(values[-1], axes=axes, stack=tuple(values))


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


_HANDLERS: dict[str, Callable[[_Graph, onnx.NodeProto, int], GraphValue]] = {
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _Graph.recurrent), **dict.fromkeys(("MatMul", "Gemm"), _Graph.linear),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _Graph.elementwise),
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "Softmax", "LogSoftmax"), _Graph.function),
    **dict.fromkeys(("Identity", "Dropout", "Cast"), _Graph.same), "Transpose": _Graph.transpose,
    "Squeeze": _Graph.squeeze, "Unsqueeze": _Graph.unsqueeze, "Reshape": _Graph.reshape, "Flatten": _Graph.reshape,
    "Gather": _Graph.pick, "Slice": _Graph.slice, "ReduceMean": _Graph.mean, "Concat": _Graph.concat,
}

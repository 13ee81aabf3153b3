"""The graph of an ONNX file, followed from its output back to its input.

What depends on no input is a constant and is computed by ONNX's own reference; what is left must be an operation with a
handler (``handles``).  ``onnx_layers.py`` and ``onnx_shapes.py`` have the handlers.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from ..golden.chain import FloatChain
from ..spec.errors import ModelError
from .onnx_constants import KEEPS_ZERO, RECURRENT, ConstantTensors
from .onnx_value import WIDTH, GraphValue, attribute, refusal

_SHAPES = {"Shape", "Constant", "ConstantOfShape", "Expand", "Range", "Size", "Div", "Where", "Equal", "Mod",
           "ReduceProd"}
_NAMED = 4
_UNROLLED = 2       # products with the same weights
Handler = Callable[["OnnxGraph", onnx.NodeProto, int], GraphValue]
HANDLERS: dict[str, Handler] = {}


def handles(*operations: str) -> Callable[[Handler], Handler]:
    """Makes a function the handler of these operations: it gives what output number n of a node is to the engine."""
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(operations, handler))
        return handler
    return register


class OnnxGraph(ConstantTensors):
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
            raise self._unrolled() or refused[0]
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

    def _unrolled(self) -> ModelError | None:
        """The error of a recurrent layer that an exporter wrote step by step: products with the same weights."""
        first: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            if node.op_type in ("MatMul", "Gemm") and not self.is_constant(node.input[0]):
                first.setdefault(node.input[1], []).append(node)
        steps = max(first.values(), key=len, default=[])
        if len(steps) < _UNROLLED:
            return None
        return refusal(steps[0], f"and {len(steps) - 1} more nodes multiply by the same weights: the exporter wrote a "
                       "recurrent layer step by step; export it as one node, in PyTorch with dynamo=False")

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
            todo += node.input if node.op_type not in RECURRENT else [node.input[0]]
        known = HANDLERS.keys() | _SHAPES | KEEPS_ZERO
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
                if node.op_type not in HANDLERS:
                    raise refusal(node, "is nothing that the engine computes; compute it before the features")
                self.values[name] = HANDLERS[node.op_type](self, node, list(node.output).index(name))
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

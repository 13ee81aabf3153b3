"""The tensors of an ONNX graph that depend on no input, computed by ONNX's own reference."""

from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .onnx_value import attribute, refusal

RECURRENT = ("GRU", "LSTM", "RNN")
# shapes of constants of 0 do not matter
KEEPS_ZERO = {"Expand", "Slice", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Identity", "Cast", "Concat", "Tile"}


class ConstantTensors:
    """``constants``: name → array, of initializers and computed ones.  ``makers``: name → its node."""

    def __init__(self, proto: onnx.ModelProto):
        self.graph = proto.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output if name}
        self.opsets = list(proto.opset_import)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor depends on no input."""
        if name in self.constants or not name:
            return True
        node = self.makers.get(name)
        return node is not None and node.op_type not in RECURRENT and all(map(self.is_constant, node.input))

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a tensor that depends on no input, else None."""
        if name not in self.constants and name in self.makers and self.is_constant(name):
            node = self.makers[name]
            feeds = {n: self.constant(n) for n in node.input if n}
            inputs, outputs = map(_info, feeds), map(_info, node.output)
            graph = onnx.helper.make_graph([node], "constant", list(inputs), list(outputs))
            proto = onnx.helper.make_model(graph, opset_imports=self.opsets)
            try:
                results: Any = ReferenceEvaluator(proto).run(None, feeds)       # pyright: ignore
            except Exception as error:
                raise refusal(node, f"cannot be computed ({' '.join(str(error).split())[:100]}); fold constants when "
                               "exporting") from None
            self.constants |= dict(zip(node.output, results, strict=True))
        return self.constants.get(name)

    def real(self, name: str, node: onnx.NodeProto, what: str) -> torch.Tensor:
        """A constant as float64; ModelError if it is none."""
        array = self.constant(name)
        if array is None:
            raise refusal(node, f"has {what} that is computed from the input, not trained; use constant weights")
        if np.dtype(array.dtype).kind not in "fV" and str(array.dtype) != "bfloat16":
            raise refusal(node, f"has {what} of the type {array.dtype}; export float16, float32 or float64 weights")
        return torch.from_numpy(np.asarray(array, np.float64).copy())

    def is_zero(self, name: str) -> bool:
        """Whether a tensor is 0, whatever its shape."""
        if self.is_constant(name):
            return not np.any(self.constant(name))
        node = self.makers.get(name)
        if node is None:
            return False
        if node.op_type == "ConstantOfShape":
            value = attribute(node, "value")
            return value is None or not np.any(numpy_helper.to_array(value))
        return node.op_type in KEEPS_ZERO and all(
            map(self.is_zero, node.input if node.op_type == "Concat" else node.input[:1]))


def _info(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_value_info(name, onnx.TypeProto())

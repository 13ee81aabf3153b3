"""What a tensor of an ONNX graph is to the engine: layers so far, and a linear map that no layer has taken yet."""

from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch

from ..golden.chain import FloatLayer, rows_to_gates
from ..spec.errors import ModelError

# axes of a value
TIME, BATCH, WIDTH, ONE, LAYERS, MIXED = "time", "batch", "features", "1", "layers", "mixed"


@dataclass(frozen=True)
class GraphValue:
    """What a tensor of the graph is: the layers so far, and W·x + b behind them that no layer has taken yet.

    ``axes``: what each axis is; "?" and "??": time or batch, as the first recurrent layer will say.  ``last``: only the
    last frame.  ``stack``: of h_n of several layers, the value of each.  ``mixed``: the axes that were joined to one.
    """

    axes: tuple[str, ...]
    layers: tuple[FloatLayer, ...] = ()
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    readout: str | None = None
    stack: tuple["GraphValue", ...] = ()
    notes: tuple[str, ...] = ()
    answered: bool = False
    mixed: tuple[str, ...] = ()

    def width(self) -> int | None:
        if self.weight is not None:
            return self.weight.shape[0]
        return self.layers[-1].size if self.layers else None


def refusal(node: onnx.NodeProto, why: str) -> ModelError:
    return ModelError(f"the node '{node.name or node.output[0]}' ({node.op_type}) {why}")


def attribute(node: onnx.NodeProto, name: str) -> Any:
    """The value of an attribute, None if it is not there."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def text_attribute(node: onnx.NodeProto, name: str, default: str) -> str:
    value = attribute(node, name)
    return default if value is None else value.decode()


def open_value(value: GraphValue, node: onnx.NodeProto) -> GraphValue:
    """The value, if more may follow."""
    if value.answered or value.stack:
        raise refusal(node, "hears what is no signal of a layer; the engine has layers in a row")
    return value


def with_layer(value: GraphValue, layer: FloatLayer, node: onnx.NodeProto) -> GraphValue:
    """A recurrent layer behind a value; a linear layer between is folded into its weights."""
    notes = value.notes
    if value.weight is not None or value.bias is not None:
        w_ih, bias = layer.w_ih, layer.bias
        if value.weight is not None and value.weight.shape[0] != w_ih.shape[1]:
            raise refusal(node, f"expects {w_ih.shape[1]} inputs, but gets {value.weight.shape[0]}; correct it")
        if value.bias is not None:
            bias = bias + rows_to_gates(layer.cell, w_ih @ value.bias.expand(w_ih.shape[1]), layer.w_hh)
        weight = w_ih if value.weight is None else w_ih @ value.weight
        layer = replace(layer, w_ih=weight, bias=bias)
        notes = (*notes, f"the linear map before '{node.name or node.output[0]}' ({node.op_type}) is folded into its "
                 "weights")
    return replace(value, layers=(*value.layers, layer), weight=None, bias=None, notes=notes)


def with_map(value: GraphValue, weight: torch.Tensor | None, bias: torch.Tensor | None,
             node: onnx.NodeProto) -> GraphValue:
    """A value behind which W·x, or + b, follows."""
    value = open_value(value, node)
    if value.axes[-1] != WIDTH:
        raise refusal(node, f"works along the axis of {value.axes[-1]}; the engine works on each frame")
    if weight is not None:
        if value.width() not in (None, weight.shape[1]):
            raise refusal(node, f"expects {weight.shape[1]} inputs, but gets {value.width()}; correct the network")
        bias = None if value.bias is None else weight @ value.bias.expand(weight.shape[1])
        return replace(value, weight=weight if value.weight is None else weight @ value.weight, bias=bias)
    assert bias is not None
    flat = _along_width(bias, node, value.width())
    width = value.width() or len(flat)
    if value.weight is None and value.layers:
        value = replace(value, weight=torch.eye(width, dtype=torch.float64))
    if value.weight is None and value.bias is None and not value.layers and len(flat) == 1:
        return replace(value, bias=flat)
    return replace(value, bias=flat.expand(width) if value.bias is None else value.bias + flat)


def scaled_value(value: GraphValue, factors: torch.Tensor, node: onnx.NodeProto) -> GraphValue:
    """A value of which each element is multiplied."""
    value, flat = open_value(value, node), _along_width(factors, node, value.width())
    width = value.width() or (len(flat) if value.bias is None or len(flat) > 1 else len(value.bias))
    if value.weight is None and not value.layers and value.bias is None and width == 1:
        raise refusal(node, "scales all features by one number before the first layer; fold this into the features")
    weight = torch.eye(width, dtype=torch.float64) if value.weight is None else value.weight
    return replace(value, weight=weight * flat.expand(width)[:, None],
                   bias=None if value.bias is None else value.bias * flat)


def _along_width(constant: torch.Tensor, node: onnx.NodeProto, width: int | None) -> torch.Tensor:
    """A constant (n,) that has one axis beside those of size 1, the last."""
    if constant.numel() not in (1, constant.shape[-1] if constant.ndim else 1):
        raise refusal(node, f"combines frames with a constant of the shape {tuple(constant.shape)}, which differs "
                       "from frame to frame; the engine has none")
    if width is not None and constant.numel() not in (1, width):
        raise refusal(node, f"combines {width} values with a constant of {constant.numel()}; correct the network")
    return constant.reshape(-1)

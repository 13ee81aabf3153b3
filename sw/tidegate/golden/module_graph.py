"""The layers of a trained PyTorch network, from the graph that ``torch.export`` makes of it.

A layer is what a ReLU rectifies: the sum of linear maps of one or two signals that came before.  Two are a junction of
a residual network; a path that only passes its signal on has weights of 1 there.  Batch normalisation becomes part of
the weights.  Average pooling is a layer of its own, of equal weights, unless only a linear layer hears it: then the
weights of that hold it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from ..spec.conv import Conv2d
from ..spec.errors import ModelError
from ..spec.network import MAX_LAYERS
from .weight_layer import Feed, WeightLayer

_SAME = {"dropout", "dropout_", "feature_dropout", "feature_dropout_", "alias", "clone", "detach", "detach_",
         "contiguous", "to", "_to_copy", "lift_fresh_copy"}
_SHAPES = {"flatten", "view", "reshape", "_unsafe_view", "squeeze"}
_KNOWN = "use linear layers, conv2d, relu, avg_pool2d, batch_norm, flatten, dropout and sums of two branches"


@dataclass(frozen=True)
class Pool:
    """Average pooling that no layer has heard yet."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class Value:
    """What a node of the graph gives: a ``signal``, perhaps pooled, or the sum of ``feeds`` and ``bias``, which is not
    rectified yet.  ``image``: (channels, height, width) of what the signal or the sum is, before any pooling.
    ``name``: of the module that made a sum."""

    image: tuple[int, int, int] | None
    signal: int | None = None
    pool: Pool | None = None
    feeds: tuple[Feed, ...] = ()
    bias: Tensor | None = None
    name: str = ""


def module_layers(module: nn.Module | torch.export.ExportedProgram,
                  shape: tuple[int, ...]) -> tuple[WeightLayer, ...]:
    """The layers of a module that hears one tensor (batch, *shape), or of a program that ``torch.export`` made of it;
    the last one is the classifier.

    ModelError if the module does not take that shape, or names the first operation that is no part of a layer.
    """
    if not isinstance(module, torch.export.ExportedProgram):
        try:
            module = torch.export.export(copy.deepcopy(module).float().cpu().eval(), (torch.zeros(1, *shape),))
        except Exception as error:      # whatever the module's own code raises
            why = str(error).strip().split("\n")[0]
            raise ModelError(f"PyTorch cannot follow the module with an input of {shape}: {why:.200}; check the shape "
                             "of the calibration data, and that forward has no branch that depends on data") from None
    return _Reader(module).layers(shape)


def input_shape(program: torch.export.ExportedProgram) -> tuple[int, ...]:
    """The shape, without the batch, of what a program hears; ModelError if it hears several tensors."""
    nodes = _inputs(program)
    if len(nodes) != 1 or not isinstance(value := nodes[0].meta["val"], Tensor):
        raise ModelError(f"the network hears {len(nodes)} inputs; export one that hears one tensor")
    return tuple(map(int, value.shape[1:]))


def _inputs(program: torch.export.ExportedProgram) -> list[fx.Node]:
    names = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]


class _Reader:
    """Goes through the nodes of a program in their order."""

    def __init__(self, program: torch.export.ExportedProgram):
        self.program = program
        self.values: dict[fx.Node, Value] = {}
        self.made: list[WeightLayer] = []
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[str, str] = {}
        for spec in program.graph_signature.input_specs:
            if spec.kind != InputKind.USER_INPUT and spec.target is not None:
                held = program.state_dict if spec.target in program.state_dict else program.constants
                if isinstance(tensor := held[spec.target], Tensor):
                    self.tensors[spec.arg.name] = tensor
                self.names[spec.arg.name] = spec.target.rpartition(".")[0]

    def layers(self, shape: tuple[int, ...]) -> tuple[WeightLayer, ...]:
        given = input_shape(self.program)
        if given != tuple(shape):
            raise ModelError(f"the network hears {given}, not {tuple(shape)}; check the shape of the calibration data")
        if len(given) not in (1, 3):
            raise ModelError(f"the network hears {given}; one of (features,) or (channels, height, width) is converted")
        image = (given[0], given[1], given[2]) if len(given) == 3 else None
        self.values[_inputs(self.program)[0]] = Value(image, 0)
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._read(node)
            elif node.op == "output":
                return self._classified(node)
        raise ModelError("the network has no output; export the whole network")

    def _classified(self, node: fx.Node) -> tuple[WeightLayer, ...]:
        outputs = [x for x in node.args[0] if isinstance(x, fx.Node)]       # type: ignore[union-attr]
        value = self.values.get(outputs[0]) if len(outputs) == 1 else None
        if value is None or value.bias is None or len(value.feeds) != 1 or value.image:
            raise ModelError("the last layer must be a Linear without ReLU, whose outputs are the classes and nothing "
                             "else is an output")
        if value.feeds[0].signal != len(self.made):
            raise ModelError("the last layer must hear the one before it; leave out layers that nothing hears")
        if len(self.made) not in range(1, MAX_LAYERS + 1):
            raise ModelError(f"the network has {len(self.made)} layers before the last; 1 to {MAX_LAYERS} can be "
                             "converted")
        return (*self.made, WeightLayer("classifier", value.feeds, value.bias))

    def _read(self, node: fx.Node) -> None:
        name = getattr(node.target, "__name__", str(node.target)).split(".")[0]
        heard = [self.values[x] for x in node.all_input_nodes if x in self.values]
        if not heard or name.startswith("sym_size"):
            return
        handler = _HANDLERS.get(name)
        if name in _SAME:
            self.values[node] = heard[0]
        elif handler is None:
            raise ModelError(f"'{node.name}' ({name}) cannot be converted; {_KNOWN}")
        else:
            self.values[node] = handler(self, node, heard[0])

    def _signal(self, node: fx.Node, value: Value) -> tuple[int, tuple[int, int, int] | None]:
        """(signal, its image) of a value; pooling that was waiting becomes a layer."""
        if value.signal is None:
            raise ModelError(f"'{node.name}' hears a sum that no ReLU has rectified; a ReLU stands behind every linear "
                             "layer, convolution and junction but the last")
        if value.pool is None:
            return value.signal, value.image
        assert value.image is not None
        channels, height, width = value.image
        conv = Conv2d(channels, height, width, value.pool.kernel, value.pool.stride, 0, True)
        weight = torch.full((channels, conv.columns), 1 / conv.columns, dtype=torch.float64)
        made = self._layer(f"pooling {conv.kernel}x{conv.kernel}", (Feed(value.signal, weight, conv),),
                           torch.zeros(channels, dtype=torch.float64))
        return made, (channels, conv.out_height, conv.out_width)

    def _layer(self, name: str, feeds: tuple[Feed, ...], bias: Tensor) -> int:
        for l, layer in enumerate(self.made):       # pooling that two branches hear
            if name == layer.name and feeds[0].signal == layer.feeds[0].signal and feeds[0].conv == layer.feeds[0].conv:
                return l + 1
        self.made.append(WeightLayer(name, feeds, bias))
        return len(self.made)

    def _tensor(self, node: Any) -> Tensor | None:
        return self.tensors[node.name].double() if isinstance(node, fx.Node) else None

    def relu(self, node: fx.Node, value: Value) -> Value:
        if value.signal is not None:
            return value                            # signals are never negative
        assert value.bias is not None
        if len({feed.conv is None for feed in value.feeds}) > 1:
            raise ModelError(f"'{node.name}' rectifies the sum of a linear layer and a convolution; no layer adds them")
        return Value(value.image, self._layer(value.name or node.name, value.feeds, value.bias))

    def conv2d(self, node: fx.Node, value: Value) -> Value:
        _, weight, bias, stride, padding, dilation, groups, *_ = (*node.args, *(
            None, [1, 1], [0, 0], [1, 1], 1)[max(0, len(node.args) - 2) :])
        signal, image = self._signal(node, value)
        w, b = self._tensor(weight), self._tensor(bias)
        if image is None or w is None:
            raise ModelError(f"'{node.name}' hears no image; give images of (channels, height, width)")
        sides = [[x] if isinstance(x, str) else list(x) for x in (stride, padding, dilation)]       # type: ignore
        if sides[1] == ["same"] and w.shape[2] % 2 and set(sides[0]) == {1}:
            sides[1] = [w.shape[2] // 2]
        elif sides[1] == ["valid"]:
            sides[1] = [0]
        depthwise = bool(groups == image[0] == len(w) and image[0] > 1)
        if (w.shape[2] != w.shape[3] or any(len(set(side)) > 1 or isinstance(side[0], str) for side in sides)
                or sides[2][0] != 1 or (groups != 1 and not depthwise)):
            raise ModelError(f"'{node.name}' {tuple(w.shape)}: square kernels, strides and paddings of zeros can be "
                             "converted, without dilation, and groups only if there are as many as channels")
        conv = Conv2d(*image, w.shape[2], int(sides[0][0]), int(sides[1][0]), depthwise)
        made = (len(w), conv.out_height, conv.out_width)
        return Value(made, feeds=(Feed(signal, w.flatten(1), conv),), bias=_bias(b, len(w)),
                     name=self.names.get(getattr(weight, "name", ""), ""))

    def linear(self, node: fx.Node, value: Value) -> Value:
        _, weight, bias, *_ = (*node.args, None)
        w, b = self._tensor(weight), self._tensor(bias)
        assert w is not None
        if value.signal is None or not value.image:
            signal, _ = self._signal(node, value)
        else:                                       # columns come as (channel, y, x), and are (y, x, channel) here
            if node.meta["val"].dim() != 2:
                raise ModelError(f"'{node.name}' hears an image that is not flat; put a Flatten before it")
            signal, (channels, height, width) = value.signal, value.image
            if value.pool is None:
                w = w.reshape(len(w), channels, height, width)
            else:
                kernel, stride = value.pool.kernel, value.pool.stride
                rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
                share = torch.full((channels, 1, kernel, kernel), kernel**-2.0, dtype=w.dtype)
                spread = nn.functional.conv_transpose2d(w.reshape(len(w), channels, rows, columns), share,
                                                        stride=stride, groups=channels)
                w = nn.functional.pad(spread, (0, width - spread.shape[3], 0, height - spread.shape[2]))
            w = w.permute(0, 2, 3, 1).flatten(1)
        return Value(None, feeds=(Feed(signal, w),), bias=_bias(b, len(w)),
                     name=self.names.get(getattr(weight, "name", ""), ""))

    def batch_norm(self, node: fx.Node, value: Value) -> Value:
        weight, bias, mean, variance = map(self._tensor, node.args[1:5])
        if value.bias is None:
            raise ModelError(f"'{node.name}' normalises what no convolution or linear layer made; put it behind one")
        if mean is None or variance is None or node.args[5]:
            raise ModelError(f"'{node.name}' has no running statistics, so it depends on the batch; train it with them")
        factor = (variance + float(node.args[7])).rsqrt() * (1.0 if weight is None else weight)     # type: ignore
        offset = _bias(bias, len(factor)) - mean * factor
        return replace(value, feeds=tuple(feed.of_outputs(factor) for feed in value.feeds),
                       bias=value.bias * factor + offset)

    def pooling(self, node: fx.Node, value: Value) -> Value:
        """``avg_pool2d``, and the mean of whole images."""
        name = str(getattr(node.target, "__name__", "")).split(".")[0]
        signal, image = self._signal(node, value)
        if image is None:
            raise ModelError(f"'{node.name}' hears no image; give images of (channels, height, width)")
        if name == "avg_pool2d":
            kernel, stride, padding, ceil, _, divisor = (*node.args[1:], *(None, 0, False, True, None)[
                len(node.args) - 2 :])
            kernel, stride, padding = (x if isinstance(x, list | tuple) else [x] for x in (  # type: ignore
                kernel, stride or kernel, padding))
            plain = not (ceil or divisor or any(padding)) and all(x[0] == x[-1] for x in (kernel, stride))
        else:
            whole = sorted(d % 4 for d in node.args[1]) == [2, 3] if name == "mean" else set(     # type: ignore
                node.args[1]) == {1}                                                                # type: ignore
            plain, kernel, stride = whole and image[1] == image[2], image[1:], image[1:]
        if not plain:
            raise ModelError(f"'{node.name}' ({name}): square pooling without padding can be converted")
        return Value(image, signal, Pool(int(kernel[0]), int(stride[0])))                           # type: ignore

    def add(self, node: fx.Node, value: Value) -> Value:
        others = [self.values[x] for x in node.args if isinstance(x, fx.Node) and x in self.values]
        if len(others) != 2 or node.kwargs.get("alpha", 1) != 1:
            raise ModelError(f"'{node.name}' adds something else than two branches of the network; leave it out")
        one, other = (self._summed(node, x) for x in others)
        if one.image != other.image:
            raise ModelError(f"'{node.name}' adds {one.image} and {other.image}; give both branches the same shape")
        feeds: dict[int, Feed] = {}
        for feed in (*one.feeds, *other.feeds):
            if (same := feeds.get(feed.signal)) is None:
                feeds[feed.signal] = feed
            elif same.conv == feed.conv:
                feeds[feed.signal] = replace(feed, weight=same.weight + feed.weight)
            else:
                raise ModelError(f"'{node.name}' adds two convolutions of the same signal, of other kernels; give them "
                                 "the same kernel, or put a convolution with ReLU before one of them")
        if len(feeds) > 2:
            raise ModelError(f"'{node.name}' adds {len(feeds)} branches; two can be added before a ReLU")
        assert one.bias is not None and other.bias is not None
        return Value(one.image, feeds=tuple(feeds[s] for s in sorted(feeds)), bias=one.bias + other.bias,
                     name=one.name or other.name)

    def _summed(self, node: fx.Node, value: Value) -> Value:
        """A branch as a sum; a signal has weights of 1."""
        if value.signal is None:
            return value
        signal, image = self._signal(node, value)
        if image is None:
            size = node.meta["val"].shape[1]
            weight, conv, rows = torch.eye(size, dtype=torch.float64), None, size
        else:
            rows, conv = image[0], Conv2d(*image, 1, depthwise=True)
            weight = torch.ones(rows, 1, dtype=torch.float64)
        return Value(image, feeds=(Feed(signal, weight, conv),), bias=_bias(None, rows))

    def reshaped(self, node: fx.Node, value: Value) -> Value:
        if node.meta["val"].dim() != 2 and node.meta["val"].shape != node.all_input_nodes[0].meta["val"].shape:
            raise ModelError(f"'{node.name}' changes the shape of an image; only a Flatten can be converted")
        return value


def _bias(bias: Tensor | None, rows: int) -> Tensor:
    return torch.zeros(rows, dtype=torch.float64) if bias is None else bias


_HANDLERS: dict[str, Callable[[_Reader, fx.Node, Value], Value]] = {
    "relu": _Reader.relu, "relu_": _Reader.relu, "conv2d": _Reader.conv2d, "linear": _Reader.linear,
    "batch_norm": _Reader.batch_norm, "avg_pool2d": _Reader.pooling, "adaptive_avg_pool2d": _Reader.pooling,
    "mean": _Reader.pooling, "add": _Reader.add, "add_": _Reader.add, **dict.fromkeys(_SHAPES, _Reader.reshaped)}

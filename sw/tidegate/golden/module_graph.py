"""The layers of a trained PyTorch network, from the graph that ``torch.export`` makes of it.

A layer is what a ReLU rectifies: the sum of linear maps of one or two signals that came before.  Two are a junction of
a residual network; a path that only passes its signal on has weights of 1 there.  Batch normalisation becomes part of
the weights.  Average pooling is a layer of its own, of equal weights, unless only a linear layer hears it: then the
weights of that hold it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.node import map_arg

from ..spec.conv import KERNEL_MAX, Conv2d
from ..spec.errors import ModelError
from ..spec.network import MAX_LAYERS
from .graph_check import check_connections
from .kernel_fit import fitted_kernel
from .weight_layer import Feed, WeightLayer

_SAME = {"dropout", "dropout_", "feature_dropout", "feature_dropout_", "alias", "clone", "detach", "detach_",
         "contiguous", "to", "_to_copy", "lift_fresh_copy"}
_SHAPES = {"flatten", "view", "reshape", "_unsafe_view", "squeeze"}
_SHARED = (_SAME | _SHAPES) - {"clone", "_to_copy", "lift_fresh_copy"}     # the result is in the memory of the argument
_KNOWN = "use linear layers, conv2d, relu, avg_pool2d, batch_norm, flatten, dropout and sums of two branches"


@dataclass(frozen=True)
class Pool:
    """Average pooling that no layer has heard yet; ``name``: of its node."""

    kernel: int
    stride: int
    name: str

    def of(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """What an image becomes."""
        height, width = ((side - self.kernel) // self.stride + 1 for side in image[1:])
        return image[0], height, width


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

    ModelError if the module does not take that shape, names the first operation that is no part of a layer, or says
    which layers cannot be connected.
    """
    if not isinstance(module, torch.export.ExportedProgram):
        try:
            module = torch.export.export(copy.deepcopy(module).float().cpu().eval(), (torch.zeros(1, *shape),))
        except Exception as error:      # whatever the module's own code raises
            why = str(error).strip().split("\n")[0]
            raise ModelError(f"PyTorch cannot follow the module with an input of {shape}: {why:.200}; check the shape "
                             "of the calibration data, and that forward has no branch that depends on data") from None
    layers = _Reader(module).layers(shape)
    check_connections(layers)
    return layers


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
        self.shared: dict[fx.Node, list[fx.Node]] = {}      # nodes whose results lie in the same memory
        for spec in program.graph_signature.input_specs:
            if spec.kind != InputKind.USER_INPUT and spec.target is not None:
                held = program.state_dict if spec.target in program.state_dict else program.constants
                if isinstance(tensor := held[spec.target], Tensor):
                    self.tensors[spec.arg.name] = tensor.detach().cpu()
                self.names[spec.arg.name] = spec.target.split(".parametrizations.")[0] if (
                    ".parametrizations." in spec.target) else spec.target.rpartition(".")[0]

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
            raise ModelError(f"the last layer must hear '{self.made[-1].name}', the layer before it; leave out layers "
                             "that nothing hears")
        if len(self.made) not in range(1, MAX_LAYERS + 1):
            raise ModelError(f"the network has {len(self.made)} layers before the last; 1 to {MAX_LAYERS} can be "
                             "converted")
        return (*self.made, WeightLayer("classifier", value.feeds, value.bias))

    def _read(self, node: fx.Node) -> None:
        name = getattr(node.target, "__name__", str(node.target)).split(".")[0]
        heard = [self.values[x] for x in node.all_input_nodes if x in self.values]
        if not heard or name.startswith("sym_size"):
            return self._constant(node, name)
        handler = _HANDLERS.get(name)
        if name in _SAME:
            self.values[node] = heard[0]
        elif handler is None:
            raise ModelError(f"'{node.name}' ({name}) cannot be converted; {_KNOWN}")
        else:
            try:
                self.values[node] = handler(self, node, heard[0])
            except (LookupError, RuntimeError, TypeError, ValueError, AssertionError) as error:
                raise ModelError(f"'{node.name}' ({name}) has arguments that cannot be converted "
                                 f"({str(error).strip().split(chr(10))[0]:.100}); {_KNOWN}") from None
        changes = name.endswith("_")
        if isinstance(base := node.args[0], fx.Node) and (changes or name in _SHARED):
            family = self.shared.setdefault(base, [base])
            family.append(node)
            self.shared[node] = family
            if changes:
                self.values |= dict.fromkeys(family, self.values[node])

    def _constant(self, node: fx.Node, name: str) -> None:
        """What is computed of weights alone, such as a parametrised weight."""
        nodes = node.all_input_nodes
        if name.endswith("_") and nodes:
            self.tensors.pop(nodes[0].name, None)       # changed in place
        elif all(x.name in self.tensors for x in nodes):
            args, kwargs = map_arg((node.args, node.kwargs), lambda x: self.tensors[x.name])
            try:
                made = node.target(*args, **kwargs)     # type: ignore[operator]
            except Exception:       # whatever an operation raises; a layer that needs the result says so
                return
            if isinstance(made, Tensor):
                self.tensors[node.name] = made
                self.names[node.name] = next((self.names[x.name] for x in nodes if self.names.get(x.name)), "")

    def _image(self, node: fx.Node, value: Value) -> tuple[int, tuple[int, int, int]]:
        """(signal, its image) of a value that is one."""
        signal, image = self._signal(node, value)
        if image is None:
            raise ModelError(f"'{node.name}' hears no image; give images of (channels, height, width)")
        if (given := tuple(node.all_input_nodes[0].meta["val"].shape[1:])) != image:
            raise ModelError(f"'{node.name}' hears images {image} of another shape, {given}; leave images as they "
                             "are, up to the Flatten")
        return signal, image

    def _signal(self, node: fx.Node, value: Value) -> tuple[int, tuple[int, int, int] | None]:
        """(signal, its image) of a value; pooling that was waiting becomes a layer."""
        if value.signal is None:
            raise ModelError(f"'{node.name}' hears a sum that no ReLU has rectified; a ReLU stands behind every linear "
                             "layer, convolution and junction but the last")
        if value.pool is None:
            return value.signal, value.image
        assert value.image is not None
        channels, pool = value.image[0], value.pool
        if pool.kernel > KERNEL_MAX:
            raise ModelError(f"'{pool.name}' averages {pool.kernel} x {pool.kernel} pixels before a convolution or "
                             f"junction, where {KERNEL_MAX} x {KERNEL_MAX} is the most; pool in two steps")
        share = torch.full((channels, 1, pool.kernel, pool.kernel), pool.kernel**-2.0, dtype=torch.float64)
        conv, weight = fitted_kernel(pool.name, value.image, share, pool.stride, 0, True)
        made = self._layer(f"pooling {pool.kernel}x{pool.kernel}", (Feed(value.signal, weight, conv),),
                           torch.zeros(channels, dtype=torch.float64))
        return made, pool.of(value.image)

    def _layer(self, name: str, feeds: tuple[Feed, ...], bias: Tensor) -> int:
        """The signal of a layer; of one that computes the same, if there is one, such as pooling that two branches
        hear."""
        layer = WeightLayer(name, feeds, bias)
        for l, other in enumerate(self.made):
            if layer.same(other):
                return l + 1
        self.made.append(layer)
        return len(self.made)

    def _tensor(self, node: Any, layer: str = "") -> Tensor | None:
        if not isinstance(node, fx.Node):
            return None
        if node.name not in self.tensors:
            raise ModelError(f"the weight of '{layer}' is computed; remove the parametrization before export")
        return self.tensors[node.name].double()

    def _weights(self, node: fx.Node) -> tuple[str, Tensor, Tensor]:
        """(name, weight, bias (outputs,)) of a convolution or linear layer."""
        weight, bias = (*node.args, None)[1:3]
        name = self.names.get(getattr(weight, "name", ""), "") or node.name
        w, b = self._tensor(weight, name), self._tensor(bias, name)
        assert w is not None
        return name, w, _bias(b, len(w))

    def relu(self, node: fx.Node, value: Value) -> Value:
        if value.signal is not None:
            return value                            # signals are never negative
        assert value.bias is not None
        if len({feed.conv is None for feed in value.feeds}) > 1:
            raise ModelError(f"'{node.name}' rectifies the sum of a linear layer and a convolution; no layer adds them")
        return Value(value.image, self._layer(value.name or node.name, value.feeds, value.bias))

    def conv2d(self, node: fx.Node, value: Value) -> Value:
        stride, padding, dilation, groups, *_ = (*node.args[3:], *([1, 1], [0, 0], [1, 1], 1)[
            max(0, len(node.args) - 3) :])
        (signal, image), (name, w, b) = self._image(node, value), self._weights(node)
        sides = [[x] if isinstance(x, str) else list(x) for x in (stride, padding, dilation)]       # type: ignore
        if sides[1] == ["same"] and w.shape[2] % 2 and set(sides[0]) == {1}:
            sides[1] = [w.shape[2] // 2]
        elif sides[1] == ["valid"]:
            sides[1] = [0]
        depthwise = bool(groups == image[0] == len(w) and image[0] > 1)
        if (w.shape[2] != w.shape[3] or any(len(set(side)) > 1 or isinstance(side[0], str) for side in sides)
                or sides[2][0] != 1 or (groups != 1 and not depthwise)):
            raise ModelError(f"'{name}' {tuple(w.shape)}: square kernels, strides and paddings of zeros can be "
                             "converted, without dilation, and groups only if there are as many as channels")
        conv, w = fitted_kernel(name, image, w, int(sides[0][0]), int(sides[1][0]), depthwise)
        return Value((len(w), conv.out_height, conv.out_width), feeds=(Feed(signal, w, conv),), bias=b, name=name)

    def linear(self, node: fx.Node, value: Value) -> Value:
        name, w, b = self._weights(node)
        if w.dim() != 2:
            raise ModelError(f"'{name}' has a weight of shape {tuple(w.shape)}; use (outputs, inputs)")
        if value.signal is None or not value.image:
            signal, _ = self._signal(node, value)
        else:                                       # columns come as (channel, y, x), and are (y, x, channel) here
            if node.meta["val"].dim() != 2:
                raise ModelError(f"'{node.name}' hears an image that is not flat; put a Flatten before it")
            signal, (channels, height, width) = value.signal, value.image
            if value.pool is None:
                w = w.reshape(len(w), channels, height, width)
            else:
                kernel, stride, (_, rows, columns) = value.pool.kernel, value.pool.stride, value.pool.of(value.image)
                share = torch.full((channels, 1, kernel, kernel), kernel**-2.0, dtype=w.dtype)
                spread = nn.functional.conv_transpose2d(w.reshape(len(w), channels, rows, columns), share,
                                                        stride=stride, groups=channels)
                w = nn.functional.pad(spread, (0, width - spread.shape[3], 0, height - spread.shape[2]))
            w = w.permute(0, 2, 3, 1).flatten(1)
        return Value(None, feeds=(Feed(signal, w),), bias=b, name=name)

    def batch_norm(self, node: fx.Node, value: Value) -> Value:
        weight, bias, mean, variance = (self._tensor(x, node.name) for x in node.args[1:5])
        if value.bias is None:
            raise ModelError(f"'{node.name}' normalises what no convolution or linear layer made; put it behind one")
        if mean is None or variance is None or node.args[5]:
            raise ModelError(f"'{node.name}' has no running statistics, so it depends on the batch; train it with them")
        factor = (variance + float(node.args[7])).rsqrt() * (1.0 if weight is None else weight)     # type: ignore
        if len(factor) != len(value.bias):
            raise ModelError(f"'{node.name}' normalises each pixel of a flat image; use BatchNorm2d before the Flatten")
        offset = _bias(bias, len(factor)) - mean * factor
        return replace(value, feeds=tuple(feed.of_outputs(factor) for feed in value.feeds),
                       bias=value.bias * factor + offset)

    def pooling(self, node: fx.Node, value: Value) -> Value:
        """``avg_pool2d``, ``adaptive_avg_pool2d`` and the mean of whole images."""
        name, sides = str(getattr(node.target, "__name__", "")).split(".")[0], list(node.args[1:2])
        if name == "mean" and (not sides or len(node.all_input_nodes[0].meta["val"].shape) != 4
                               or sorted(d % 4 for d in sides[0]) != [2, 3]):                       # type: ignore
            raise ModelError(f"'{node.name}' (mean) takes the mean of something else than the pixels of each channel; "
                             "use AdaptiveAvgPool2d(1)")
        signal, image = self._image(node, value)
        if name == "avg_pool2d":
            kernel, stride, padding, ceil, _, divisor = (*node.args[1:], *(None, 0, False, True, None)[
                len(node.args) - 2 :])
            kernel, stride, padding = (x if isinstance(x, list | tuple) else [x] for x in (  # type: ignore
                kernel, stride or kernel, padding))
            plain = not (ceil or divisor or any(padding)) and all(x[0] == x[-1] for x in (kernel, stride))
        else:
            made = [1, 1] if name == "mean" else list(sides[0])                                     # type: ignore
            plain = image[1] == image[2] and made[0] == made[1] and image[1] % made[0] == 0
            kernel = stride = [image[1] // made[0]]
        if not plain:
            raise ModelError(f"'{node.name}' ({name}): square pooling without padding can be converted; use the same "
                             "kernel and stride for height and width, or square images whose side is a multiple")
        pool = Pool(int(kernel[0]), int(stride[0]), node.name)                                      # type: ignore
        return Value(image, signal) if pool.kernel == pool.stride == 1 else Value(image, signal, pool)

    def add(self, node: fx.Node, value: Value) -> Value:
        others = [self.values[x] for x in node.args if isinstance(x, fx.Node) and x in self.values]
        if len(others) != 2 or node.kwargs.get("alpha", 1) != 1:
            raise ModelError(f"'{node.name}' adds something else than two branches of the network; leave it out")
        one, other = (self._summed(node, x) for x in others)
        shapes = [tuple(x.meta["val"].shape[1:]) for x in node.args[:2]]        # type: ignore
        if one.image != other.image or shapes[0] != shapes[1]:
            raise ModelError(f"'{node.name}' adds {shapes[0]} and {shapes[1]}; give both branches the same shape")
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
        taken = {"", *(layer.name for layer in self.made)}
        return Value(one.image, feeds=tuple(feeds[s] for s in sorted(feeds)), bias=one.bias + other.bias,
                     name=other.name if one.name in taken else one.name)

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
        before, after = (x.meta["val"].shape[1:] for x in (node.all_input_nodes[0], node))
        if before != after and not (value.image and len(after) and after[0] == prod(before)):
            raise ModelError(f"'{node.name}' changes the shape of an image; only a Flatten can be converted")
        return value


def _bias(bias: Tensor | None, rows: int) -> Tensor:
    return torch.zeros(rows, dtype=torch.float64) if bias is None else bias.reshape(-1).expand(rows)


_HANDLERS: dict[str, Callable[[_Reader, fx.Node, Value], Value]] = {
    "relu": _Reader.relu, "relu_": _Reader.relu, "conv2d": _Reader.conv2d, "linear": _Reader.linear,
    "batch_norm": _Reader.batch_norm, "avg_pool2d": _Reader.pooling, "adaptive_avg_pool2d": _Reader.pooling,
    "mean": _Reader.pooling, "add": _Reader.add, "add_": _Reader.add, **dict.fromkeys(_SHAPES, _Reader.reshaped)}

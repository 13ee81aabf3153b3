"""Handlers of ONNX operations that compute nothing: they move, take, and drop axes."""

from dataclasses import replace

import numpy as np
import onnx

from .onnx_graph import OnnxGraph, handles
from .onnx_value import LAYERS, MIXED, ONE, TIME, WIDTH, GraphValue, attribute, open_value, refusal


@handles("Identity", "Dropout", "Cast")
def _same(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] and np.any(graph.constant(node.input[2])):
        raise refusal(node, "is exported in training mode; call eval() before the export")
    if node.op_type == "Cast" and attribute(node, "to") not in (1, 10, 11, 16):
        raise refusal(node, "turns features into whole numbers; the engine does its own rounding")
    return graph.value(node.input[0])


@handles("Transpose")
def _transpose(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value = graph.value(node.input[0])
    order = attribute(node, "perm") or range(len(value.axes))[::-1]
    axes = tuple(value.axes[i] for i in order)
    if axes[-1] not in (WIDTH,) and WIDTH in axes and axes.index(WIDTH) != len(axes) - 1:
        # an input of (batch, features, time) is turned in front of the layer
        if value.layers or value.weight is not None or len(axes) != 3:
            raise refusal(node, "turns features into another axis; the engine keeps a frame together")
    if not value.layers and value.weight is None and len(axes) == 3 and order[-1] != 2:
        axes = ("?", "??", WIDTH)      # of the raw input nothing is known but what follows
    return replace(value, axes=axes)


@handles("Squeeze")
def _squeeze(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value = graph.value(node.input[0])
    axes = graph.axes_of(node, 1, len(value.axes))
    if axes is None:
        axes = [i for i, a in enumerate(value.axes) if a == ONE]
    for a in axes:
        if value.axes[a] == WIDTH or (value.axes[a] == TIME and value.readout != "last"):
            raise refusal(node, f"drops the axis of {value.axes[a]}; the engine needs all of it")
    return replace(value, axes=tuple(x for i, x in enumerate(value.axes) if i not in axes))


@handles("Unsqueeze")
def _unsqueeze(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value = graph.value(node.input[0])
    axes = list(value.axes)
    for a in sorted(graph.axes_of(node, 1, len(axes) + 1) or []):
        axes.insert(a, ONE)
    return replace(value, axes=tuple(axes))


@handles("Reshape", "Flatten")
def _reshape(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value = graph.value(node.input[0])
    if node.op_type == "Flatten":
        axis = attribute(node, "axis")
        axis = 1 if axis is None else axis % len(value.axes)
        head, tail = value.axes[:axis], value.axes[axis:]
        if [a for a in tail if a != ONE] != [WIDTH]:
            raise refusal(node, "joins several frames to one; the engine gives each frame to the next layer alone")
        real = [a for a in head if a != ONE] or [ONE]
        return replace(value, axes=(real[0] if len(real) == 1 else MIXED, WIDTH))
    target = _target(graph, node)
    width, kept = value.width(), [a for a in value.axes if a != ONE]
    copied = target[:-1]
    if target[-1] == -1 and all(n in (0, 1) for n in copied):
        whole = [a for a, n in zip(value.axes, copied, strict=False) if n == 0] + [WIDTH]
        fits = [a for a in whole if a != ONE] == kept
    else:
        same = target[-1] == 0 and len(target) == len(value.axes)
        fits = target[-1] is not None and (target[-1] in (width, WIDTH) or same)
    if not fits or kept[-1] != WIDTH:
        raise refusal(node, "joins or cuts frames; the engine gives each frame to the next layer alone")
    return replace(value, axes=(*_heads(node, value, copied), WIDTH),
                   mixed=value.mixed or tuple(a for a in kept if a != WIDTH))


def _heads(node: onnx.NodeProto, value: GraphValue, copied: list[int | str | None]) -> tuple[str, ...]:
    """What the axes before the last are after Reshape to these sizes."""
    heads = [a for a in value.axes if a not in (ONE, WIDTH)]
    if heads == [MIXED] and len(copied) > 1:
        heads = list(value.mixed)           # taken apart as it was put together
    free = [i for i, n in enumerate(copied) if n != 1]
    if len(copied) == len(heads):           # a size of 1 may be that of a batch of one
        free = list(range(len(copied)))
    if len(free) != len(heads):
        return tuple(MIXED if n != 1 else ONE for n in copied)
    places = dict(zip(free, heads, strict=True))
    for i, what in places.items():
        if isinstance(n := copied[i], str) and what != n:
            raise refusal(node, f"takes the axis of {what} for that of {n}; the engine keeps their order")
    return tuple(places.get(i, ONE) for i in range(len(copied)))


def _target(graph: OnnxGraph, node: onnx.NodeProto) -> list[int | str | None]:
    """The shape of Reshape, see ``dimensions``."""
    shape = attribute(node, "shape")
    if shape is not None:
        return [int(n) for n in shape]
    sizes = dimensions(graph, node.input[1])
    if sizes is None:
        raise refusal(node, "has a shape that is computed in an unknown way; export it with constants")
    return sizes


def dimensions(graph: OnnxGraph, name: str) -> list[int | str | None] | None:
    """The whole numbers of a shape that may be computed from that of the input: a number, or the axis whose size it is,
    or None for one that is not known; None if nothing is known."""
    held = graph.constant(name)
    if held is not None:
        return [int(n) for n in np.ravel(held)]
    node = graph.makers.get(name)
    if node is None:
        return None
    if node.op_type == "Shape":
        return _sizes(graph, node)
    parts = [dimensions(graph, given) for given in node.input if given]
    if node.op_type == "Concat":
        return [n for part in parts for n in (part or [None])]
    if not parts or any(part is None for part in parts):
        return None
    first, *rest = (part or [] for part in parts)
    if node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"):
        return first
    if node.op_type == "Gather" and (attribute(node, "axis") or 0) == 0:
        return [first[i] for i in rest[0] if isinstance(i, int)]
    if node.op_type == "Slice" and all(isinstance(n, int) for part in rest for n in part):
        start, end, step = rest[0][0], rest[1][0], rest[3][0] if len(rest) > 3 else 1
        return first[slice(start, end, step)]       # pyright: ignore
    if node.op_type == "Mul" and len(first) == len(rest[0]) == 1:
        return [_product(first[0], rest[0][0])]
    if node.op_type == "ReduceProd":
        product: int | str | None = 1
        for n in first:
            product = _product(product, n)
        return [product]
    return None


def _sizes(graph: OnnxGraph, node: onnx.NodeProto) -> list[int | str | None]:
    """What Shape gives."""
    value = graph.value(node.input[0])
    sizes = [1 if a == ONE else value.width() or WIDTH if a == WIDTH else a for a in value.axes]
    start, end = attribute(node, "start"), attribute(node, "end")
    return [*sizes[slice(start or 0, end)]]


def _product(a: int | str | None, b: int | str | None) -> int | str | None:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else None


@handles("Gather")
def _pick(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    """One place of an axis: the last frame, or a layer of h_n."""
    value = graph.value(node.input[0])
    axis = (attribute(node, "axis") or 0) % len(value.axes)
    index = graph.constant(node.input[1])
    if index is None or index.size != 1:
        raise refusal(node, "picks frames by what is computed from the input, or several; pick the last frame")
    drop = index.ndim == 0
    return _at(node, value, axis, int(index.ravel()[0]), drop)


def _at(node: onnx.NodeProto, value: GraphValue, axis: int, index: int, drop: bool) -> GraphValue:
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


@handles("Slice")
def _cut(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    value = graph.value(node.input[0])
    if len(node.input) > 1:
        given = [graph.constant(name) if name else None for name in node.input[1:5]]
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
        value = _at(node, value, axis, 0 if value.axes[axis] == ONE else -1, False)
    return value


@handles("ReduceMean")
def _mean_of_frames(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    """The mean of all frames, which a user's own program may take."""
    value = open_value(graph.value(node.input[0]), node)
    axes = graph.axes_of(node, 1, len(value.axes))
    if axes is None or [value.axes[a] for a in axes] != [TIME] or value.readout:
        raise refusal(node, "takes a mean that is not over the frames; the engine has none")
    keep = attribute(node, "keepdims") != 0
    kept = tuple(ONE if i in axes else a for i, a in enumerate(value.axes) if keep or i not in axes)
    note = f"'{node.name or node.output[0]}' (ReduceMean) is left to you: a board gives logits for each frame, " \
           "so take their mean"
    return replace(value, axes=kept, readout="mean", notes=(*value.notes, note))


@handles("Concat")
def _joined(graph: OnnxGraph, node: onnx.NodeProto, output: int) -> GraphValue:
    values = [graph.value(name) for name in node.input]
    axis = (attribute(node, "axis") or 0) % len(values[0].axes)
    if len(values) == 1:
        return values[0]
    if any(v.readout != "last" or v.axes[axis] != ONE or v.weight is not None for v in values):
        raise refusal(node, "joins values; the engine has layers in a row, each of which hears the one before")
    axes = tuple(LAYERS if i == axis else a for i, a in enumerate(values[0].axes))
    return replace(values[-1], axes=axes, stack=tuple(values))

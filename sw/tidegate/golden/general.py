"""The forward pass of any network over whole sequences, with a gradient; its integers are those of ``Golden.step``.

A layer that hears only what was made before it in the frame is computed for all frames at once: one matmul, then the
cell and the encoder element by element.  Layers that hear themselves or each other go frame by frame, together.  A
layer of a cell that has one (``cells.GoldenCell.layer``), whose signals all have the rule ``delta`` and which holds its
sums, goes through that cell's own function.

A layer that holds hears the anchors of a signal; a layer that consumes hears what was sent in the frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from platform import machine
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.backends import mkldnn, nnpack
from torch.nn.functional import conv2d, linear, unfold

from ..spec.conv import Conv2d
from ..spec.layer import Layer
from ..spec.network import Network
from .cells import golden_of
from .encoder import DeltaEncoder, priced_events
from .signals import HYBRID, Slope, delta_of, diffuse_of

_DIRECT = machine() in ("x86_64", "AMD64") and mkldnn.is_available()


class Weights(NamedTuple):
    """Integers of a layer, held in floats: ``w_ih``, ``w_hh`` as in the model file (None: not recurrent), ``bias``
    (gates, H); of the classifier ``w_ih`` (classes, H) and ``bias`` (1, classes); of a convolution ``w_ih`` (channels,
    columns) and ``bias`` (1, channels)."""

    w_ih: Tensor
    w_hh: Tensor | None
    bias: Tensor


@dataclass
class Signal:
    """A signal over T frames, SIGNAL integers held in floats, each (T, B, elements): ``memory`` of its rule (anchors or
    errors) and what is ``sent``; ``start``: the memory (B, elements) before the first frame."""

    memory: Tensor
    start: Tensor
    diffuses: bool
    spikes: Tensor | None = None

    @property
    def sent(self) -> Tensor:
        if self.spikes is None:
            self.spikes = self.memory - torch.cat([self.start[None], self.memory[:-1]])
        return self.spikes

    def heard(self, consumed: bool) -> Tensor:
        """What a layer multiplies by its weights."""
        return self.sent if consumed or self.diffuses else self.memory

    @property
    def detached(self) -> "Signal":
        """The same without a gradient."""
        spikes = None if self.spikes is None else self.spikes.detach()
        return Signal(self.memory.detach(), self.start.detach(), self.diffuses, spikes)

    def priced_events(self, threshold: Tensor | int) -> Tensor:
        """Events (T, B) in floats, with the slope of the distance sent: see ``encoder.priced_events``."""
        if not self.diffuses:
            return priced_events(self.memory, threshold, self.start)
        sizes = self.sent.abs()
        count, total = (sizes.detach() != 0).sum(-1).to(sizes.dtype), sizes.sum(-1)
        if not sizes.requires_grad:
            return count
        return count + (total - total.detach()) / (sizes.detach().amax().clamp_min(1))


class Start(NamedTuple):
    """Where sequences begin: per signal the memory and what was sent in the frame before, per layer the cell's state;
    each (B, elements)."""

    memories: Sequence[Tensor]
    sent: Sequence[Tensor]
    states: Sequence[Tensor]


@dataclass
class Evaluation:
    """``logits`` (T, B, classes) in LSBs of the accumulators; ``signals``; ``states[l]`` (B, H) after the last frame;
    ``stages[l]`` the integers of the layer's cell, each (T, B, H), if they were kept."""

    logits: Tensor
    signals: list[Signal]
    states: list[Tensor]
    stages: list[list[Tensor]]

    @property
    def last(self) -> Start:
        """Where the next frames of the same sequences begin, after one frame at least; no gradient goes back."""
        return Start([s.memory[-1].detach() for s in self.signals], [s.sent[-1].detach() for s in self.signals],
                     [state.detach() for state in self.states])


def groups(network: Network) -> list[range]:
    """Layers that are computed together because a later one feeds an earlier one, in order."""
    last = [max(l, max(network.heard(l)) - 1) for l in range(len(network.layers))]
    found, end = [0], last[0]
    for l in range(1, len(last)):
        if l > end:
            found.append(l)
        end = max(end, last[l])
    return [range(a, b) for a, b in pairwise([*found, len(last)])]


def rest(network: Network, frames: Tensor) -> Start:
    """The state after a reset, for sequences like ``frames`` (T, B, features)."""
    signals = [frames.new_zeros(frames.shape[1], network.elements(s)) for s in range(network.signals)]
    return Start(signals, signals, signals[1:])


def evaluated(network: Network, layers: Sequence[Weights], classifier: Weights, frames: Tensor,
              thresholds: Sequence[Tensor | int], slope: Slope = HYBRID, start: Start | None = None,
              noise: Sequence[Tensor | None] | None = None, masks: Sequence[Tensor | None] | None = None,
              keep_stages: bool = False) -> Evaluation:
    """Sequences (T, B, features) of SIGNAL integers held in floats.

    ``thresholds``: Θ per signal; 0-dim tensors for the rule ``delta`` get gradients.  ``slope``: the gradient of
    ``diffuse``, see ``signals.py``.  ``noise[l]`` (T, B, H): integers that are added to layer l's signal.  ``masks[s]``
    (B, elements): factors on what layers hear of signal s, for dropout; the result is then no integer any more.
    """
    return _Pass(network, layers, frames, thresholds, slope, start, noise, masks, keep_stages).result(classifier)


class _Pass:
    """One forward pass; arguments as of ``evaluated``."""

    def __init__(self, network: Network, layers: Sequence[Weights], frames: Tensor,
                 thresholds: Sequence[Tensor | int], slope: Slope, start: Start | None,
                 noise: Sequence[Tensor | None] | None, masks: Sequence[Tensor | None] | None, keep_stages: bool):
        self.network, self.layers, self.thresholds, self.slope = network, layers, thresholds, slope
        self.start = rest(network, frames) if start is None else start
        self.noise = noise or [None] * len(layers)
        self.masks = masks or [None] * network.signals
        self.keep_stages = keep_stages
        self.stages: list[list[Tensor]] = [[] for _ in layers]
        self.states: list[Tensor] = list(self.start.states)
        first = self.start.memories[0]
        if (rule := network.rule(0)) is None:
            self.signals = [Signal(cast(Tensor, DeltaEncoder.apply(frames, thresholds[0], first)), first, False)]
        else:
            sent, errors = diffuse_of(frames, first, rule, thresholds[0], slope)
            self.signals = [Signal(errors, first, True, sent)]

    def result(self, classifier: Weights) -> Evaluation:
        net = self.network
        for group in groups(net):
            l = group[0]
            if len(group) > 1:
                self._together(group)
            elif not net.layers[l].recurrent:
                self._at_once(l)
            elif self._has_own_function(l):
                self._by_its_cell(l)
            else:
                self._together(group)
        x = self._masked(len(net.layers), self.signals[-1].heard(net.classifier.consumes))
        return Evaluation(linear(x, classifier.w_ih, classifier.bias[0]), self.signals, self.states, self.stages)

    def _masked(self, signal: int, x: Tensor) -> Tensor:
        mask = self.masks[signal]
        return x if mask is None else x * mask

    def _columns(self, l: int, signal: int) -> Tensor:
        """What a signal's elements feed in layer l, all gates in order: (gates·H, elements)."""
        layer, weights, net = self.network.layers[l], self.layers[l], self.network
        if signal == l + 1:
            rows, first = layer.own_rows, layer.cell.first_own
            assert weights.w_hh is not None
            columns = weights.w_hh
        else:
            heard = net.heard(l)
            column = sum(net.elements(s) for s in heard[: heard.index(signal)])
            rows, first = layer.cell.input_rows, 0
            columns = weights.w_ih[:, column : column + net.elements(signal)] if len(heard) > 1 else weights.w_ih
        if len(layer.cell.gates) == 1:
            return columns
        blocks = columns.unflatten(0, (len(rows), -1))
        none = torch.zeros_like(blocks[0])
        after = len(layer.cell.gates) - first - len(rows)
        return torch.cat([none] * first + [blocks[row] for row in rows] + [none] * after)

    def _product(self, l: int, signal: int) -> Callable[[Tensor, Tensor], Tensor]:
        """A function that adds to the sums of layer l (B, gates·H) what x (B, elements) of a signal feeds."""
        if self.network.layers[l].conv is not None:
            conv, weight = self._convolution(l, signal)
            return lambda sums, x: sums + convolution(conv, weight, None, x[None])[0]
        columns = self._columns(l, signal).t()
        return lambda sums, x: torch.addmm(sums, x, columns)

    def _convolution(self, l: int, signal: int) -> tuple[Conv2d, Tensor]:
        """What layer l computes of a signal, and the weights of that."""
        layer, place = self.network.layers[l], self.network.heard(l).index(signal)
        first = sum(conv.columns for conv in layer.convs[:place])
        conv = layer.convs[place]
        return conv, self.layers[l].w_ih[:, first : first + conv.columns]

    def _fed(self, l: int, signals: Sequence[int]) -> Tensor:
        """Sums of layer l (T, B, gates·H) from its biases and from signals that are there for all frames."""
        layer, total = self.network.layers[l], None
        steps, batch, _ = self.signals[0].memory.shape
        for s in signals:
            x = self._masked(s, self.signals[s].heard(layer.consumes))
            bias = self.layers[l].bias.flatten() if total is None else None
            if layer.conv is None:
                part = _where_new(x, partial(linear, weight=self._columns(l, s), bias=bias))
            else:
                part = _where_new(x, partial(convolution, *self._convolution(l, s), bias))
            total = part if total is None else total + part
        if total is None:
            bias = self.layers[l].bias.flatten()
            return (bias.repeat(layer.conv.positions) if layer.conv else bias).expand(steps, batch, -1)
        return total

    def _encoded(self, l: int, v: Tensor, memory: Tensor) -> Signal:
        """The signal of layer l from its values v (T, B, H)."""
        rule, threshold = self.network.rule(l + 1), self.thresholds[l + 1]
        if rule is None:
            return Signal(delta_of(v, memory, threshold), memory, False)
        sent, errors = diffuse_of(v, memory, rule, threshold, self.slope)
        return Signal(errors, memory, True, sent)

    def _at_once(self, l: int) -> None:
        layer = self.network.layers[l]
        sums = self._fed(l, self.network.heard(l)).unflatten(2, (len(layer.cell.gates), -1))
        stages, _, v = golden_of(layer.cell).frame(sums, self.states[l], layer)
        if (noise := self.noise[l]) is not None:
            v = v + noise
        if self.keep_stages:
            self.stages[l] = stages
        self.signals.append(self._encoded(l, v, self.start.memories[l + 1]))

    def _has_own_function(self, l: int) -> bool:
        layer = self.network.layers[l]
        return not (layer.cell.activations or layer.consumes or self.network.rule(l + 1)) and self.masks[l + 1] is None

    def _by_its_cell(self, l: int) -> None:
        net, layer = self.network, self.network.layers[l]
        x = [self._masked(s, self.signals[s].memory) for s in net.heard(l)]
        x, cell, memory = x[0] if len(x) == 1 else torch.cat(x, 2), golden_of(layer.cell), self.start.memories[l + 1]
        w_ih, w_hh, bias = self.layers[l]
        assert w_hh is not None             # only units do without
        weights, start = (w_ih, w_hh, bias), (memory, self.states[l])
        if self.keep_stages:
            anchors, self.stages[l] = cell.traced(x, *weights, layer.weight_frac, int(self.thresholds[l + 1]))
        else:
            anchors, self.states[l] = cell.layer(x, *weights, layer.weight_frac, self.thresholds[l + 1],
                                                 self.noise[l], start)
        self.signals.append(Signal(anchors, memory, False))

    def _together(self, group: range) -> None:
        """Layers that go frame by frame."""
        net, made = self.network, [l + 1 for l in group]
        pre = {l: self._fed(l, [s for s in net.heard(l) if s not in made]).unbind(0) for l in group}
        inner = {l: [(s, self._product(l, s)) for s in made if s in net.heard(l) or (
            s == l + 1 and net.layers[l].own_rows)] for l in group}
        memory = {s: self.start.memories[s] for s in made}
        sent = {s: self.start.sent[s] for s in made}
        frames: dict[int, list[tuple[Tensor, Tensor]]] = {s: [] for s in made}
        kept: dict[int, list[list[Tensor]]] = {l: [] for l in group}
        for t in range(len(self.signals[0].memory)):
            for l in group:
                layer, sums = net.layers[l], pre[l][t]
                for s, added in inner[l]:
                    x = sent[s] if layer.consumes or net.rule(s) else memory[s]
                    sums = added(sums, self._masked(s, x))
                v = self._cell(l, layer, sums, kept[l])
                if (noise := self.noise[l]) is not None:
                    v = v + noise[t]
                now = self._encoded(l, v[None], memory[l + 1])
                memory[l + 1], sent[l + 1] = now.memory[0], now.sent[0]
                frames[l + 1].append((memory[l + 1], sent[l + 1]))
        for l in group:
            if not frames[l + 1]:                   # a run of no frames
                empty = self.start.memories[l + 1][None][:0]
                self.signals.append(Signal(empty, self.start.memories[l + 1], net.rule(l + 1) is not None, empty))
                continue
            memories, all_sent = (torch.stack(part) for part in zip(*frames[l + 1], strict=True))
            self.signals.append(Signal(memories, self.start.memories[l + 1], net.rule(l + 1) is not None, all_sent))
            if self.keep_stages:
                self.stages[l] = [torch.stack(stage) for stage in zip(*kept[l], strict=True)]

    def _cell(self, l: int, layer: Layer, sums: Tensor, kept: list[list[Tensor]]) -> Tensor:
        sums = sums.unflatten(1, (len(layer.cell.gates), -1))
        stages, self.states[l], v = golden_of(layer.cell).frame(sums, self.states[l], layer)
        if self.keep_stages:
            kept.append(stages)
        return v


def _where_new(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of x (T, B, n), computed once for frames that repeat the frame before, such as those of an image
    that is held."""
    if len(x) > 1 and not x.requires_grad:
        new = (x[1:] != x[:-1]).flatten(1).any(1)
        if 2 * int(new.sum()) < len(x):
            new = torch.cat([new.new_ones(1), new])
            return function(x[new])[new.cumsum(0) - 1]
    return function(x)


def convolution(conv: Conv2d, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """The sums (T, B, positions·channels) of a convolution of images x (T, B, inputs), see ``spec/conv.py``.

    Products are summed one by one (no transform), so that integers held in floats stay exact: oneDNN does so on x86,
    and matrix products of unfolded images do everywhere.
    """
    images = x.reshape(-1, conv.height, conv.width, conv.channels).permute(0, 3, 1, 2)
    if x.dtype == torch.float64 or _DIRECT:
        kernels, groups = weight.unflatten(1, (-1, conv.kernel, conv.kernel)), conv.channels if conv.depthwise else 1
        with nnpack.flags(enabled=False):
            sums = conv2d(images, kernels, bias, conv.stride, conv.padding, groups=groups)
        return sums.permute(0, 2, 3, 1).reshape(*x.shape[:2], -1)
    columns = unfold(images, conv.kernel, padding=conv.padding, stride=conv.stride)     # (images, c·ky·kx, positions)
    if conv.depthwise:
        sums = (columns.unflatten(1, (conv.channels, -1)) * weight[None, :, :, None]).sum(2)
    else:
        sums = weight @ columns
    sums = sums.transpose(1, 2)                                                         # (images, positions, channels)
    return (sums if bias is None else sums + bias).reshape(*x.shape[:2], -1)

"""Spiking networks in NIR files (``.nir``; Pedersen et al. 2024, arXiv:2311.14641) as a ``FloatChain``.

    Input → [IF or LIF] → Affine or Linear → IF or LIF → … → Affine or Linear → Output

NIR's neurons are differential equations.  A frame is one step of Euler's method of the length dt:

    v ← v + dt/τ · (v_leak − v + R·I)        fire ⇔ v > v_threshold        then v ← v_reset

The engine's neuron is that with dt/τ = 2**-leak and v_reset = 0; R·dt/τ and v_leak are folded into weights and biases.
dt is the entry "dt" of the graph's metadata, or else the one with which the first leaky neuron adds its input as it is,
τ/R.  An entry "reset" of a node's metadata says "subtract" where a spike takes the threshold off, which NIR cannot say.
An IF neuron has no time constant: v ← v + R·I.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log2
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from ..golden.chain import Firing, FloatChain, FloatLayer
from ..spec.cells import UNIT
from ..spec.errors import ModelError
from ..spec.formats import SIGNAL
from ..spec.rules import LEAK_MAX
from .tensors import unreadable

ONE = 1 << SIGNAL.frac          # a membrane potential of 1, in LSBs
_CLOSE = 0.01                   # by which a leak may miss a power of two
_NONE = 2.0**-10                # a leak that is none
_THETAS = range(ONE // 4, 4 * ONE + 1)      # thresholds that are kept as they are
_WEIGHT = 2.0                   # of a layer whose threshold is chosen
_SPIKING = ("IF", "LIF", "CubaLIF")
_DENSE = ("Affine", "Linear")


def read_nir(path: Path) -> FloatChain:
    """The network in a NIR file; ModelError names the first node that the engine cannot compute."""
    try:
        graph = nir.read(path, type_check=False)        # the walk checks more
    except Exception as error:      # h5py, and nir by assertion
        raise unreadable(path, "NIR file", error) from None
    return chain_of_graph(graph, str(path))


def chain_of_graph(graph: nir.NIRGraph, source: str = "the graph") -> FloatChain:
    """The network of a graph; ModelError names the first node that the engine cannot compute."""
    return _Walk(graph, source).chain()


def refused_node(name: str, node: Any, why: str) -> ModelError:
    """The error of a node, as for other files."""
    return ModelError(f"the node '{name}' ({type(node).__name__}) {why}")


@dataclass
class _Map:
    """W·x + b that no neuron has heard yet; ``scale``: W is diagonal, of nodes that only scale."""

    weight: np.ndarray
    bias: np.ndarray
    scale: bool = False


class _Walk:
    """Follows a graph from its input to its output."""

    def __init__(self, graph: nir.NIRGraph, source: str):
        self.source = source
        self.nodes: dict[str, Any] = {}
        self.edges: set[tuple[str, str]] = set()
        self._add(graph, "")
        self.layers: list[FloatLayer] = []
        self.notes: list[str] = []
        self.pending: _Map | None = None
        self.firing: Firing | None = None
        self.scale: np.ndarray | None = None
        self.width = 0
        self.dt = self._dt(graph)

    def _add(self, graph: nir.NIRGraph, prefix: str) -> None:
        """Nodes and edges; those of a graph within the graph take its place."""
        ends: dict[str, tuple[str, str]] = {}
        for name, node in graph.nodes.items():
            full = prefix + name
            if isinstance(node, nir.NIRGraph):
                self._add(node, f"{full}.")
                inner = [[n for n in self.nodes if n.startswith(f"{full}.") and type(self.nodes[n]) is kind]
                         for kind in (nir.Input, nir.Output)]
                if any(len(found) != 1 for found in inner):
                    raise refused_node(full, node, "has not one input and one output; the engine has layers in a row")
                ends[name] = inner[0][0], inner[1][0]
            else:
                self.nodes[full] = node
        for a, b in graph.edges:
            self.edges.add((ends[a][1] if a in ends else prefix + a, ends[b][0] if b in ends else prefix + b))

    def _after(self, name: str) -> list[str]:
        return sorted(b for a, b in self.edges if a == name)

    def _before(self, name: str) -> list[str]:
        return sorted(a for a, b in self.edges if b == name)

    def _dt(self, graph: nir.NIRGraph) -> float | None:
        """The length of a frame in the time of the graph; None if nothing has a time constant."""
        if (said := graph.metadata.get("dt")) is not None:
            if not float(said) > 0:
                raise ModelError(f"'{self.source}' says dt = {said}; write it with a step above 0")
            return float(said)
        for name, node in self.nodes.items():
            if type(node).__name__ in ("LIF", "CubaLIF"):
                tau = _numbers(node.tau if hasattr(node, "tau") else node.tau_mem, name, node)
                return float((tau / _numbers(node.r, name, node)).flat[0])
        return None

    def chain(self) -> FloatChain:
        starts, stops = ([n for n, node in self.nodes.items() if type(node) is kind and not others(n)]
                         for kind, others in ((nir.Input, self._before), (nir.Output, self._after)))
        if len(starts) != 1 or len(stops) != 1:
            raise ModelError(f"'{self.source}' has {len(starts)} inputs and {len(stops)} outputs; export a network "
                             "with one of each")
        self.width = int(np.prod(next(iter(self.nodes[starts[0]].input_type.values()))))
        at, seen = starts[0], set()
        while at != stops[0]:
            if at in seen:
                raise refused_node(at, self.nodes[at], "is in a loop that is no layer that hears itself; the engine "
                                   "has layers in a row")
            seen.add(at)
            self._take(at)
            follows = [n for n in self._after(at) if n not in self._own(at)]
            if len(follows) != 1:
                raise refused_node(at, self.nodes[at], f"is heard by {len(follows)} nodes; the engine has layers in a "
                                   "row, each of which hears the one before")
            at = follows[0]
        if not self.layers:
            raise ModelError(f"'{self.source}' has no layer of neurons (IF or LIF) behind a linear one; export a whole "
                             "network")
        if self.pending is None:
            self.pending = _Map(np.eye(self.width), np.zeros(self.width))
            self.notes.append("the network ends with neurons: a logit is 1 in a frame in which its neuron fires")
        return FloatChain(tuple(self.layers), _double(self.pending.weight), _double(self.pending.bias), None,
                          tuple(self.notes), self.firing, self.scale)

    def _own(self, name: str) -> list[str]:
        """The nodes through which a layer hears itself."""
        if type(self.nodes[name]).__name__ not in _SPIKING:
            return []
        return [n for n in self._after(name) if type(self.nodes[n]).__name__ in _DENSE and self._after(n) == [name]
                and self._before(n) == [name]]

    def _take(self, name: str) -> None:
        node = self.nodes[name]
        handler = _HANDLERS.get(type(node).__name__)
        if handler is None:
            raise refused_node(name, node, "is nothing that the engine computes; it runs IF and LIF neurons behind "
                               "linear layers")
        feeding = [n for n in self._before(name) if n not in self._own(name)]
        if len(feeding) > 1:
            raise refused_node(name, node, f"hears {len(feeding)} nodes ({', '.join(feeding)}); the engine has layers "
                               "in a row")
        handler(self, name, node)

    def _pass(self, name: str, node: Any) -> None:
        """Input and Output of graphs within the graph."""

    def _flatten(self, name: str, node: Any) -> None:
        if self.layers or self.pending is not None:
            raise refused_node(name, node, "is no flattening of the features; the engine's layers are flat")

    def _linear(self, name: str, node: Any) -> None:
        weight = _numbers(node.weight, name, node)
        if weight.ndim != 2 or weight.shape[1] != self.width:
            raise refused_node(name, node, f"has weights of the shape {weight.shape}, but hears {self.width} values; "
                               "correct the network")
        bias = _numbers(node.bias, name, node) if hasattr(node, "bias") else np.zeros(len(weight))
        self._map(name, node, _Map(weight, np.ravel(bias)))

    def _scaled(self, name: str, node: Any) -> None:
        factors = self._each(name, node, node.scale, self.width)
        self._map(name, node, _Map(np.diag(factors), np.zeros(self.width), True))

    def _map(self, name: str, node: Any, new: _Map) -> None:
        if new.bias.shape != (len(new.weight),):
            raise refused_node(name, node, f"has {new.bias.size} biases for {len(new.weight)} rows; correct it")
        if (old := self.pending) is not None:
            if not (old.scale or new.scale):
                self.notes.append(f"the linear layer before '{name}' is folded into its weights")
            new = _Map(new.weight @ old.weight, new.weight @ old.bias + new.bias, new.scale and old.scale)
        self.pending, self.width = new, len(new.weight)

    def _each(self, name: str, node: Any, values: Any, count: int) -> np.ndarray:
        """A parameter of each of ``count`` neurons."""
        flat = np.ravel(_numbers(values, name, node))
        if flat.size not in (1, count):
            raise refused_node(name, node, f"has parameters of {flat.size} neurons, but hears {count} values; correct "
                               "the network")
        return np.broadcast_to(flat, (count,)).copy()

    def _neurons(self, name: str, node: Any) -> None:
        count = self.width
        gain, leak, rest = self._dynamics(name, node, count)
        threshold = self._each(name, node, node.v_threshold, count)
        if (threshold <= 0).any() or (gain <= 0).any():
            raise refused_node(name, node, "has a threshold or a resistance that is not above 0, so that it fires "
                               "without an input; correct it")
        if np.any(self._each(name, node, node.v_reset, count)):
            raise refused_node(name, node, "resets its potential to another value than 0; the engine resets to 0, so "
                               "train it with v_reset = 0")
        reset = str(node.metadata.get("reset", "zero"))
        if reset not in ("zero", "subtract"):
            raise refused_node(name, node, f"resets by '{reset}', says its metadata; write zero or subtract there")
        theta = floor(float(threshold[0]) * ONE) + 1        # fires above its threshold
        if reset == "subtract" or np.ptp(threshold) or theta not in _THETAS:
            unit = 1.0 if reset == "subtract" or self.pending is None else self._potential(gain / threshold)
            gain, rest = gain * unit / threshold, rest * unit / threshold
            theta = ONE if reset == "subtract" else floor(unit * ONE) + 1
        firing = Firing(theta, leak, reset == "zero")
        only_scaled = self.pending is None or self.pending.scale
        if not self.layers and self.firing is None and only_scaled:
            scale = gain if self.pending is None else gain * np.diag(self.pending.weight)
            if np.any(rest) or self._own(name) or (scale <= 0).any():
                raise refused_node(name, node, "hears the features and has a rest potential, hears itself, or turns "
                                   "their sign; the engine has such neurons only behind a linear layer")
            self.firing, self.scale = firing, None if np.all(scale == 1) else scale
        else:
            held = self.pending or _Map(np.eye(count), np.zeros(count))
            bias, own = held.bias * gain + rest, None
            for recurrent in self._own(name):
                part = self.nodes[recurrent]
                weight = _numbers(part.weight, recurrent, part)
                if weight.shape != (count, count) or own is not None:
                    raise refused_node(recurrent, part, f"is no matrix ({count}, {count}) of a layer that hears itself")
                own = _double(weight * gain[:, None])
                if hasattr(part, "bias"):
                    bias = bias + np.ravel(_numbers(part.bias, recurrent, part)) * gain
            self.layers.append(FloatLayer(UNIT, _double(held.weight * gain[:, None]), own, _double(bias[None]),
                                          "identity", name, firing))
        self.pending = None

    def _potential(self, gain: np.ndarray) -> float:
        """The threshold for which the weights of a layer, for a threshold of 1 after ``gain``, are about 2 at most."""
        assert self.pending is not None
        largest = float((np.abs(self.pending.weight) * gain[:, None]).max())
        return min(1.0, max(_WEIGHT / max(largest, 1e-9), 1 / 16))

    def _dynamics(self, name: str, node: Any, count: int) -> tuple[np.ndarray, int, np.ndarray]:
        """(what an input is multiplied by, leak, what is added in each frame) of neurons."""
        resistance = self._each(name, node, node.r, count)
        if type(node).__name__ == "IF":
            return resistance, 0, np.zeros(count)
        assert self.dt is not None
        if type(node).__name__ == "CubaLIF":
            synapse = self.dt / self._each(name, node, node.tau_syn, count)
            if not np.allclose(synapse, 1, rtol=_CLOSE):
                raise refused_node(name, node, f"has a synapse that remembers (tau_syn = {self.dt / synapse[0]:g}, and "
                                   f"dt = {self.dt:g}); the engine's neuron has none, so train it with LIF neurons")
            resistance = resistance * self._each(name, node, node.w_in, count)
        share = self.dt / self._each(name, node, node.tau if hasattr(node, "tau") else node.tau_mem, count)
        leak = 0
        if share.max() > _NONE:
            leak = round(-log2(max(min(float(share[0]), 1), 1e-9)))
            if not np.allclose(share, 2.0**-leak, rtol=_CLOSE) or not 1 <= leak <= LEAK_MAX:
                shares = f"{share.min():.4g}" + (f" to {share.max():.4g}" if np.ptp(share) > 1e-9 else "")
                raise refused_node(name, node, f"loses a share of {shares} of its potential per frame; the engine's "
                                   f"neurons lose 1/2, 1/4, ... 1/{1 << LEAK_MAX} or nothing, so train it with one of "
                                   "these (beta = 0.875 is a share of 1/8)")
            share = np.full(count, 2.0**-leak)
        else:
            share = np.where(share > 0, share, 0)
        return resistance * share, leak, share * self._each(name, node, node.v_leak, count)


def _numbers(values: Any, name: str, node: Any) -> np.ndarray:
    """Finite numbers as float64."""
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise refused_node(name, node, "has a parameter that is empty, NaN or infinite; export it again")
    return array


def _double(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float64))


_HANDLERS: dict[str, Callable[[_Walk, str, Any], None]] = {
    **dict.fromkeys(("Input", "Output"), _Walk._pass), **dict.fromkeys(_DENSE, _Walk._linear),
    **dict.fromkeys(_SPIKING, _Walk._neurons), "Scale": _Walk._scaled, "Flatten": _Walk._flatten,
}

"""Spiking models as NIR graphs and files; ``importers/nir_file.py`` has the equations, and reads them again."""

import warnings
from pathlib import Path

import nir
import numpy as np

from ..spec.errors import ModelError, TidegateWarning
from ..spec.files import replacing
from ..spec.formats import SIGNAL, acc_frac
from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.rules import Diffuse

DT = 1e-4       # length of a frame, in the seconds of the graph: that of snnTorch


class ExportWarning(TidegateWarning):
    """What another program will compute differently."""


def nir_graph(model: Model, dt: float = DT) -> nir.NIRGraph:
    """A model of integrate-and-fire layers as a NIR graph, in real units; a spike is 1.

    ``dt``: what a frame is in the time of the graph.  The thresholds lie half an LSB below Θ, so that "above the
    threshold" is "at least Θ" of the engine's integers.  The graph's metadata have dt; a neuron's metadata have
    "reset": "subtract" where a spike takes its size off, of which a warning tells, as NIR has only reset to a value.
    ModelError names what has no node in NIR.
    """
    net, tensors = model.network, model.tensors
    for l, layer in enumerate(net.layers):
        if layer.conv is not None:
            raise ModelError(f"layer {l} ({layer.title}) is a convolution, and only layers of neurons in a row are "
                             "exported; give a model without convolutions")
    mean, scale = (tensors[f"frontend.{what}"].astype(np.float64) for what in ("mean", "scale"))
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array([net.features])})}
    edges: list[tuple[str, str]] = []
    last, size = "input", 1.0           # of a spike of the signal before
    if (rule := net.rule(0)) is not None:
        if mean.any():
            raise ModelError("the features spike, but their front end takes a mean off, which a neuron of NIR cannot; "
                             "make the model with a mean of 0")
        nodes["features"] = _neurons(net.features, rule, net.thresholds[0], dt, "features", scale)
        edges, last, size = [("input", "features")], "features", 1.0
    for l, layer in enumerate(net.layers):
        _check(model, l, layer)
        weight, bias = _real(model, tensor_name(layer, l, "weight_ih"), tensor_name(layer, l, "bias"), layer)
        bias = bias[0]
        if l == 0 and net.rule(0) is None:      # the features as they are
            bias = bias - weight @ (mean * scale)
            weight = weight * scale
        rule = net.rule(l + 1)
        assert rule is not None
        unit = rule.step / (1 << SIGNAL.frac)   # potentials are in units of a spike
        nodes |= {f"linear{l}": nir.Affine(weight * size / unit, bias / unit),
                  f"layer{l}": _neurons(layer.size, rule, net.thresholds[l + 1], dt, f"layer {l}", np.ones(layer.size))}
        edges += [(last, f"linear{l}"), (f"linear{l}", f"layer{l}")]
        if layer.own_rows:
            own, _ = _real(model, tensor_name(layer, l, "weight_hh"), tensor_name(layer, l, "bias"), layer)
            nodes[f"own{l}"] = nir.Linear(own)
            edges += [(f"layer{l}", f"own{l}"), (f"own{l}", f"layer{l}")]
        last, size = f"layer{l}", unit
    weight, bias = _real(model, "classifier.weight", "classifier.bias", net.classifier)
    nodes |= {"classifier": nir.Affine(weight * size, bias), "output": nir.Output({"output": np.array([net.classes])})}
    edges += [(last, "classifier"), ("classifier", "output")]
    if subtracting := [name for name, node in nodes.items() if node.metadata.get("reset") == "subtract"]:
        warnings.warn(ExportWarning(f"{', '.join(subtracting)} reset by subtraction, which NIR cannot say: the file "
                                    "says so in the metadata, and other programs reset to 0"), stacklevel=2)
    return nir.NIRGraph(nodes, edges, metadata={"dt": dt})


def write_nir(model: Model, path: str | Path, dt: float = DT) -> nir.NIRGraph:
    """Write a ``nir_graph``, and give it."""
    graph = nir_graph(model, dt)
    with replacing(path) as part:
        nir.write(part, graph)
    return graph


def _check(model: Model, l: int, layer: Layer) -> None:
    """ModelError if the layer is none of neurons in a row."""
    rule, what = model.network.rule(l + 1), f"layer {l} ({layer.title})"
    if layer.cell.name != "unit" or layer.activation != "identity" or rule is None:
        raise ModelError(f"{what} sends no spikes, and NIR has no node for it; only layers of the cell 'unit' with the "
                         "activation identity and the rule 'diffuse' are exported")
    if model.network.heard(l) != (l,):
        raise ModelError(f"{what} hears other signals than that of the layer before, which no program here reads from "
                         "NIR; make the model a chain of layers")
    if l == 0 and model.network.rule(0) is None and (layer.consumes or model.network.thresholds[0] > 1):
        raise ModelError(f"{what} hears changes of the features, which NIR cannot say; let it hold its sums, with "
                         "Θ = 0 for the features")


def _neurons(count: int, rule: Diffuse, theta: int, dt: float, name: str, gain: np.ndarray) -> nir.NIRNode:
    """IF or LIF neurons whose input is multiplied by ``gain``."""
    if (rule.lowest, rule.highest) != (0, 1):
        raise ModelError(f"the rule of {name} has the levels {rule.lowest} to {rule.highest}, NIR's neurons fire or "
                         "do not; only the levels 0 and 1 are exported")
    if not rule.zero and theta != rule.step:
        raise ModelError(f"a spike of {name} takes {rule.step} off a potential that fires at {theta}; NIR's neurons "
                         "have one threshold for both, so only Θ = step is exported; a model of `tidegate convert` has "
                         "that after `convert --initial 0`")
    metadata = {} if rule.zero else {"reset": "subtract"}
    threshold = np.full(count, theta / rule.step if not rule.zero else (theta - 0.5) / rule.step)
    none = np.zeros(count)
    if not rule.leak:
        return nir.IF(r=gain, v_threshold=threshold, v_reset=none, metadata=metadata)
    tau = np.full(count, dt * 2.0**rule.leak)
    return nir.LIF(tau=tau, r=gain * 2.0**rule.leak, v_leak=none, v_threshold=threshold, v_reset=none.copy(),
                   metadata=metadata)


def _real(model: Model, weight: str, bias: str, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    return (model.tensors[weight] * 2.0**-layer.weight_frac,
            model.tensors[bias] * 2.0 ** -acc_frac(layer.weight_frac))

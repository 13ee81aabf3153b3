"""NIR graphs made by hand, what they compute by Euler's method, and random spiking networks."""

from itertools import pairwise

import nir
import numpy as np
import torch

from tidegate.golden.chain import Firing, FloatChain, FloatLayer
from tidegate.spec.cells import UNIT

DT = 1e-4


def network(zero=True, leak=3, theta=256, features=False, recurrent=False, bias=True, scale=False, seed=0):
    """Two spiking layers of 20 and a classifier; ``features``: these spike, too."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    firing = Firing(theta, leak, zero)
    layers = (FloatLayer(UNIT, drawn(20, 12) / 3.5, None, 0.1 * bias * drawn(1, 20), "identity", "", firing),
              FloatLayer(UNIT, drawn(20, 20) / 3, drawn(20, 20) / 6 if recurrent else None, 0.05 * bias * drawn(1, 20),
                         "identity", "", firing))
    return FloatChain(layers, drawn(4, 20) / 4.5, 0.1 * bias * drawn(4),
                      features_firing=Firing(256, 0, zero) if features else None,
                      features_scale=np.linspace(0.5, 1.5, 12) if scale else None)


def frames(sequences=10, count=80, seed=1):
    return np.random.default_rng(seed).normal(0.3, 1, (sequences, count, 12))


def lif(count, leak=3, threshold=1.0, **changes):
    """LIF neurons that add their input as it is."""
    tau = np.full(count, DT * 2.0**leak)
    return nir.LIF(**{"tau": tau, "r": tau / DT, "v_leak": np.zeros(count), "v_threshold": np.full(count, threshold),
                      "v_reset": np.zeros(count)} | changes)


def graph_of(*nodes, features=12, metadata=None, edges=()):
    """Nodes in a row, named n0, n1, ..., between an input and an output; more ``edges``."""
    names = [f"n{k}" for k in range(len(nodes))]
    held = {"input": nir.Input({"input": np.array([features])}), **dict(zip(names, nodes, strict=True)),
            "output": nir.Output({"output": np.array([4])})}
    row = ["input", *names, "output"]
    return nir.NIRGraph(held, [*pairwise(row), *edges], metadata=metadata or {}, type_check=False)


def affine(rows, columns, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return nir.Affine(rng.normal(0, scale / columns**0.5, (rows, columns)), rng.normal(0, 0.05, rows))


def euler(graph, x, dt=DT):
    """What a graph in a row computes of features (T, features): the outputs (T, n), frame by frame."""
    outputs, potentials, row = [], {}, [name for name in graph.nodes if name not in ("input", "output")]
    for now in x:
        for name in row:
            node = graph.nodes[name]
            if isinstance(node, nir.Affine | nir.Linear):
                now = node.weight @ now + (node.bias if isinstance(node, nir.Affine) else 0)
            elif isinstance(node, nir.Scale):
                now = node.scale * now
            elif isinstance(node, nir.Flatten):
                now = now.ravel()
            else:
                v = potentials.get(name, np.zeros_like(node.v_threshold, dtype=float))
                if isinstance(node, nir.IF):
                    v = v + node.r * now
                else:
                    if isinstance(node, nir.CubaLIF):
                        now = node.w_in * now           # its synapse forgets within a frame
                    tau = node.tau if isinstance(node, nir.LIF) else node.tau_mem
                    v = v + dt / tau * (node.v_leak - v + node.r * now)
                fired = v > node.v_threshold
                potentials[name] = np.where(fired, node.v_reset, v)
                now = fired.astype(float)
        outputs.append(now)
    return np.array(outputs)

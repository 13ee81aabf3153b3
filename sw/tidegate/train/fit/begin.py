"""How weights begin: of spiking layers (Lee, Delbruck, Pfeiffer 2016, arXiv:1608.08782), and of the memory of a
Legendre Memory Unit (Voelker, Kajić, Eliasmith 2019)."""

import torch

from tidegate.golden import DeltaNetwork
from tidegate.spec.errors import ModelError
from tidegate.spec.formats import SIGNAL
from tidegate.spec.lmu import discrete

from ..recipe import Memory


@torch.no_grad()
def spread_weights(network: DeltaNetwork, alpha: float) -> None:
    """Input weights of the layers whose signal diffuses become uniform in ± Θ / ``alpha``, which is the paper's
    threshold of α·√(3 / inputs) for weights in ±√(3 / inputs)."""
    for l, layer in enumerate(network.layers):
        if network.network.rule(l + 1) is not None:
            most = network.thresholds[l + 1] * 2.0**-SIGNAL.frac / alpha
            layer.weight_ih.uniform_(-most, most)


@torch.no_grad()
def inhibit_each_other(network: DeltaNetwork, strength: float) -> None:
    """Own weights of the last layer become −``strength`` between different neurons, and 0 from a neuron to itself."""
    own = network.layers[-1].weight_hh
    if own is None or own.shape[0] != own.shape[1]:
        raise ModelError("neurons inhibit each other in a last layer of the cell unit that hears itself; set its "
                         "'recurrent'")
    own.fill_(-strength)
    own.fill_diagonal_(0)


@torch.no_grad()
def remember(network: DeltaNetwork, memory: Memory) -> None:
    """The first layer becomes ``memory.channels`` memories of ``memory.order`` neurons each, side by side.

    Channel k remembers u = gain·e·features, with e uniform of variance 1 / features.  What else the layer hears begins
    with 0.  So begins the paper's e_m, but not its e_h: memory and hidden state are chaotic together at first, if both
    are random.
    """
    layer, order, channels = network.layers[0], memory.order, memory.channels
    if layer.weight_hh is None or layer.hidden != order * channels or layer.cell.activations == ():
        raise ModelError(f"a memory is a first layer of the cell unit that hears itself, with {order * channels} "
                         "neurons")
    a, b = (torch.from_numpy(x).float() for x in discrete(order, memory.theta, memory.form))
    layer.weight_hh.copy_(torch.block_diag(*[a] * channels))
    heard = torch.zeros(channels, layer.inputs)         # the features come first
    heard[:, : network.features].uniform_(-1, 1).mul_((3 / network.features) ** 0.5)
    layer.weight_ih.copy_((heard[:, None] * b[:, None] * memory.gain).flatten(0, 1))
    if layer.bias_ih is not None:
        layer.bias_ih.zero_()
    if layer.bias_hh is not None:
        layer.bias_hh.zero_()

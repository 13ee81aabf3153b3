"""PyTorch's modules and state dicts as a ``FloatChain``."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..spec.cells import CELLS, UNIT, Cell
from ..spec.errors import ModelError
from ..spec.network import MAX_LAYERS
from .cells import golden_of
from .chain import FloatChain, FloatLayer
from .integers import of_gates

_CONVERTED = tuple(cell for cell in CELLS.values() if not cell.activations)     # PyTorch's tensors say all of a layer


def chain_of(rnn: Mapping[str, Tensor] | nn.Module,
             classifier: Mapping[str, Tensor] | nn.Module | None = None) -> FloatChain:
    """From a recurrent module and the ``torch.nn.Linear`` behind it: modules, their state dicts, or one module that
    holds one of each.  ``torch.nn.RNN`` only as a module, as its state dict does not say which function it has.

    ModelError for anything else.
    """
    if isinstance(rnn, nn.Module) and classifier is None:
        rnn, classifier = recurrent_and_linear(rnn)
    if classifier is None:
        raise ModelError("a classifier is missing; pass the torch.nn.Linear behind the last layer")
    activation = getattr(rnn, "nonlinearity", "") if isinstance(rnn, nn.RNN) else ""
    states: list[Any] = [part.state_dict() if isinstance(part, nn.Module) else part for part in (rnn, classifier)]
    for state in states:
        if not isinstance(state, Mapping) or not all(
                isinstance(name, str) and isinstance(t, Tensor) and t.is_floating_point() and not t.is_meta
                and t.layout == torch.strided
                for name, t in state.items()):
            raise ModelError("modules of PyTorch or their state dicts are converted: names and tensors of real numbers")
    rnn, classifier = ({name: t.detach().cpu() for name, t in state.items()} for state in states)
    layers = _layers(rnn, activation)
    weight, bias = classifier.get("weight"), classifier.get("bias")
    size = layers[-1].size
    if (weight is None or weight.ndim != 2 or weight.shape[1] != size or classifier.keys() - {"weight", "bias"}
            or (bias is not None and bias.shape != weight.shape[:1])):
        raise ModelError(f"the classifier must be the state dict of a torch.nn.Linear({size}, classes)")
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    return FloatChain(tuple(layers), weight.double(), bias.double())


def recurrent_and_linear(module: nn.Module, more: tuple[type[nn.Module], ...] = ()) -> tuple[nn.Module, nn.Module]:
    """The one recurrent module and the one linear module in a module; ``more`` kinds of modules that are recurrent."""
    kinds = (*(golden_of(cell).Module for cell in CELLS.values()), *more)
    found = [[part for part in module.modules() if isinstance(part, kind)] for kind in (kinds, nn.Linear)]
    if any(len(parts) != 1 for parts in found):
        raise ModelError(f"the module holds {len(found[0])} recurrent and {len(found[1])} linear modules; pass the one "
                         "recurrent module and the torch.nn.Linear behind it")
    taken = {id(parameter) for part in (found[0][0], found[1][0]) for parameter in part.parameters()}
    left = sorted({name.rpartition(".")[0] or name for name, parameter in module.named_parameters()
                   if id(parameter) not in taken})
    if left:
        raise ModelError(f"the module also holds {', '.join(left)}, which no core computes; compute that before the "
                         "features, or pass the recurrent module and the torch.nn.Linear behind it")
    return found[0][0], found[1][0]


def _layers(rnn: Mapping[str, Tensor], activation: str) -> list[FloatLayer]:
    """The layers of a state dict; ModelError if it is no plain recurrent network of a cell that there is.

    ``activation``: of a ``torch.nn.RNN``, else "".
    """
    cells = (UNIT,) if activation else _CONVERTED
    wanted = " or ".join(f"torch.nn.{golden_of(cell).Module.__name__}" for cell in cells)
    if any(name.endswith("_reverse") for name in rnn):
        raise ModelError("a bidirectional network cannot run frame by frame; train it with bidirectional=False")
    if any(name.startswith("weight_hr") for name in rnn):
        raise ModelError(f"a recurrent layer with a projection (proj_size) does not run here; train a {wanted} without")
    count = sum(name.startswith("weight_hh_l") for name in rnn)
    if not 1 <= count <= MAX_LAYERS:
        raise ModelError(f"the state dict has {count} recurrent layers, tidegate runs 1 to {MAX_LAYERS}; "
                         f"pass the state_dict() of a {wanted}")
    cell, layers = _cell(rnn, cells), []
    for l in range(count):
        w_ih, w_hh = rnn.get(f"weight_ih_l{l}"), rnn.get(f"weight_hh_l{l}")
        if any(w is not None and not w.numel() for w in (w_ih, w_hh)):
            raise ModelError(f"layer {l} has a weight without elements; train it with an input and a neuron")
        if (cell is None or w_ih is None or w_hh is None or w_hh.shape[0] != len(cell.own_rows) * w_hh.shape[1]
                or w_ih.shape[0] != w_hh.shape[0]):
            rows = " or ".join(f"{len(cell.own_rows)}·H of a {cell.title}" for cell in cells)
            raise ModelError(f"layer {l} has not the rows of a cell that there is ({rows}); "
                             f"pass the state_dict() of a {wanted}")
        if l and w_ih.shape[1] != layers[-1].size:
            raise ModelError(f"layer {l} expects {w_ih.shape[1]} inputs, layer {l - 1} has {layers[-1].size} neurons")
        for name in (f"bias_{side}_l{l}" for side in ("ih", "hh")):
            if name in rnn and rnn[name].shape != w_hh.shape[:1]:
                raise ModelError(f"{name} has the shape {tuple(rnn[name].shape)}, not {tuple(w_hh.shape[:1])}; "
                                 f"pass the state_dict() of a {wanted}")
        given = [side for side in ("ih", "hh") if f"bias_{side}_l{l}" in rnn]
        if len(given) == 1:
            raise ModelError(f"layer {l} has bias_{given[0]} but not its twin; pass both biases, or none (bias=False)")
        zeros = w_hh.new_zeros(w_hh.shape[0])
        biases = [rnn.get(f"bias_{side}_l{l}", zeros).double() for side in ("ih", "hh")]
        layers.append(FloatLayer(cell, w_ih.double(), w_hh.double(), of_gates(cell, *biases), activation))
    if len({f"bias_ih_l{l}" in rnn for l in range(count)}) > 1:
        raise ModelError("some layers have biases and others have none; pass all, or none (bias=False)")
    known = {f"{kind}_{side}_l{l}" for kind in ("weight", "bias") for side in ("ih", "hh") for l in range(count)}
    if other := sorted(rnn.keys() - known):
        raise ModelError(f"'{other[0]}' belongs to no {wanted}; pass the state dict of that alone")
    return layers


def _cell(rnn: Mapping[str, Tensor], cells: tuple[Cell, ...]) -> Cell | None:
    """The cell whose own weights have the rows of the first layer's."""
    first = rnn.get("weight_hh_l0")
    if first is None or first.ndim != 2:
        return None
    return {len(cell.own_rows): cell for cell in cells}.get(first.shape[0] // max(1, first.shape[1]))

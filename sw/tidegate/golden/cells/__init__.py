"""The cells in golden, one module each, named as in ``spec/cells.py``; ``GoldenCell`` is what the rest calls."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from torch import Tensor, nn

from ...spec.cells import CELLS, Cell
from ...spec.layer import Layer
from ..arithmetic import Arithmetic, Observed


class GoldenCell(Protocol):
    """The members of a cell's module; B sequences, H neurons, T frames.

    ``Module``: PyTorch's own module of the cell; a layer's weights and biases have its names and shapes.
    ``observed(sums (gates, B, H), state (B, H), activation, number)`` → ``Observed``: the equations in real numbers, or
    in another ``Arithmetic``; with ``arithmetic.INTEGER`` the integers of ``step``.
    ``Stages``: named tuple of the integers of a frame that ``Cell.stages`` names.
    ``step(accumulators (B, gates, H), state (B, H), layer)`` → (stages, new state, signal v), int64.
    ``frame(sums (B, gates, H), state (B, H), layer)`` → ([each of the stages], new state, signal v): the integers of
    ``step`` held in floats, with gradient.

    The rest is of cells without a choice of activations, for a layer whose signals all have the rule ``delta`` and that
    holds its sums; other layers are computed in ``golden/general.py``.
    ``layer(x, w_ih, w_hh, bias, weight_frac, threshold, noise, start, ends)`` → (anchors (T, B, H), states (B, H) after
    the last frame): a whole sequence with gradient; its integers are those of ``step``.  ``bias`` (gates, H).
    ``start``: None, or (anchors, states) (B, H) before the first frame.  ``ends``: None, or (B,), the number of the
    frame after which each sequence's states are taken.
    ``advance(x, w_ih, w_hh, bias, weight_frac, threshold, start)``: the same without gradient.
    ``traced(x, w_ih, w_hh, bias, weight_frac, threshold)`` → (anchors, [each of the stages (T, B, H)]), from reset.
    """

    @property
    def Module(self) -> type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]: ...

    def observed(self, sums: Tensor, state: Tensor, activation: str = ..., number: Arithmetic = ...) -> Observed: ...

    @property
    def Stages(self) -> Callable[..., NamedTuple]: ...

    def step(self, accumulators: np.ndarray, state: np.ndarray,
             layer: Layer) -> tuple[Any, np.ndarray, np.ndarray]: ...

    def frame(self, sums: Tensor, state: Tensor, layer: Layer) -> tuple[list[Tensor], Tensor, Tensor]: ...

    @property
    def layer(self) -> Callable[..., tuple[Tensor, Tensor]]: ...

    def advance(self, x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: int,
                start: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]: ...

    def traced(self, x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int,
               threshold: int) -> tuple[Tensor, list[Tensor]]: ...


_MODULES = {name: cast(GoldenCell, import_module(f".{name}", __package__)) for name in CELLS}
assert all(module.Stages._fields == CELLS[name].stages for name, module in _MODULES.items())      # pyright: ignore


def golden_of(cell: Cell) -> GoldenCell:
    """The module of a cell."""
    return _MODULES[cell.name]

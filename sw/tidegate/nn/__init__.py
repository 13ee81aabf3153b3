"""Layers for your own training script: ``DeltaGRU`` for ``torch.nn.GRU``, ``DeltaLSTM`` for ``torch.nn.LSTM``, spiking
neurons (``LIF``) and Legendre Memory Units (``LMU``).

They take and give real numbers, and compute in integers: exactly what a model that is exported from them computes in
the golden model, in RTL and on a board.  ``docs/own-script.md`` shows a whole script.
"""

from .errors import LayerError, SaturationWarning
from .export import export
from .layers import DeltaGRU, DeltaLSTM
from .lif import LIF
from .linear import IntLinear
from .lmu import LMU

__all__ = ["LIF", "LMU", "DeltaGRU", "DeltaLSTM", "IntLinear", "LayerError", "SaturationWarning", "export"]

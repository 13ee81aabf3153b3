"""The PyTorch model: its training forward is the golden model that judges the RTL."""

from .convert import from_torch
from .figures import Figures, figures
from .floating import FloatDelta, FloatNetwork
from .judge import FrameTrace, Golden, State, Trace
from .network import DeltaNetwork, Output

__all__ = ["DeltaNetwork", "Figures", "FloatDelta", "FloatNetwork", "FrameTrace", "Golden", "Output",
           "State", "Trace", "figures", "from_torch"]

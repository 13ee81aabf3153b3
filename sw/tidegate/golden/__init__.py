"""The PyTorch model: its training forward is the golden model that judges the RTL."""

from .judge import Golden, State, Trace
from .network import DeltaNetwork, Output

__all__ = ["DeltaNetwork", "Golden", "Output", "State", "Trace"]

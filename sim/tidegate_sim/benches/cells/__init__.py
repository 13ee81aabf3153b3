"""Benches of the cells, ``pipelined`` and ``serial``, and of each cell what one neuron does, in a module of its name.

    neuron(accumulators, state, weight_frac, activation) → (integers of the cell's stages, new state, signal v)
"""

from collections.abc import Callable
from importlib import import_module


def reference(name: str) -> Callable[[list[int], int, int, str], tuple[dict[str, int], int, int]]:
    """``neuron`` of the cell ``name``."""
    return import_module(f".{name}", __package__).neuron

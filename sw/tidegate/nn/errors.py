"""What can be wrong with the arguments of a layer."""

from tidegate.spec.errors import TidegateError, TidegateWarning


class LayerError(TidegateError, ValueError):
    """An option that a delta layer does not have, or values that it cannot compute with."""


class SaturationWarning(TidegateWarning):
    """The input of a layer goes beyond what a core represents; the text says by how much, and what to do."""

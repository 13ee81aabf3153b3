"""What can be wrong with the arguments of a layer."""

from tidegate.spec.errors import TidegateError


class LayerError(TidegateError, ValueError):
    """An option that a delta layer does not have, or values that it cannot compute with."""
